"""All configuration of the pipeline, read from the environment in one place.

Every variable, its default and its meaning stand in `docs/configuration.md`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

from et_pipeline.contracts.durations import parse_duration


class SettingsError(ValueError):
    """A variable of the environment has a value that is not allowed."""


@dataclass(frozen=True)
class Settings:
    """The pipeline's configuration.

    Attributes:
        data_dir: `ET_DATA_DIR`: plans, snapshots, warehouse, published files.
        mode: `ET_MODE`: `shadow_only` refuses limited-live plans; `limited_live` allows them.
        max_clock_skew_us: `ET_MAX_CLOCK_SKEW`: how far in the future `emitted_at` may lie.
        stall_after_us: `ET_STALL_AFTER`: without a new snapshot for so long, the bus counts as stalled;
            None where the folder only has to be readable.
        fixed_now: `ET_NOW`: a fixed clock, for replays; None for the real one.
        memory_limit: `ET_MEMORY_LIMIT`: DuckDB's share of memory.
        lock_timeout_s: `ET_LOCK_TIMEOUT`: seconds to wait for another writer.
        delivery_attempts: `ET_DELIVERY_ATTEMPTS`: failed rounds after which a message is a dead letter.
    """

    data_dir: Path
    mode: Literal["shadow_only", "limited_live"] = "shadow_only"
    max_clock_skew_us: int = 300_000_000
    stall_after_us: int | None = None
    fixed_now: datetime | None = None
    memory_limit: str = "1GB"
    lock_timeout_s: float = 120.0
    delivery_attempts: int = 20

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the environment asks for.

        Raises:
            SettingsError: A value is not allowed; the message names variable, value and what is allowed.
        """
        env = os.environ if environ is None else environ
        mode = env.get("ET_MODE", "shadow_only")
        if mode not in ("shadow_only", "limited_live"):
            raise SettingsError(f"ET_MODE is {mode!r}; allowed: shadow_only, limited_live")
        return cls(
            data_dir=Path(env.get("ET_DATA_DIR", "data")).absolute(),
            mode=cast("Literal['shadow_only', 'limited_live']", mode),
            max_clock_skew_us=_duration(env, "ET_MAX_CLOCK_SKEW", "5m"),
            stall_after_us=_duration(env, "ET_STALL_AFTER", "") or None,
            fixed_now=_instant(env, "ET_NOW"),
            memory_limit=env.get("ET_MEMORY_LIMIT", "1GB"),
            lock_timeout_s=_seconds(env, "ET_LOCK_TIMEOUT", "120"),
            delivery_attempts=_count(env, "ET_DELIVERY_ATTEMPTS", "20"),
        )

    def now(self) -> datetime:
        """The present moment in UTC, or the fixed one."""
        return self.fixed_now or datetime.now(UTC)

    @property
    def experiments_dir(self) -> Path:
        """Where plans stand."""
        return self.data_dir / "experiments"

    @property
    def report_bus_dir(self) -> Path:
        """Where snapshots appear."""
        return self.data_dir / "report_bus"

    @property
    def warehouse_path(self) -> Path:
        """The pipeline's own DuckDB file."""
        return self.data_dir / "warehouse" / "warehouse.duckdb"

    @property
    def published_dir(self) -> Path:
        """What analysts and reviewers read."""
        return self.data_dir / "published"

    @property
    def analyst_path(self) -> Path:
        """The analysts' DuckDB file."""
        return self.published_dir / "experiments.duckdb"

    @property
    def outbox_dir(self) -> Path:
        """The embedded destination of messages."""
        return self.data_dir / "outbox"

    @property
    def sign_offs_dir(self) -> Path:
        """Where signed decisions are put."""
        return self.data_dir / "sign_offs"

    @property
    def allowed_signers_path(self) -> Path:
        """Who may sign."""
        return self.data_dir / "allowed_signers"


def _duration(env: Mapping[str, str], name: str, default: str) -> int:
    text = env.get(name, default)
    if not text:
        return 0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error


def _seconds(env: Mapping[str, str], name: str, default: str) -> float:
    text = env.get(name, default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise SettingsError(f"{name} is {text!r}; allowed: seconds between 0 and 86400")
    return seconds


def _count(env: Mapping[str, str], name: str, default: str) -> int:
    text = env.get(name, default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise SettingsError(f"{name} is {text!r}; allowed: a whole number between 1 and 1000")
    return int(text)


def _instant(env: Mapping[str, str], name: str) -> datetime | None:
    text = env.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{name} is {text!r}; allowed: an ISO-8601 time with offset") from error
    if moment.tzinfo is None:
        raise SettingsError(f"{name} is {text!r}, without an offset; write for example 2026-11-01T00:00:00Z")
    return moment.astimezone(UTC)
