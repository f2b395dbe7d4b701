"""Charts pick sensible ticks for any span of time, and say nothing on stderr about it."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta

import pytest
from matplotlib.figure import Figure

from et_pipeline.insight import charts


@pytest.mark.parametrize("hours", [0.5, 2.9, 10, 61, 71.9, 80, 24 * 9, 24 * 70, 24 * 800])
def test_a_span_of_any_length_has_its_ticks(hours: float) -> None:
    start = datetime(2026, 1, 3, 5, 7)
    axes = Figure().subplots()
    axes.plot([start, start + timedelta(hours=hours)], [0.0, 1.0])
    charts._frame(axes, charts.LIGHT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 2 <= len(axes.xaxis.get_ticklocs()) <= 13
