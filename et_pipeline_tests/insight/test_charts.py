"""Charts choose round ticks for any range, and draw shapes at the positions of the values."""

from __future__ import annotations

import itertools
import re
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from et_pipeline.insight import charts
from et_pipeline.insight.charts import Bar, Chart, Series
from et_pipeline.insight.rendering import part
from et_pipeline.insight.scales import Scale, time_ticks, value_ticks

START = datetime(2026, 1, 3, 5, 7)


@pytest.mark.parametrize("hours", [0.5, 2.9, 10, 61, 71.9, 80, 24 * 9, 24 * 70, 24 * 800])
def test_a_span_of_any_length_has_its_ticks(hours: float) -> None:
    assert 2 <= len(time_ticks(START, START + timedelta(hours=hours))) <= 13


@pytest.mark.parametrize(
    ("start", "span", "labels"),
    [
        (datetime(2026, 10, 1), timedelta(days=31), ["1 Oct", "8 Oct", "15 Oct", "22 Oct", "1 Nov"]),
        (datetime(2026, 10, 30, 5), timedelta(hours=49), ["12:00", "31 Oct", "12:00", "1 Nov"]),
        (datetime(2026, 10, 30, 5, 1, 3), timedelta(seconds=4), ["05:01:03", "05:01:04", "05:01:05", "05:01:06",
                                                                 "05:01:07"]),
        (datetime(2026, 10, 30), timedelta(milliseconds=5), ["00:00:00", "00:00:00.001", "00:00:00.002",
                                                             "00:00:00.003", "00:00:00.004", "00:00:00.005"]),
        (datetime(2026, 8, 20), timedelta(days=200), ["Sep", "Oct", "Nov", "Dec", "2027", "Feb", "Mar"]),
        (datetime(2020, 5, 1), timedelta(days=3000), ["2022", "2024", "2026", "2028"]),
    ],
)  # fmt: skip
def test_a_tick_says_no_more_than_it_must(start: datetime, span: timedelta, labels: list[str]) -> None:
    assert [label for _, label in time_ticks(start, start + span)] == labels


@given(
    start=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),
    span=st.timedeltas(timedelta(microseconds=10), timedelta(days=40_000)),
    most=st.integers(5, 7),
)
def test_ticks_of_time_are_inside_in_order_and_few(start: datetime, span: timedelta, most: int) -> None:
    moments = [moment for moment, _ in time_ticks(start, start + span, most)]
    assert all(start <= moment <= start + span for moment in moments)
    assert all(one < other for one, other in itertools.pairwise(moments))
    assert 1 <= len(moments) <= most + 2
    assert most < 7 or len(moments) >= 2


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-6, 1e6),
    most=st.integers(3, 8),
)
def test_ticks_of_values_are_round_inside_in_order_and_told_apart(
    low: float, width: float, most: int
) -> None:
    high = low + width
    assume(width > 1e-6 * abs(low))
    ticks = value_ticks(low, high, most)
    values, labels = [value for value, _ in ticks], [label for _, label in ticks]
    assert most // 2.5 <= len(ticks) <= most + 1
    slack = 1e-6 * width
    assert all(low - slack <= value <= high + slack for value in values)
    assert len(set(labels)) == len(labels)
    steps = np.diff(values)
    assert np.allclose(steps, steps[:1], rtol=1e-3)
    for value, label in ticks:
        assert read(label) == pytest.approx(value, abs=1e-3 * width)


def read(label: str) -> float:
    powers = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-", ",")
    return float(label.replace("·10", "e").translate(powers))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-2.5, 7.1, ["−2", "0", "2", "4", "6"]),
        (-0.18, 0.18, ["−0.1", "0.0", "0.1"]),
        (0, 340, ["0", "100", "200", "300"]),
        (-6e-8, 1.2e-7, ["−5·10⁻⁸", "0", "5·10⁻⁸", "1·10⁻⁷"]),
        (0, 2.1e10, ["0", "5·10⁹", "1·10¹⁰", "1.5·10¹⁰", "2·10¹⁰"]),
        (0, 21_000, ["0", "5,000", "10,000", "15,000", "20,000"]),
    ],
)
def test_the_labels_of_values(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in value_ticks(low, high)] == labels


def test_a_scale_maps_its_ends_and_what_is_between() -> None:
    assert Scale(10.0, 20.0, 100.0, 0.0)(np.array([10.0, 15.0, 20.0])).tolist() == [100.0, 50.0, 0.0]


def series(lower: list[float], upper: list[float]) -> Series:
    mean = [(one + other) / 2 for one, other in zip(lower, upper, strict=True)]
    as_of = np.datetime64("2026-10-01T00", "us") + np.arange(len(mean)) * np.timedelta64(1, "h")
    return Series(as_of, np.nan_to_num(np.array(mean), nan=0.5), np.array(lower), np.array(upper))


def path(chart: Chart, look: str) -> str:
    (found,) = [shape.path for shape in [*chart.inside, *chart.above] if shape.look == look]
    return found


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", text)]


def test_a_path_is_broken_where_nothing_can_be_said() -> None:
    nan = float("nan")
    chart = charts.path_chart(series([nan, -3, -2, nan, -1, 0], [nan, 3, 2, 2, 2, 2]), unit="bps", width=400,
                              height=300, decided=datetime(2026, 10, 1, 4), limits=[-1.5])  # fmt: skip
    assert path(chart, "band").count("M") == path(chart, "band").count("z") == 2
    assert path(chart, "end").count("M") == 3  # two stretches of the lower end, one of the upper
    assert path(chart, "curve").count("M") == 1
    (x, y), *_ = points(path(chart, "dot-open"))
    assert (x, y) == points(path(chart, "curve"))[4], "the dot is on the mean at the moment of decision"
    zero, margin = (float(path(chart, look).split(",")[1].split("H")[0]) for look in ("zero", "margin"))
    assert margin > zero, "below zero is further down"
    ticks = {word.text: word.y for word in chart.words if word.look == "value"}
    assert ticks["0"] == pytest.approx(zero + chart.box[1] + 4, abs=0.2)


def test_a_long_path_shows_its_last_point_and_not_more_than_can_be_told_apart() -> None:
    long = series(list(np.linspace(-2, 1, 5003)), list(np.linspace(2, 3, 5003)))
    shown = points(path(charts.path_chart(long, unit="bps", width=880, height=320), "curve"))
    assert charts.POINTS <= len(shown) <= charts.POINTS * 1.1
    left, _, wide, _ = charts.path_chart(long, unit="bps", width=880, height=320).box
    assert shown[-1][0] == pytest.approx(wide * 101 / 102, abs=0.2)
    assert left + wide < 880


def test_a_forest_plot_has_a_row_a_metric_with_zero_in_the_middle() -> None:
    bars = [
        Bar("a", "−1 to 3", 1.0, -1.0, 3.0, None, 2.0, "good"),
        Bar("b", "none", 0.0, None, None, -0.5, None, "bad"),
    ]
    chart = charts.forest_chart(bars, width=400)
    lower, upper = (float(x) for x in re.findall(r"M([\d.]+),.*H([\d.]+)", path(chart, "interval-good"))[0])
    middle = float(path(chart, "zero")[1:].split(",")[0])
    assert (middle - lower) * 3 == pytest.approx(upper - middle, abs=0.5)
    assert points(path(chart, "dot-bad"))[0][0] == middle
    assert [word.text for word in chart.words if word.look == "name"] == ["a", "b"]
    assert charts.forest_chart(
        [bars[0]._replace(mean=0.0, lower=0.0, upper=0.0, equal=None)], width=400
    ).above


def test_bars_stand_for_counts() -> None:
    starts = np.array(["2026-10-01", "2026-10-02", "2026-10-03"], dtype="datetime64[us]")
    chart = charts.counts_chart(starts, np.array([10, 0, 5]), width=430, height=220)
    floor = chart.box[3]
    tops = [float(top) for top in re.findall(r"V([\d.]+)h", path(chart, "bars"))]
    assert tops[1] == pytest.approx(floor)
    assert floor - tops[0] == pytest.approx(2 * (floor - tops[2]), abs=0.2)
    assert charts.counts_chart(starts[:1], np.array([0]), width=430, height=220).words


def test_a_value_that_never_moves_has_a_chart() -> None:
    as_of = series([0, 0], [1, 1]).as_of
    chart = charts.line_chart(as_of, np.array([50.0, np.nan]), label="variant, %", reference=50.0,
                              reference_label="planned", width=430, height=220)  # fmt: skip
    assert [word.text for word in chart.words if word.look == "note"] == ["planned"]


def test_every_look_of_a_chart_is_known_to_the_template_and_words_stay_words() -> None:
    bars = [Bar("<b>", "&", 0.5, -1.0, 3.0, -2.0, 2.0, tone) for tone in ("good", "bad", "open", "calm")]
    svg = part("chart.svg", "draw", charts.forest_chart(bars, width=400), "it", "<i>", '"&')
    assert "&lt;b&gt;" in svg
    assert '<title id="it-title">&lt;i&gt;</title>' in svg
    assert svg.count("stroke: var(--good); stroke-width: 4") == 1
