"""ISO-8601 texts to UTC microseconds, vectorised."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from et_pipeline.contracts.report import TIME_PATTERN

_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def parse_times(texts: pl.Series) -> pl.Series:
    """Moments of ISO-8601 texts with an offset.

    Args:
        texts: Texts, null where missing.

    Returns:
        Naive UTC datetimes in microseconds; null where the text names no moment (a wrong form, no offset,
        an impossible day). Digits beyond microseconds are cut.
    """
    sound = texts.str.contains(TIME_PATTERN).fill_null(value=False)
    if sound.all() and texts.str.ends_with("Z").all() and texts.str.len_bytes().n_unique() == 1:
        moments = pl.Series(_utc_microseconds(texts))
    else:
        frame = pl.DataFrame({"text": texts, "sound": sound})
        moments = frame.select(
            pl.when("sound")
            .then("text")
            .str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC")
            .dt.replace_time_zone(None)
        ).to_series()
    return moments.cast(pl.Datetime("us")).alias(texts.name)


def _utc_microseconds(texts: pl.Series) -> pl.Series:
    """Microseconds since 1970 of texts in UTC that all have the same length; null for an impossible day.

    Days from a calendar date after Hinnant, "chrono-compatible low-level date algorithms" (`days_from_civil`).
    """
    digits = np.frombuffer(texts.str.join("").item().encode(), dtype=np.uint8).reshape(len(texts), -1) - 48

    def number(*columns: int) -> NDArray[np.int64]:
        value = np.zeros(len(texts), dtype=np.int64)
        for column in columns:
            value = value * 10 + digits[:, column]
        return value

    year, month, day = number(0, 1, 2, 3), number(5, 6), number(8, 9)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    possible = day <= _DAYS[month - 1] + (leap & (month == 2))
    shifted = year - (month <= 2)
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    seconds = ((era * 146_097 + day_of_era - 719_468) * 24 + number(11, 12)) * 3600 + number(14, 15) * 60
    fraction = range(20, min(digits.shape[1] - 1, 26))
    micros = number(*fraction) * 10 ** (6 - len(fraction))
    total = (seconds + number(17, 18)) * 1_000_000 + micros
    return pl.Series(total).set(pl.Series(~possible), None)
