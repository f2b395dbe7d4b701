"""The charts of a review page, as SVG that follows the page's colours and fonts, and as PNG for the Dagster UI.

Each `draw_*` function draws on matplotlib axes in the colours of a `Palette`. For SVG these are placeholders
that become CSS variables, so one drawing serves light, dark and paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

POINTS = 400
"""Points of a path that a chart shows; more cannot be told apart."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "experimenttracker",
    "font.family": "sans-serif",
    "font.size": 12,
    "axes.unicode_minus": True,
    "path.simplify": True,
}


class Palette(NamedTuple):
    """The colours of a chart."""

    ink: str
    muted: str
    line: str
    accent: str
    good: str
    bad: str
    paper: str


PLACEHOLDERS = Palette("#010101", "#010102", "#010103", "#010104", "#010105", "#010106", "#010107")
LIGHT = Palette("#1b1e24", "#5b626e", "#dcdedb", "#2b5fd0", "#13714a", "#b3261e", "#ffffff")


class Series(NamedTuple):
    """One metric's interval path, in the metric's unit; NaN where nothing can be said.

    Attributes:
        as_of: Block ends (UTC).
        mean: Mean uplift.
        lower: Lower end of the interval.
        upper: Upper end of it.
    """

    as_of: NDArray[np.datetime64]
    mean: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    def thinned(self) -> Series:
        """At most about `POINTS` points, the last one always among them."""
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
        upper: Upper end of it.
        limit: What a guardrail must stay above (minus its margin), None elsewhere.
        equal: Margin of equivalence, None where there is none.
        tone: `good`, `bad` or `open`.
    """

    label: str
    text: str
    mean: float | None
    lower: float | None
    upper: float | None
    limit: float | None
    equal: float | None
    tone: str


def draw_path(
    axes: Axes,
    palette: Palette,
    series: Series,
    *,
    unit: str,
    decided: datetime | None = None,
    limits: Sequence[float] = (),
) -> None:
    """The interval path: band, mean, zero, margins, and the moment of decision."""
    shown = series.thinned()
    axes.fill_between(shown.as_of, shown.lower, shown.upper, color=palette.accent, alpha=0.16, linewidth=0)
    axes.plot(shown.as_of, shown.lower, color=palette.accent, linewidth=0.8, alpha=0.7)
    axes.plot(shown.as_of, shown.upper, color=palette.accent, linewidth=0.8, alpha=0.7)
    axes.plot(shown.as_of, shown.mean, color=palette.accent, linewidth=2)
    axes.axhline(0, color=palette.ink, linewidth=1)
    for limit in limits:
        axes.axhline(limit, color=palette.muted, linewidth=1, dashes=(4, 3))
    if decided is not None:
        axes.axvline(np.datetime64(decided), color=palette.ink, linewidth=1, dashes=(1, 2))  # type: ignore[arg-type]
        at = int(np.searchsorted(series.as_of, np.datetime64(decided)))
        if at < len(series.as_of):
            axes.plot([series.as_of[at]], [series.mean[at]], "o", color=palette.accent, markeredgecolor=palette.paper,
                      markeredgewidth=1.5, markersize=8, clip_on=False)  # fmt: skip
    axes.set_ylim(*_vertical_range(series, limits))
    _frame(axes, palette)
    axes.set_ylabel(f"uplift, {unit}", color=palette.muted)


def _vertical_range(series: Series, limits: Sequence[float]) -> tuple[float, float]:
    """What to show: all but the first tenth of the intervals, which are so wide that they hide the rest."""
    known = np.flatnonzero(np.isfinite(series.lower))
    late = known[len(known) // 10 :]
    ends = np.concatenate([series.lower[late], series.upper[late], series.mean[-1:], [0.0, *limits]])
    ends = ends[np.isfinite(ends)]
    low, high = float(ends.min()), float(ends.max())
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def draw_forest(axes: Axes, palette: Palette, bars: Sequence[Bar]) -> None:
    """Every metric's interval on its own scale, all with zero in the middle and better to the right."""
    axes.axvline(0, color=palette.ink, linewidth=1)
    for row, bar in enumerate(bars):
        figures = [bar.mean, bar.lower, bar.upper, bar.limit, bar.equal]
        span = 1.12 * max((abs(value) for value in figures if value is not None), default=1.0) or 1.0
        color = {"good": palette.good, "bad": palette.bad}.get(bar.tone, palette.accent)
        axes.text(-1, row - 0.32, bar.label, ha="left", va="center", color=palette.ink, weight="bold")
        axes.text(1, row - 0.32, bar.text, ha="right", va="center", color=palette.muted)
        if bar.equal is not None:
            axes.fill_betweenx(
                [row - 0.05, row + 0.35],
                -bar.equal / span,
                bar.equal / span,
                color=palette.muted,
                alpha=0.16,
                linewidth=0,
            )
        if bar.limit is not None:
            axes.plot(
                [bar.limit / span] * 2,
                [row - 0.05, row + 0.35],
                color=palette.muted,
                linewidth=1.2,
                dashes=(3, 2),
            )
        if bar.lower is not None and bar.upper is not None:
            axes.plot([bar.lower / span, bar.upper / span], [row + 0.15] * 2, color=color, linewidth=4,
                      solid_capstyle="round")  # fmt: skip
        if bar.mean is not None:
            axes.plot([bar.mean / span], [row + 0.15], "o", color=color, markeredgecolor=palette.paper,
                      markeredgewidth=1.5, markersize=8)  # fmt: skip
    axes.text(-0.03, len(bars) - 0.3, "← worse", ha="right", va="center", color=palette.muted)
    axes.text(0.03, len(bars) - 0.3, "better →", ha="left", va="center", color=palette.muted)
    axes.set_xlim(-1.02, 1.02)
    axes.set_ylim(len(bars) - 0.05, -0.6)
    axes.axis("off")


def draw_counts(
    axes: Axes, palette: Palette, starts: NDArray[np.datetime64], counts: NDArray[np.int64]
) -> None:
    """Pairs over time, as bars that stand for equal spans of time."""
    width = (starts[1] - starts[0]) if len(starts) > 1 else np.timedelta64(1, "h")
    axes.bar(starts, counts, width=width * 0.86, align="edge", color=palette.accent, linewidth=0)
    axes.set_ylim(bottom=0)
    _frame(axes, palette)
    axes.set_ylabel("pairs", color=palette.muted)


def draw_line(
    axes: Axes,
    palette: Palette,
    as_of: NDArray[np.datetime64],
    values: NDArray[np.float64],
    *,
    label: str,
    reference: float,
    reference_label: str,
) -> None:
    """One figure over time against the value it is held to."""
    axes.plot(as_of, values, color=palette.accent, linewidth=2)
    axes.axhline(reference, color=palette.muted, linewidth=1, dashes=(4, 3))
    axes.annotate(reference_label, (0, reference), xycoords=("axes fraction", "data"), xytext=(4, 3),
                  textcoords="offset points", color=palette.muted, fontsize=11)  # fmt: skip
    axes.margins(y=0.12)
    _frame(axes, palette)
    axes.set_ylabel(label, color=palette.muted)


def _frame(axes: Axes, palette: Palette) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(palette.line)
    axes.grid(axis="y", color=palette.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=palette.muted, length=0, labelsize=11)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.margins(x=0.01)


def svg(
    draw: Callable[[Axes, Palette], None], *, name: str, title: str, description: str, width: int, height: int
) -> str:
    """One chart as an SVG element to stand in an HTML page.

    Args:
        draw: Draws on the axes.
        name: Prefix of every id in it, unique on the page.
        title: What it shows, in a few words.
        description: What it says, for those who cannot see it.
        width: Width in CSS pixels at which text has its natural size.
        height: Height in the same unit.
    """
    with rc_context(_STYLE):
        figure = _figure(draw, PLACEHOLDERS, width, height)
        FigureCanvasSVG(figure)
        out = io.StringIO()
        figure.savefig(
            out,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _for_page(out.getvalue(), name, title, description, width, height)


def png(draw: Callable[[Axes, Palette], None], *, width: int, height: int) -> bytes:
    """One chart as a PNG image on white."""
    with rc_context(_STYLE):
        figure = _figure(draw, LIGHT, width, height)
        canvas = FigureCanvasAgg(figure)
        out = io.BytesIO()
        canvas.print_png(out, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return out.getvalue()


def _figure(draw: Callable[[Axes, Palette], None], palette: Palette, width: int, height: int) -> Figure:
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained", facecolor=palette.paper)
    axes: Any = figure.add_subplot()
    draw(axes, palette)
    return figure


_COLORS = {getattr(PLACEHOLDERS, field): f"var(--{field})" for field in Palette._fields}
_PATHS = re.compile(r' (?:d|transform|x|y)="[^"]*"')
_DECIMALS = re.compile(r"(\.\d\d)\d+")
_IDS = re.compile(r'\bid="([^"]+)"|url\(#([^)]+)\)|xlink:href="#([^"]+)"')


def _for_page(text: str, name: str, title: str, description: str, width: int, height: int) -> str:
    """The element alone, with the page's colours and fonts, ids of its own, and words for screen readers."""
    body = text[text.index("<svg") :]
    body = body[body.index(">") + 1 : body.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = _IDS.sub(lambda match: _renamed(match, name), body)
    for placeholder, variable in _COLORS.items():
        body = body.replace(placeholder, variable)
    body = _PATHS.sub(lambda match: _DECIMALS.sub(r"\1", match[0]), body)
    body = re.sub(r">\s+<", "><", body).strip()
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" aria-labelledby="{name}-title {name}-desc"'
        ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"{body}</svg>"
    )


def _renamed(match: re.Match[str], name: str) -> str:
    own, clip, link = match.groups()
    if own:
        return f'id="{name}-{own}"'
    return f"url(#{name}-{clip})" if clip else f'xlink:href="#{name}-{link}"'
