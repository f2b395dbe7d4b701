"""The charts of a review page: values become shapes and texts at coordinates, which `templates/chart.svg` draws.

This module has no colours and fonts. A shape has the name of a style, which the template defines for light mode, for
dark mode and for print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from et_pipeline.insight.scales import Scale, time_ticks, value_ticks

POINTS = 400
"""Number of points of a path that a chart shows; more could not be distinguished."""
_DIGIT, _LINE = 6.9, 16
"""Width of one digit of a tick's label, and height of a line of text, in pixels."""


class Shape(NamedTuple):
    """One line, area or dot.

    Attributes:
        look: Name of its style in `templates/chart.svg`.
        path: SVG path data.
    """

    look: str
    path: str


class Words(NamedTuple):
    """One piece of text.

    Attributes:
        look: Name of its style in `templates/chart.svg`.
        x: Distance from the left, in pixels.
        y: Distance of the baseline from the top, in pixels.
        text: The text.
    """

    look: str
    x: float
    y: float
    text: str


class Chart(NamedTuple):
    """A chart, ready to be drawn.

    Attributes:
        width: Width in pixels at which text has its natural size.
        height: Height in the same unit.
        box: Left, top, width and height of the plot area; shapes in `inside` are clipped to it.
        inside: Shapes in coordinates of the plot area, those in the background first.
        above: Shapes in front of them that may extend beyond the plot area, in the same coordinates.
        words: Texts, in coordinates of the whole chart.
    """

    width: int
    height: int
    box: tuple[float, float, float, float]
    inside: list[Shape]
    above: list[Shape]
    words: list[Words]


class Series(NamedTuple):
    """One metric's interval path, in the metric's unit; NaN where a value is unknown.

    Attributes:
        as_of: Block ends (UTC).
        mean: Mean uplift.
        lower: Lower end of the interval.
        upper: Upper end of the interval.
    """

    as_of: NDArray[np.datetime64]
    mean: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    def thinned(self) -> Series:
        """The path with at most about `POINTS` points, always including the last one."""
        step = max(1, len(self.as_of) // POINTS)
        keep = np.unique(np.append(np.arange(0, len(self.as_of), step), len(self.as_of) - 1))
        return Series(*(column[keep] for column in self))


class Bar(NamedTuple):
    """One row of the forest plot, in the metric's unit.

    Attributes:
        label: Metric and role.
        text: The interval as text.
        mean: Mean uplift.
        lower: Lower end of the interval.
        upper: Upper end of the interval.
        limit: For a guardrail, minus its margin, above which the interval must stay; None for other roles.
        equal: Margin of equivalence; None where there is none.
        tone: `good`, `bad`, `open` or `calm`.
    """

    label: str
    text: str
    mean: float | None
    lower: float | None
    upper: float | None
    limit: float | None
    equal: float | None
    tone: str


class _Frame(NamedTuple):
    """An empty chart with axes and a grid.

    Attributes:
        chart: The chart with the axes and the grid.
        x: Converts values of the horizontal axis to pixels of the plot area; times are microseconds since 1970.
        y: Converts values of the vertical axis to pixels of the plot area.
    """

    chart: Chart
    x: Scale
    y: Scale

    def times(self, moments: NDArray[np.datetime64] | np.datetime64) -> NDArray[np.float64]:
        return self.x(_microseconds(moments))

    def level(self, look: str, value: float) -> Shape:
        """A horizontal line through the plot area."""
        return Shape(look, f"M0,{self.y(value):.1f}H{self.chart.box[2]:.0f}")


def path_chart(
    series: Series,
    *,
    unit: str,
    width: int,
    height: int,
    decided: datetime | None = None,
    limits: Sequence[float] = (),
    what: str = "uplift",
) -> Chart:
    """The interval path of an uplift or another difference: band, mean, zero line, margins, and the time of the
    decision."""
    shown = series.thinned()
    frame = _frame(width, height, f"{what}, {unit}", (shown.as_of[0], shown.as_of[-1]),
                   _vertical_range(series, limits))  # fmt: skip
    chart, x = frame.chart, frame.times(shown.as_of)
    mean, lower, upper = (frame.y(ends) for ends in (shown.mean, shown.lower, shown.upper))
    chart.inside.extend([
        Shape("band", _band(x, lower, upper)),
        Shape("end", _line(x, lower) + _line(x, upper)),
        Shape("curve", _line(x, mean)),
        frame.level("zero", 0.0),
        *(frame.level("margin", limit) for limit in limits),
    ])  # fmt: skip
    if decided is not None:
        moment = np.datetime64(decided)
        chart.inside.append(Shape("moment", f"M{frame.times(moment):.1f},0V{chart.box[3]:.0f}"))
        at = int(np.searchsorted(series.as_of, moment))
        if at < len(series.as_of) and np.isfinite(series.mean[at]):
            chart.above.extend(
                _dot("open", float(frame.times(series.as_of[at])), float(frame.y(series.mean[at])))
            )
    return chart


def _vertical_range(series: Series, limits: Sequence[float]) -> tuple[float, float]:
    """The vertical range: it ignores the first tenth of the intervals, which are too wide to show details of the
    others."""
    known = np.flatnonzero(np.isfinite(series.lower))
    late = known[len(known) // 10 :]
    return _range([*series.lower[late], *series.upper[late], *series.mean[-1:], 0.0, *limits], 0.06)


def _range(values: Iterable[float], room: float) -> tuple[float, float]:
    """The smallest and largest finite value, with a margin of a share of their distance on both sides."""
    finite = [value for value in values if np.isfinite(value)]
    low, high = min(finite), max(finite)
    more = room * (high - low) or 1.0
    return low - more, high + more


def forest_chart(bars: Sequence[Bar], *, width: int) -> Chart:
    """Every metric's interval on its own scale; zero is in the middle and a better variant is to the right."""
    pitch, side = 56, 8.0
    height = pitch * len(bars) + 30
    middle, bottom = width / 2, pitch * len(bars) + 6
    chart = Chart(
        width, height, (0.0, 0.0, width, height), [Shape("zero", f"M{middle:.1f},0V{bottom}")], [], []
    )
    for row, bar in enumerate(bars):
        top, y = pitch * row, pitch * row + 38
        chart.words.extend([
            Words("name", side, top + 20, bar.label),
            Words("figures", width - side, top + 20, bar.text),
        ])  # fmt: skip
        _draw_bar(chart, bar, side, y, half=11)
    chart.words.extend([
        Words("worse", middle - 12, bottom + 16, "← worse"),
        Words("better", middle + 12, bottom + 16, "better →"),
    ])  # fmt: skip
    return chart


def multiples_chart(bars: Sequence[Bar], *, width: int) -> Chart:
    """Intervals of one metric below each other on one scale; zero is in the middle, a better variant is to the
    right."""
    pitch, side = 44, 8.0
    height = pitch * len(bars) + 26
    middle, bottom = width / 2, pitch * len(bars) + 4
    chart = Chart(
        width, height, (0.0, 0.0, width, height), [Shape("zero", f"M{middle:.1f},0V{bottom}")], [], []
    )
    ends = [abs(end) for bar in bars for end in (bar.mean, bar.lower, bar.upper) if end is not None]
    for row, bar in enumerate(bars):
        top = pitch * row
        chart.words.extend([
            Words("name", side, top + 18, bar.label),
            Words("figures", width - side, top + 18, bar.text),
        ])  # fmt: skip
        _draw_bar(chart, bar, side, top + 31, half=7, reach=max(ends, default=1.0))
    chart.words.extend([
        Words("worse", middle - 12, bottom + 14, "← worse"),
        Words("better", middle + 12, bottom + 14, "better →"),
    ])  # fmt: skip
    return chart


def interval_mark(bar: Bar, *, width: int = 132, height: int = 18) -> Chart:
    """One interval without any text, for a table; zero is in the middle, a better variant is to the right."""
    field = (0.0, 0.0, float(width), float(height))
    chart = Chart(width, height, field, [Shape("zero", f"M{width / 2:.1f},0V{height}")], [], [])
    _draw_bar(chart, bar, 6.0, height / 2, half=7)
    return chart


def _draw_bar(
    chart: Chart, bar: Bar, side: float, y: float, *, half: int, reach: float | None = None
) -> None:
    """Draws the margins, the interval and the mean of one bar; on a scale of its own unless `reach` gives its end."""
    figures = [bar.mean, bar.lower, bar.upper, bar.limit, bar.equal] if reach is None else [reach]
    span = 1.12 * max((abs(value) for value in figures if value is not None), default=1.0) or 1.0
    x = Scale(-span, span, side, chart.width - side)
    if bar.equal is not None:
        chart.inside.append(Shape("equal", f"M{x(-bar.equal):.1f},{y - half:g}H{x(bar.equal):.1f}v{2 * half}"
                                           f"H{x(-bar.equal):.1f}z"))  # fmt: skip
    if bar.limit is not None:
        chart.inside.append(Shape("limit", f"M{x(bar.limit):.1f},{y - half:g}v{2 * half}"))
    if bar.lower is not None and bar.upper is not None:
        look = f"interval-{bar.tone}"
        chart.inside.append(Shape(look, f"M{x(bar.lower):.1f},{y:g}H{x(bar.upper):.1f}"))
    if bar.mean is not None:
        chart.above.extend(_dot(bar.tone, float(x(bar.mean)), y))


def counts_chart(
    starts: NDArray[np.datetime64], counts: NDArray[np.int64], *, width: int, height: int
) -> Chart:
    """Numbers of pairs over time, as bars for equal spans of time."""
    span = (starts[1] - starts[0]) if len(starts) > 1 else np.timedelta64(1, "h")
    frame = _frame(width, height, "pairs", (starts[0], starts[-1] + span),
                   (0.0, 1.05 * max(1.0, float(counts.max()))))  # fmt: skip
    return _with_bars(frame, frame.times(starts), frame.times(starts + span), counts)


def histogram_chart(
    starts: NDArray[np.float64], counts: NDArray[np.int64], *, unit: str, width: int, height: int
) -> Chart:
    """Histogram of pairs by a value, with bars of equal width and a line at zero."""
    bar = float(starts[1] - starts[0])
    ends = float(starts[0]), float(starts[-1]) + bar

    def ticks(most: int) -> list[tuple[float, str]]:
        return value_ticks(*ends, most)

    frame = _axes(width, height, f"pairs, by {unit}", ends, ticks, (0.0, 1.05 * float(counts.max())))
    _with_bars(frame, frame.x(starts), frame.x(starts + bar), counts)
    if ends[0] < 0 < ends[1]:
        frame.chart.inside.append(Shape("zero", f"M{frame.x(0.0):.1f},0V{frame.chart.box[3]:.1f}"))
    return frame.chart


def _with_bars(
    frame: _Frame, left: NDArray[np.float64], right: NDArray[np.float64], counts: NDArray[np.int64]
) -> Chart:
    """The chart with a bar for each count, between two pixels."""
    tops, floor = frame.y(counts.astype(np.float64)), frame.chart.box[3]
    bars = (
        f"M{x:.1f},{floor:.1f}V{y:.1f}h{wide:.2f}V{floor:.1f}z"
        for x, y, wide in zip(left, tops, 0.86 * (right - left), strict=True)
    )
    frame.chart.inside.append(Shape("bars", "".join(bars)))
    return frame.chart


def line_chart(
    as_of: NDArray[np.datetime64],
    values: NDArray[np.float64],
    *,
    label: str,
    reference: float,
    reference_label: str,
    width: int,
    height: int,
) -> Chart:
    """One figure over time, with a line for the value with which it is compared."""
    frame = _frame(width, height, label, (as_of[0], as_of[-1]), _range([*values, reference], 0.12))
    chart, (left, top, *_) = frame.chart, frame.chart.box
    chart.inside.extend([
        Shape("curve", _line(frame.times(as_of), frame.y(values))),
        frame.level("margin", reference),
    ])  # fmt: skip
    chart.words.append(Words("note", left + 4, top + float(frame.y(reference)) - 4, reference_label))
    return chart


def _frame(
    width: int,
    height: int,
    label: str,
    moments: tuple[np.datetime64, np.datetime64],
    values: tuple[float, float],
) -> _Frame:
    """Axes for values over time."""
    first, last = (moment.astype("datetime64[us]") for moment in moments)
    edge = (last - first) // 100
    first, last = first - edge, last + edge

    def ticks(most: int) -> list[tuple[float, str]]:
        found = time_ticks(first.item(), last.item(), most=most)
        return [(float(_microseconds(np.datetime64(moment))), words) for moment, words in found]

    ends = float(_microseconds(first)), float(_microseconds(last))
    return _axes(width, height, label, ends, ticks, values)


def _axes(
    width: int,
    height: int,
    label: str,
    ends: tuple[float, float],
    ticks: Callable[[int], list[tuple[float, str]]],
    values: tuple[float, float],
) -> _Frame:
    """Axes with their ticks, grid and label; the plot area is the room that their texts leave.

    Args:
        width: Width of the chart.
        height: Height of the chart.
        label: Label of the vertical axis.
        ends: Ends of the horizontal axis.
        ticks: Returns the ticks of the horizontal axis with their labels, at most the given number.
        values: Ends of the vertical axis.
    """
    marks = value_ticks(*values)
    left = _LINE + 12 + _DIGIT * max((len(text) for _, text in marks), default=0)
    top, wide, high = 8.0, round(width - left - 16.0, 1), height - 8.0 - 24
    x = Scale(*ends, 0.0, wide)
    y = Scale(*values, high, 0.0)
    chart = Chart(width, height, (round(left, 1), top, wide, high), [], [], [])
    for value, text in marks:
        chart.inside.append(Shape("grid", f"M0,{y(value):.1f}H{wide:.1f}"))
        chart.words.append(Words("value", round(left - 7, 1), round(top + float(y(value)) + 4, 1), text))
    chart.inside.append(Shape("axis", f"M0,{high - 0.5:.1f}H{wide:.1f}"))
    for value, text in ticks(min(7, int(wide / 56))):
        chart.words.append(Words("time", round(left + float(x(value)), 1), top + high + 18, text))
    chart.words.append(Words("unit", 11, round(top + high / 2, 1), label))
    return _Frame(chart, x, y)


def _microseconds(moments: NDArray[np.datetime64] | np.datetime64) -> NDArray[np.float64]:
    return moments.astype("datetime64[us]").astype(np.int64).astype(np.float64)


def _runs(*columns: NDArray[np.float64]) -> list[slice]:
    """The ranges of rows in which every column has a value."""
    known = np.isfinite(np.vstack(columns)).all(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return [slice(first, end) for first, end in edges.reshape(-1, 2).tolist()]


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return "L".join(f"{right:.1f},{down:.1f}" for right, down in zip(x.tolist(), y.tolist(), strict=True))


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """A line with gaps where there is no value."""
    return "".join(f"M{_points(x[run], y[run])}" for run in _runs(y))


def _band(x: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> str:
    """The area between two lines, where both have a value."""
    return "".join(
        f"M{_points(x[run], upper[run])}L{_points(x[run][::-1], lower[run][::-1])}z"
        for run in _runs(lower, upper)
    )


def _dot(tone: str, x: float, y: float) -> list[Shape]:
    """A dot with a border in the colour of the background, drawn as lines of length 0 with round ends."""
    return [Shape("rim", f"M{x:.1f},{y:.1f}h0"), Shape(f"dot-{tone}", f"M{x:.1f},{y:.1f}h0")]
