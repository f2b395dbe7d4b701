"""Which message goes where, and what stands there: a real destination, or files until one is connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from et_pipeline.contracts.messages import Kind
from et_pipeline.publishing.destinations import Destination
from et_pipeline.publishing.file_outbox import FileOutbox
from et_pipeline.settings import Settings

DestinationName = Literal["report_bus", "strategy_registry"]

ROUTES: Mapping[Kind, DestinationName] = {
    "reason_code": "report_bus",
    "promotion_review": "report_bus",
    "drift_signal": "strategy_registry",
}
"""The whole routing. Names are roles: connecting a real bus later does not send the past again."""


def files(settings: Settings) -> dict[DestinationName, Destination]:
    """The files behind each name to which nothing else is connected: sending there waits for nobody."""
    outbox = FileOutbox(settings.outbox_dir)
    connected = {"report_bus": settings.nats, "strategy_registry": settings.registry}
    return {name: outbox for name in dict.fromkeys(ROUTES.values()) if connected[name] is None}


def destinations(settings: Settings) -> dict[DestinationName, Destination]:
    """The destination behind each name, as the settings ask for."""
    # Imported where they are connected: they take as long to load as all the rest of a tick that finds nothing new.
    found = files(settings)
    if settings.nats is not None:
        from et_pipeline.publishing.nats_bus import NatsBus

        found["report_bus"] = NatsBus(settings.nats)
    if settings.registry is not None:
        from et_pipeline.publishing.http_registry import HttpRegistry

        found["strategy_registry"] = HttpRegistry(settings.registry)
    return found
