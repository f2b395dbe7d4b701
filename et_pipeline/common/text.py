"""Figures in the form for people: few digits, a true minus sign, times in UTC."""

from __future__ import annotations

import math
from datetime import datetime

NONE = "–"


def number(value: float | int | None, digits: int = 4) -> str:
    """A number with so many significant digits and grouped thousands; `–` where it is unknown or infinite."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) or (abs(value) >= 10**digits and abs(value) < 1e9):
        return f"{value:,.0f}".replace("-", "−")
    text = f"{value:.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    if e:
        return f"{mantissa}·10{_raised(int(exponent))}".replace("-", "−")
    return text.replace("-", "−")


def _raised(value: int) -> str:
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def signed(value: float | None, decimals: int) -> str:
    """A difference with its sign and the given number of decimals."""
    if value is None or not math.isfinite(value):
        return number(value)
    rounded = round(value, decimals) + 0.0
    return f"{rounded:+,.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def decimals_of(*values: float | None) -> int:
    """Number of decimals with which an interval's width has three significant digits and its ends keep their sign."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    width = max(known) - min(known) if len(known) > 1 else max(map(abs, known), default=1.0)
    decimals = 2 if width <= 0 else min(8, max(0, 2 - math.floor(math.log10(width))))
    smallest = min((abs(value) for value in known if value), default=1.0)
    while decimals < 8 and not round(smallest, decimals):
        decimals += 1
    return decimals


def interval(lower: float | None, upper: float | None, unit: str = "", none: str = "no interval yet") -> str:
    """An interval such as `−0.41 to +3.20 bps`; the text `none` where both ends are unknown."""
    ends = [value for value in (lower, upper) if value is not None and math.isfinite(value)]
    if not ends:
        return none
    decimals = decimals_of(lower, upper)
    return f"{signed(lower, decimals)} to {signed(upper, decimals)} {unit}".rstrip()


def between(lower: float | None, upper: float | None, unit: str, decimals: int | None = None) -> str:
    """An interval for a sentence, such as `between −0.41 and +3.20 bps`.

    Args:
        lower: Lower end, None where it is unknown.
        upper: Upper end, None where it is unknown.
        unit: The unit.
        decimals: Number of decimals; by default as many as tables and charts show.
    """
    if decimals is None:
        decimals = decimals_of(lower, upper)
    return f"between {signed(lower, decimals)} and {signed(upper, decimals)} {unit}"


def percent(value: float | None) -> str:
    """A share between 0 and 1, in percent."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.3g} %".replace("-", "−")


def moment(value: datetime | None) -> str:
    """A time in UTC, to the minute."""
    return NONE if value is None else f"{value:%Y-%m-%d %H:%M}"


def duration(microseconds: int | None) -> str:
    """A length of time in its largest whole unit."""
    if microseconds is None:
        return NONE
    for unit, size in (
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1000),
    ):
        if microseconds % size == 0:
            return f"{microseconds // size} {unit}"
    return f"{microseconds} µs"
