"""All configuration of the pipeline, read from the environment in one place.

`docs/configuration.md` lists every variable with its default and its meaning.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from et_pipeline.common.times import parse_duration

NOTIFICATIONS = "notifications.yaml"
"""Name of the file in the data folder that says who gets which notifications."""
LogLevel = Literal["debug", "info", "warning", "error"]


class SettingsError(ValueError):
    """A variable of the environment has a value that is not allowed."""


class Secret:
    """A secret value: it is shown only by `reveal`, never in a repr, a message or a log line."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True)
class RegistrySettings:
    """How to reach the StrategyRegistry.

    Attributes:
        url: `ET_REGISTRY_URL`: where drift signals are posted; https, or http to this machine.
        token: `ET_REGISTRY_TOKEN`: the bearer token; None if the registry requires none.
        ca_file: `ET_REGISTRY_CA_FILE`: certificates to trust instead of the system's.
        timeout_s: `ET_REGISTRY_TIMEOUT`: seconds to wait for a connection, and for each part of an answer.
    """

    url: str
    token: Secret | None = None
    ca_file: Path | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True)
class NatsSettings:
    """How to reach the report bus on NATS JetStream.

    Attributes:
        url: `ET_NATS_URL`: the server; `nats://` or `tls://`.
        stream: `ET_NATS_STREAM`: the JetStream stream that holds the reports; it must exist.
        subject: `ET_NATS_SUBJECT`: reports under this subject become snapshots.
        publish_subject: `ET_NATS_PUBLISH_SUBJECT`: the pipeline's own reports are sent to this subject, and never
            become snapshots.
        durable: `ET_NATS_DURABLE`: name of the consumer that stores how far the bus was read.
        creds_file: `ET_NATS_CREDS`: a NATS credentials file, None for a server without accounts.
        ca_file: `ET_NATS_CA_FILE`: certificates to trust instead of the system's.
        timeout_s: `ET_NATS_TIMEOUT`: seconds to wait for a connection and for an answer.
    """

    url: str
    stream: str = "OPERATIONS_REPORTS"
    subject: str = "operations.reports.>"
    publish_subject: str = "operations.reports.experimenttracker"
    durable: str = "experimenttracker"
    creds_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 5.0


@dataclass(frozen=True)
class SparkSettings:
    """The cluster on which reports and pairs are stored and processed if one machine is not enough.

    Attributes:
        url: `ET_SPARK_URL`: a Spark Connect server, of Apache Spark or Sail.
        reports: `ET_SPARK_REPORTS`: the folder of the data set, as the address that every worker uses for it.
    """

    url: str
    reports: str


@dataclass(frozen=True)
class Settings:
    """The pipeline's configuration.

    Attributes:
        data_dir: `ET_DATA_DIR`: plans, snapshots, warehouse, published files.
        mode: `ET_MODE`: `shadow_only` refuses limited-live plans; `limited_live` allows them.
        max_clock_skew_us: `ET_MAX_CLOCK_SKEW`: how far in the future `emitted_at` may be.
        replay_required: `ET_REPLAY_FIDELITY`: with `required`, every new shadow plan is treated as if it had
            `replay_fidelity: {require: true}`; with `optional`, the plans decide.
        stall_after_us: `ET_STALL_AFTER`: without a new snapshot for this time, the bus counts as stalled;
            None if the folder only has to be readable.
        fixed_now: `ET_NOW`: a fixed clock, for replays; None for the real one.
        memory_limit: `ET_MEMORY_LIMIT`: DuckDB's share of memory.
        lock_timeout_s: `ET_LOCK_TIMEOUT`: seconds to wait for another writer.
        delivery_attempts: `ET_DELIVERY_ATTEMPTS`: failed rounds after which a message is a dead letter.
        registry: The StrategyRegistry; None if its messages are written to files.
        nats: The report bus on NATS; None if the bus is the folder and its messages are written to files.
        spark: `ET_ENGINE=spark`: the cluster; None if everything is in the warehouse.
        log_path: `ET_LOG`: the file to which log lines are appended; None for stderr.
        log_level: `ET_LOG_LEVEL`: the least severe lines that are written.
        dagster_url: `ET_DAGSTER_URL`: where people open the Dagster UI; review pages link to their run there.
        pages_url: `ET_PAGES_URL`: the address at which people open the review pages, for links to them; None without
            one.
        notify_file: `ET_NOTIFY_FILE`: the file with notifications; None for `NOTIFICATIONS` in the data folder.
        portfolio_delta: `ET_PORTFOLIO_DELTA`: largest expected share of false discoveries among those that stand.
        portfolio_window_us: `ET_PORTFOLIO_WINDOW`: discoveries of all experiments that ran in this time are counted
            together.
    """

    data_dir: Path
    mode: Literal["shadow_only", "limited_live"] = "shadow_only"
    max_clock_skew_us: int = 300_000_000
    replay_required: bool = False
    stall_after_us: int | None = None
    fixed_now: datetime | None = None
    memory_limit: str = "1GB"
    lock_timeout_s: float = 120.0
    delivery_attempts: int = 20
    registry: RegistrySettings | None = None
    nats: NatsSettings | None = None
    spark: SparkSettings | None = None
    log_path: Path | None = None
    log_level: LogLevel = "info"
    dagster_url: str = "http://localhost:3000"
    pages_url: str | None = None
    notify_file: Path | None = None
    portfolio_delta: float = 0.10
    portfolio_window_us: int = 90 * 86_400_000_000

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings from the environment.

        Raises:
            SettingsError: A value is not allowed; the message names variable, value and what is allowed.
        """
        env = os.environ if environ is None else environ
        mode = env.get("ET_MODE", "shadow_only")
        if mode not in ("shadow_only", "limited_live"):
            raise SettingsError(f"ET_MODE is {mode!r}; allowed: shadow_only, limited_live")
        fidelity = env.get("ET_REPLAY_FIDELITY", "optional")
        if fidelity not in ("optional", "required"):
            raise SettingsError(f"ET_REPLAY_FIDELITY is {fidelity!r}; allowed: optional, required")
        data_dir = Path(env.get("ET_DATA_DIR", "data")).absolute()
        level = env.get("ET_LOG_LEVEL", "info")
        if level not in get_args(LogLevel):
            raise SettingsError(f"ET_LOG_LEVEL is {level!r}; allowed: {', '.join(get_args(LogLevel))}")
        log = env.get("ET_LOG") or str(data_dir / "logs" / "experimenttracker.ndjson")
        return cls(
            data_dir=data_dir,
            mode=cast("Literal['shadow_only', 'limited_live']", mode),
            max_clock_skew_us=_duration(env, "ET_MAX_CLOCK_SKEW", "5m"),
            replay_required=fidelity == "required",
            stall_after_us=_duration(env, "ET_STALL_AFTER", "") or None,
            fixed_now=_instant(env, "ET_NOW"),
            memory_limit=_memory(env, "ET_MEMORY_LIMIT", "1GB"),
            lock_timeout_s=_seconds(env, "ET_LOCK_TIMEOUT", "120"),
            delivery_attempts=_count(env, "ET_DELIVERY_ATTEMPTS", "20"),
            registry=_registry(env),
            nats=_nats(env),
            spark=_spark(env),
            log_path=None if log == "stderr" else Path(log).absolute(),
            log_level=cast("LogLevel", level),
            dagster_url=(_url(env, "ET_DAGSTER_URL", ("http", "https")) or cls.dagster_url).rstrip("/"),
            pages_url=(_url(env, "ET_PAGES_URL", ("https", "http")) or "").rstrip("/") or None,
            notify_file=_file(env, "ET_NOTIFY_FILE"),
            portfolio_delta=_share(env, "ET_PORTFOLIO_DELTA", "0.10"),
            portfolio_window_us=_duration(env, "ET_PORTFOLIO_WINDOW", "90d") or cls.portfolio_window_us,
        )

    def now(self) -> datetime:
        """The present time in UTC, or the fixed one."""
        return self.fixed_now or datetime.now(UTC)

    @property
    def experiments_dir(self) -> Path:
        """The folder of plans."""
        return self.data_dir / "experiments"

    @property
    def report_bus_dir(self) -> Path:
        """The folder of snapshots."""
        return self.data_dir / "report_bus"

    @property
    def warehouse_path(self) -> Path:
        """The pipeline's own DuckDB file."""
        return self.data_dir / "warehouse" / "warehouse.duckdb"

    @property
    def last_tick_path(self) -> Path:
        """The note of the last complete tick, see `due`."""
        return self.warehouse_path.with_name("last_tick.json")

    @property
    def restoring_path(self) -> Path:
        """A file that exists while a restore exchanges files; nothing else may use the data folder during that time."""
        return self.data_dir / ".restoring" / "exchanging"

    @property
    def published_dir(self) -> Path:
        """The folder of published files, for analysts and reviewers."""
        return self.data_dir / "published"

    @property
    def analyst_path(self) -> Path:
        """The analysts' DuckDB file."""
        return self.published_dir / "experiments.duckdb"

    @property
    def pages_dir(self) -> Path:
        """The folder of the review pages."""
        return self.published_dir / "pages"

    @property
    def metrics_path(self) -> Path:
        """The file with the house metrics, for Prometheus."""
        return self.published_dir / "metrics.prom"

    @property
    def outbox_dir(self) -> Path:
        """The folder that is the built-in destination of messages."""
        return self.data_dir / "outbox"

    @property
    def sign_offs_dir(self) -> Path:
        """The folder of signed decisions."""
        return self.data_dir / "sign_offs"

    @property
    def notify_path(self) -> Path:
        """The file that says who gets which notifications."""
        return self.notify_file or self.data_dir / NOTIFICATIONS

    @property
    def allowed_signers_path(self) -> Path:
        """The file with the keys of those who may sign."""
        return self.data_dir / "allowed_signers"


def _duration(env: Mapping[str, str], name: str, default: str) -> int:
    text = env.get(name, default)
    if not text:
        return 0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error


def _number(text: str, name: str, least: float, most: float, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise SettingsError(f"{name} is {text!r}; allowed: {what} between {least:g} and {most:g}")
    return number


def _seconds(env: Mapping[str, str], name: str, default: str) -> float:
    return _number(env.get(name, default), name, 0, 86_400, "seconds")


def _memory(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name) or default
    if not _MEMORY.fullmatch(text):
        raise SettingsError(f"{name} is {text!r}; allowed: a number and its unit, for example 500MB or 2GB")
    return text


def _count(env: Mapping[str, str], name: str, default: str) -> int:
    text = env.get(name, default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise SettingsError(f"{name} is {text!r}; allowed: a whole number between 1 and 1000")
    return int(text)


def _share(env: Mapping[str, str], name: str, default: str) -> float:
    return _number(env.get(name) or default, name, 0.001, 0.5, "a number")


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


_MEMORY = re.compile(r"[1-9][0-9]{0,5}(\.[0-9]+)? ?[KMGT]i?B")
"""The amounts of memory that DuckDB accepts."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The allowed characters of a bearer token (RFC 6750, section 2.1)."""
_NATS_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NATS_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_NATS_FILTER = re.compile(r"([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?|>")
_ADDRESS = re.compile(r"(/|[a-z][a-z0-9]*://)[^\s@]+")
"""An absolute path or an address with a scheme, without credentials."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _registry(env: Mapping[str, str]) -> RegistrySettings | None:
    url = _url(env, "ET_REGISTRY_URL", ("https", "http"))
    token = env.get("ET_REGISTRY_TOKEN")
    if url is None:
        if token:
            raise SettingsError("ET_REGISTRY_TOKEN is set, but not ET_REGISTRY_URL: set both or neither")
        return None
    if token and not _TOKEN.fullmatch(token):
        raise SettingsError(
            "ET_REGISTRY_TOKEN contains a character that is not allowed in a bearer token, for example a line end or "
            "a space; "
            "its value is not shown"
        )
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in _LOOPBACK:
        raise SettingsError(
            f"ET_REGISTRY_URL is {url!r}; allowed: https, because a token must not be sent without encryption"
        )
    return RegistrySettings(
        url=url,
        token=Secret(token) if token else None,
        ca_file=_file(env, "ET_REGISTRY_CA_FILE"),
        timeout_s=_timeout(env, "ET_REGISTRY_TIMEOUT", "10"),
    )


def _nats(env: Mapping[str, str]) -> NatsSettings | None:
    url = _url(env, "ET_NATS_URL", ("nats", "tls"))
    if url is None:
        return None
    return NatsSettings(
        url=url,
        stream=_name(env, "ET_NATS_STREAM", NatsSettings.stream, _NATS_NAME),
        subject=_name(env, "ET_NATS_SUBJECT", NatsSettings.subject, _NATS_FILTER),
        publish_subject=_name(env, "ET_NATS_PUBLISH_SUBJECT", NatsSettings.publish_subject, _NATS_SUBJECT),
        durable=_name(env, "ET_NATS_DURABLE", NatsSettings.durable, _NATS_NAME),
        creds_file=_file(env, "ET_NATS_CREDS"),
        ca_file=_file(env, "ET_NATS_CA_FILE"),
        timeout_s=_timeout(env, "ET_NATS_TIMEOUT", "5"),
    )


def _spark(env: Mapping[str, str]) -> SparkSettings | None:
    engine = env.get("ET_ENGINE") or "duckdb"
    if engine not in ("duckdb", "spark"):
        raise SettingsError(f"ET_ENGINE is {engine!r}; allowed: duckdb, spark")
    url, reports = _url(env, "ET_SPARK_URL", ("sc",)), env.get("ET_SPARK_REPORTS")
    if engine == "duckdb":
        return None
    if url is None or not reports:
        missing = "ET_SPARK_URL" if url is None else "ET_SPARK_REPORTS"
        raise SettingsError(
            f"ET_ENGINE is 'spark', but {missing} is not set: set both ET_SPARK_URL and ET_SPARK_REPORTS"
        )
    if not _ADDRESS.fullmatch(reports):
        raise SettingsError(
            f"ET_SPARK_REPORTS is {reports!r}; allowed: an absolute path that every worker sees, or an address "
            "such as s3a://bucket/reports, without spaces"
        )
    return SparkSettings(url, f"file://{reports}" if reports.startswith("/") else reports)


def _url(env: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    url = env.get(name)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if valid and "@" in parts.netloc:
        raise SettingsError(f"{name} contains a user name or a password, which logs would show; leave it out")
    if not valid:
        shown = "not shown, because it contains an @" if "@" in url else repr(url)
        raise SettingsError(
            f"{name} is {shown}; allowed: {' or '.join(f'{scheme}://host' for scheme in schemes)}"
        )
    return url


def _name(env: Mapping[str, str], name: str, default: str, pattern: re.Pattern[str]) -> str:
    text = env.get(name) or default
    if not pattern.fullmatch(text):
        what = "letters, digits, - and _" if pattern is _NATS_NAME else "a NATS subject such as a.b.c"
        raise SettingsError(f"{name} is {text!r}; allowed: {what}")
    return text


def _file(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name)
    if not text:
        return None
    path = Path(text).absolute()
    if not path.is_file():
        raise SettingsError(f"{name} is {text!r}, which is not a file")
    return path


def _timeout(env: Mapping[str, str], name: str, default: str) -> float:
    seconds = _seconds(env, name, default)
    if seconds == 0:
        raise SettingsError(f"{name} is 0; allowed: seconds above 0, up to 86400")
    return seconds
