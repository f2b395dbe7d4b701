import math
from datetime import datetime

import pytest

from et_pipeline.common import text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0, "0"),
        (1234567, "1,234,567"),
        (-1234567.8, "−1,234,568"),
        (0.123456, "0.1235"),
        (1.2e-9, "1.2·10⁻⁹"),
        (3.4e22, "3.4·10²²"),
        (556810746826907.0, "5.568·10¹⁴"),
    ],
)
def test_number(value: float | None, said: str) -> None:
    assert text.number(value) == said


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        (0.2532, 5.562, "+0.25 to +5.56 bps"),
        (-1394.2, 2985.9, "−1,394 to +2,986 bps"),
        (-0.00002, 0.00003, "−0.0000200 to +0.0000300 bps"),
        (-math.inf, 2.0, "−∞ to +2.00 bps"),
        (None, None, "no interval yet"),
        (-math.inf, math.inf, "no interval yet"),
        (-0.001, 9.0, "−0.001 to +9.000 bps"),
    ],
)
def test_interval(lower: float | None, upper: float | None, said: str) -> None:
    assert text.interval(lower, upper, "bps") == said


def test_percent_moment_and_duration() -> None:
    assert text.percent(0.1234) == "12.3 %"
    assert text.percent(None) == "–"
    assert text.moment(datetime(2026, 11, 1, 9, 5)) == "2026-11-01 09:05"
    assert text.moment(None) == "–"
    assert [text.duration(us) for us in (3_600_000_000, 90_000_000, 2_000, 7, None)] == [
        "1 h",
        "90 s",
        "2 ms",
        "7 µs",
        "–",
    ]


def test_an_end_that_is_not_zero_keeps_its_sign():
    assert text.interval(0.04, 13.5, "bps") == "+0.04 to +13.50 bps"
    assert text.interval(-2500.0, -0.3) == "−2,500.0 to −0.3"
    assert text.interval(0.0, 13.5) == "0.0 to +13.5"
