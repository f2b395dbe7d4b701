"""Draws times and markets of opportunities: markets open and close, hours have a profile, opportunities come in
bursts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from et_pipeline.generator.scenario import Scenario

HOUR_US = 3_600_000_000
MARGIN_US = 30_000_000
"""Time without new bursts before the end of the window, so that a burst and its replays end inside the window."""

Ints = NDArray[np.int64]


class Opportunities(NamedTuple):
    """Opportunities in time order; arrays of one length.

    Attributes:
        time_us: UTC microseconds since 1970, whole milliseconds.
        market: Market number, from 0.
        outcome: 0 or 1.
        side: 0 (BUY) or 1 (SELL).
        burst: Number of the burst, from 0; the numbers are not in order of time.
    """

    time_us: Ints
    market: Ints
    outcome: Ints
    side: Ints
    burst: Ints


def to_us(moment: datetime) -> int:
    """UTC microseconds since 1970 of an aware datetime."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def draw_opportunities(scenario: Scenario, rng: np.random.Generator) -> Opportunities:
    """Draws the opportunities of a scenario.

    The market of a burst is drawn by Zipf popularity, and its time by the profile of hours within the life of that
    market. The opportunities of a burst have the same market, outcome and side and follow each other within seconds.
    """
    start, end = to_us(scenario.starts_at), to_us(scenario.ends_at) - MARGIN_US
    opens, closes = _market_lives(scenario.markets, start, end, rng)
    popularity = np.arange(1, scenario.markets + 1) ** -scenario.zipf
    sizes = _burst_sizes(scenario, rng)
    bursts = len(sizes)
    market = rng.choice(scenario.markets, size=bursts, p=popularity / popularity.sum())
    began = _times_by_profile(opens[market], closes[market], start, end, rng)
    of = np.repeat(np.arange(bursts), sizes)
    gap = rng.exponential(400_000, size=len(of))
    first = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    elapsed = np.cumsum(gap)
    elapsed -= elapsed[first][of]
    time = np.minimum(began[of] + elapsed, end).astype(np.int64) // 1000 * 1000
    time = np.maximum(time, -(-start // 1000) * 1000)
    outcome, side = rng.integers(0, 2, size=(2, bursts))
    order = np.argsort(time, kind="stable")
    of = of[order]
    return Opportunities(time[order], market[of], outcome[of], side[of], of)


def _burst_sizes(scenario: Scenario, rng: np.random.Generator) -> Ints:
    """Geometric sizes that add up to the number of opportunities."""
    sizes = rng.geometric(1 / scenario.burst, size=scenario.opportunities)
    total = np.cumsum(sizes)
    last = int(np.searchsorted(total, scenario.opportunities))
    sizes = sizes[: last + 1]
    sizes[last] -= total[last] - scenario.opportunities
    return sizes


def _market_lives(
    markets: int, start: int, end: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times at which markets open and close; some are open before the window begins, some after it ends."""
    length = rng.uniform(0.15, 0.6, size=markets)
    opens = rng.uniform(-0.3, 0.9, size=markets)
    closes = np.clip(opens + length, 0.05, 1.0)
    opens = np.clip(opens, 0.0, 0.9)
    return start + opens * (end - start), start + closes * (end - start)


def _times_by_profile(
    opens: NDArray[np.float64], closes: NDArray[np.float64], start: int, end: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """One time for each pair of bounds, drawn by a profile with a maximum in the evening (UTC) and some busy hours."""
    edges = np.append(np.arange(start, end, HOUR_US, dtype=np.float64), end)
    hour_of_day = edges[:-1] / HOUR_US % 24
    busy = rng.lognormal(0.0, 0.5, size=len(edges) - 1)
    weight = (1 + 0.8 * np.sin(2 * np.pi * (hour_of_day - 14) / 24)) * busy * np.diff(edges)
    cumulative = np.concatenate(([0.0], np.cumsum(weight)))
    low, high = np.interp(opens, edges, cumulative), np.interp(closes, edges, cumulative)
    times: NDArray[np.float64] = np.interp(rng.uniform(low, high), cumulative, edges)
    return times
