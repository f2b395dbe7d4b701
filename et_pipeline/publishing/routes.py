"""Which message goes to which destination: a real one, or files as long as none is connected."""

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
"""The destination of each kind of message. Names are roles, so earlier messages are not sent again to a bus that is
connected later."""


def files(settings: Settings) -> dict[DestinationName, Destination]:
    """The destinations that are files, for each name without a real one; sending to them needs no waiting."""
    outbox = FileOutbox(settings.outbox_dir)
    connected = {"report_bus": settings.nats, "strategy_registry": settings.registry}
    return {name: outbox for name in dict.fromkeys(ROUTES.values()) if connected[name] is None}


def destinations(settings: Settings) -> dict[DestinationName, Destination]:
    """The destination for each name, according to the settings."""
    # Imported only if they are used: they take as long to load as all the rest of a tick that finds nothing new.
    found = files(settings)
    if settings.nats is not None:
        from et_pipeline.publishing.nats_bus import NatsBus

        found["report_bus"] = NatsBus(settings.nats)
    if settings.registry is not None:
        from et_pipeline.publishing.http_registry import HttpRegistry

        found["strategy_registry"] = HttpRegistry(settings.registry)
    return found
