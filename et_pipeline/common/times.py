"""Times as the warehouse stores them, and durations as people write them: `2s`, `30m`, `1h`, `1d`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1)
MICROSECONDS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
ALLOWED = "a whole number followed by ms, s, m, h or d, for example 30m"


def naive_utc(moment: datetime) -> datetime:
    """A moment in UTC without an offset; naive times are UTC already."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def epoch_microseconds(moment: datetime) -> int:
    """Microseconds since the epoch; naive times are UTC."""
    return (naive_utc(moment) - EPOCH) // timedelta(microseconds=1)


def parse_duration(text: str) -> int:
    """Microseconds of a duration such as `1h`.

    Raises:
        ValueError: The text is not a duration; the message says what is allowed.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})(ms|s|m|h|d)", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration; allowed: {ALLOWED}")
    return int(match[1]) * MICROSECONDS[match[2]]


def format_duration(microseconds: int) -> str:
    """The shortest way to write a duration, the inverse of `parse_duration`.

    Raises:
        ValueError: It is not a positive whole number of milliseconds.
    """
    for unit in ("d", "h", "m", "s", "ms"):
        if microseconds > 0 and microseconds % MICROSECONDS[unit] == 0:
            return f"{microseconds // MICROSECONDS[unit]}{unit}"
    raise ValueError(f"{microseconds} µs is not a positive whole number of milliseconds")
