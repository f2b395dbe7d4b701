"""Scales of axes: positions of values and times on an axis, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from et_pipeline.common import text

_EPOCH = datetime(1970, 1, 1)
_STEPS = (1, 2, 5, 10)
_CLOCK = [
    *(timedelta(microseconds=step * 10**power) for power in range(6) for step in _STEPS[:3]),
    *(timedelta(seconds=step) for step in (1, 2, 5, 10, 20, 30)),
    *(timedelta(minutes=step) for step in (1, 2, 5, 10, 20, 30)),
    *(timedelta(hours=step) for step in (1, 2, 3, 6, 12)),
]
_DAYS = (1, 2, 4, 7, 14)
_MONTHS = (1, 2, 3, 6, *(12 * step * 10**power for power in range(4) for step in _STEPS[:3]))
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Scale(NamedTuple):
    """A linear map of a range of values to a range of pixels.

    Attributes:
        low: Value at `start`.
        high: Value at `end`, above `low`.
        start: Pixel of `low`.
        end: Pixel of `high`.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """The pixels of values; NaN stays NaN."""
        share = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def value_ticks(low: float, high: float, most: int = 5) -> list[tuple[float, str]]:
    """Round values between two ends, with their labels.

    Args:
        low: Lower end.
        high: Upper end, above `low`.
        most: Largest number of steps; there are at least two fifths as many, rounded down.

    Returns:
        Multiples of 1, 2 or 5 times a power of ten, ascending, each with as many decimals as the step has.
    """
    step = round_up((high - low) / most)
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [
        (number * step, _value_label(number * step, step, max(abs(low), abs(high)))) for number in numbers
    ]


def round_up(value: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below a positive value."""
    power = math.floor(math.log10(value))
    return next(step * 10.0**power for step in _STEPS if step * 10.0**power >= value * (1 - 1e-9))


def _value_label(value: float, step: float, largest: float) -> str:
    """The label with the decimals of the step, or with a power of ten if it would have too many digits."""
    decimals = max(0, -math.floor(math.log10(step * (1 + 1e-9))))
    if decimals > 6 or largest >= 1e9:
        return text.number(value + 0.0, 1 + math.ceil(math.log10(largest / step)))
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def time_ticks(start: datetime, end: datetime, most: int = 7) -> list[tuple[datetime, str]]:
    """Round moments (UTC) between two ends, with their labels: `18:00`, `8 Oct`, `Oct` or `2027`.

    Args:
        start: The first moment.
        end: The last one, after `start`.
        most: Largest number of steps.

    Returns:
        Times at whole hours, days, months or similar units, ascending.
    """
    span = end - start
    for clock in _CLOCK:
        if span / clock <= most:
            first = _EPOCH + math.ceil((start - _EPOCH) / clock) * clock
            moments = [first + number * clock for number in range(most + 1)]
            return [(moment, _clock_label(moment, clock)) for moment in moments if start <= moment <= end]
    for days in _DAYS:
        if span / timedelta(days=days) <= most:
            return [
                (moment, f"{moment.day} {_NAMES[moment.month - 1]}")
                for moment in _days_of_months(start, end, days)
                if start <= moment
            ]
    months = next((months for months in _MONTHS if span.days / 30.4 / months <= most), _MONTHS[-1])
    return [
        (moment, str(moment.year) if moment.month == 1 else _NAMES[moment.month - 1])
        for moment in _firsts(start, end, months)
        if start <= moment
    ]


def _clock_label(moment: datetime, step: timedelta) -> str:
    if step < timedelta(seconds=1):
        return f"{moment:%H:%M:%S.%f}".rstrip("0").rstrip(".")
    if step < timedelta(minutes=1):
        return f"{moment:%H:%M:%S}"
    midnight = moment.hour == moment.minute == 0
    return f"{moment.day} {_NAMES[moment.month - 1]}" if midnight else f"{moment:%H:%M}"


def _firsts(start: datetime, end: datetime, months: int) -> Iterator[datetime]:
    """The first days of months up to `end`, in steps of months that divide a year or are whole years."""
    number = (12 * start.year + start.month - 1) // months * months
    while number // 12 <= end.year:
        year, month = divmod(number, 12)
        if year >= 1 and (moment := datetime(year, month + 1, 1)) <= end:
            yield moment
        number += months


def _days_of_months(start: datetime, end: datetime, step: int) -> Iterator[datetime]:
    """Every `step`-th day of each month, beginning with the first, except days too close to the first of the next
    month."""
    for first in _firsts(start, end, 1):
        following = (first + timedelta(days=31)).replace(day=1)
        for day in range(0, 31, step):
            moment = first + timedelta(days=day)
            if moment <= end and (day == 0 or (following - moment) >= timedelta(days=0.75 * step)):
                yield moment
