"""Converts ISO-8601 texts to UTC microseconds, and to the digits beyond microseconds, vectorised."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from et_pipeline.contracts.report import TIME_PATTERN

_RFC_3339 = (
    r"^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""The form that nearly all texts have, and to which the others are converted."""
_DATE = r"^([0-9]{4})-?([0-9]{2})-?([0-9]{2})"
_TIME = r"[Tt ]([0-9]{2}):?([0-9]{2}):?([0-9]{2})?([.,][0-9]{1,6})?"
_OFFSET = r"([+-][0-9]{2}):?([0-9]{2})?$"
_BELOW = r"[.,][0-9]{6}([0-9]{1,6})"
"""The digits of a fraction beyond its microseconds."""
_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def parse_times(texts: pl.Series) -> pl.Series:
    """The times of ISO-8601 texts with an offset.

    Args:
        texts: Texts, null where missing.

    Returns:
        Naive UTC datetimes in microseconds; null where the text is not a valid time (a wrong form, no offset,
        an impossible day). Digits beyond microseconds are cut off; `picoseconds` returns them.
    """
    sound = texts.str.contains(_RFC_3339).fill_null(value=False)
    if not sound.all():
        other = texts.str.contains(TIME_PATTERN).fill_null(value=False) & ~sound
        frame = pl.DataFrame({"text": texts, "other": other})
        rewritten = pl.when("other").then(_as_rfc_3339(pl.col("text"))).otherwise("text")
        texts, sound = frame.select(rewritten.alias(texts.name)).to_series(), sound | other
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


def picoseconds(texts: pl.Series) -> pl.Series:
    """The part of ISO-8601 texts below one microsecond.

    Args:
        texts: Texts, null where missing; only those that are a valid time matter.

    Returns:
        Picoseconds (Int32, 0 to 999,999) beyond the microseconds of `parse_times`; a fraction has at most twelve
        digits. An offset does not change them.
    """
    if not texts.str.contains(
        _BELOW
    ).any():  # this is nearly always the case, and takes half the time of extracting the digits
        return pl.repeat(0, len(texts), dtype=pl.Int32, eager=True)
    return texts.str.extract(_BELOW).str.pad_end(6, "0").cast(pl.Int32).fill_null(0)


def _as_rfc_3339(text: pl.Expr) -> pl.Expr:
    """A text that `TIME_PATTERN` allows, in the form of RFC 3339."""

    def part(pattern: str, group: int, default: str = "") -> pl.Expr:
        return text.str.extract(pattern, group).fill_null(default)

    date = pl.concat_str([part(_DATE, group) for group in (1, 2, 3)], separator="-")
    time = pl.concat_str([part(_TIME, group, "00") for group in (1, 2, 3)], separator=":")
    offset = pl.concat_str([part(_OFFSET, 1, "+00"), part(_OFFSET, 2, "00")], separator=":")
    return pl.concat_str([date, pl.lit("T"), time, part(_TIME, 4).str.replace(",", "."), offset])


def _utc_microseconds(texts: pl.Series) -> pl.Series:
    """Microseconds since 1970 of texts in UTC that all have the same length; null for an impossible day.

    Days are computed from the calendar date as in Hinnant, "chrono-compatible low-level date algorithms"
    (`days_from_civil`).
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
