"""Did the mean uplift fall below minus the margin, at some unknown time?

The e-SR detector of Shin, Ramdas and Rinaldo (2022), "E-detectors: a nonparametric framework for sequential
change detection", arXiv 2203.03532: with E_{s,t} the evidence of blocks s to t against "the mean is at least
−margin", the sum over all starts

    M_t = Σ_{s ≤ t} E_{s,t}

grows by at most 1 per block in expectation as long as the mean has not fallen. So on average it takes at least
1/alpha blocks until it reaches 1/alpha. (Where E_{s,t} is a product of factors L this is the recursion
`M ← (1 + M)·L`.) The start with the largest E_{s,t} is the estimated onset.

The usual detector, a product of bets on single blocks, is not valid here: pairs of one market stay correlated across
    blocks, so a few markets that are low by chance look like a fall that lasts. In simulations such bets raised a false
    alarm in about a third of experiments where 5 % were allowed (`et_pipeline_tests/statistics/drift_simulation.py`),
    and bets on closed markets cannot raise an alarm as long as markets stay open. So E_{s,t} is computed from the
    two-way interval of blocks s to t: the same mean, standard error and effective clusters, in a one-sided mixture over
    effect sizes. This does not depend on the scale of the metric, so it needs no bounds of it. With fewer than ten
    effective clusters there is no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, stdtr

from et_pipeline.inference import twoway
from et_pipeline.inference.cells import Cells, Floats, Ints
from et_pipeline.inference.course import Course
from et_pipeline.inference.ratio import RatioCells, centred, difference
from et_pipeline.inference.serial import LAGS, lower_triangle

ALPHA = 0.001
"""A false alarm at most once in 1/alpha blocks on average: at one-hour blocks, once in six weeks."""
WINDOW = 256
"""Number of starts s that are kept, the newest ones. Leaving out older ones only makes M smaller, so the average run
length stays at least 1/alpha."""
BETS = (2.0, 8.0, 32.0)
"""Tunings g of the mixture: effects of about 1/√g standard deviations of a cluster, large to small."""
_CHUNK = 32
"""Blocks after which the products of markets are made anew, see :func:`_stretches`."""


_Interval = Callable[[twoway.Moments], twoway.IntervalPath]
"""Makes the intervals of stretches from their moments. Of these only what hangs on no alpha and no g is used."""


class DriftPath(NamedTuple):
    """The detector at every block end; arrays have one entry per block that has pairs, in time order."""

    block: Ints
    """Start of the block at whose end the row stands, microseconds since the epoch."""
    log_m: Floats
    """Natural logarithm of M, −inf where no start has enough clusters yet."""
    alarm: NDArray[np.bool_]
    """Whether M is at least 1/alpha at this block's end."""
    since: Ints
    """Estimated onset: start of the first block of the stretch with the most evidence, −1 without any."""
    mean_since: Floats
    """Mean uplift from then on, in the metric's unit; NaN without any."""
    log_e_since: Floats
    """Natural logarithm of that stretch's own evidence."""

    def first_alarm(self) -> int | None:
        """Row of the first alarm, or None."""
        rows = np.flatnonzero(self.alarm)
        return int(rows[0]) if len(rows) else None


def drift_path(
    cells: Cells | RatioCells,
    *,
    margin: float = 0.0,
    alpha: float = ALPHA,
    window: int = WINDOW,
    since: int = 0,
) -> DriftPath:
    """Run the detector over all blocks, or the newest of them.

    A row depends on the cells up to its block and on nothing later, to the last bit. The detector does not restart
    after an alarm: the alarm lasts as long as the uplift stays low.

    Args:
        cells: One entry per (block, market), sorted by block, then market; of a ratio metric, or of all trades of both
            arms, those of `inference.ratio`.
        margin: How far below 0 the mean uplift may lie, in the metric's unit, not below 0.
        alpha: One over the average run length, in blocks, without a fall.
        window: Number of starts kept.
        since: Number of the first block that is wanted.

    Raises:
        ValueError: When margin, alpha or window is outside its range.
    """
    totals, interval = _ratio(cells) if isinstance(cells, RatioCells) else _mean(cells)
    moments = twoway.running_moments(cells.block, cells.market, totals)
    return _detect(moments, cells.block, cells.market, totals, interval, margin, alpha, window, since)


def drift_of(
    course: Course,
    cells: Cells,
    *,
    since: int,
    margin: float = 0.0,
    alpha: float = ALPHA,
    window: int = WINDOW,
) -> DriftPath:
    """The detector over the newest blocks of a series of pairs.

    Args:
        course: The course of the series.
        cells: Its cells from block :func:`begins_at` on.
        since: Number of the first block that is wanted.
        margin: See :func:`drift_path`.
        alpha: See there.
        window: See there.
    """
    totals = twoway.totals_around(course.centre, cells)
    interval = _around(course.centre)
    return _detect(course.by_pairs, cells.block, cells.market, totals, interval, margin, alpha, window, since)


def begins_at(since: int, window: int = WINDOW) -> int:
    """Number of the first block whose cells the detector needs for the blocks from `since` on."""
    return max(since // _CHUNK * _CHUNK - window + 1, 0)


def _detect(
    moments: twoway.Moments,
    block: Ints,
    market: Ints,
    totals: Floats,
    interval: _Interval,
    margin: float,
    alpha: float,
    window: int,
    since: int,
) -> DriftPath:
    """The rows from block number `since` on, see :func:`_stretches`."""
    if not (margin >= 0.0 and np.isfinite(margin)):
        raise ValueError(f"margin is {margin}: allowed are finite numbers, not below 0")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}: allowed are numbers between 0 and 1")
    if window < 1:
        raise ValueError(f"window is {window}: allowed are whole numbers from 1")
    blocks = moments.block
    path = DriftPath(
        block=blocks,
        log_m=np.full(len(blocks), -np.inf),
        alarm=np.zeros(len(blocks), dtype=bool),
        since=np.full(len(blocks), -1, dtype=np.int64),
        mean_since=np.full(len(blocks), np.nan),
        log_e_since=np.full(len(blocks), -np.inf),
    )
    position = np.searchsorted(blocks, block)
    # Tables always have the width of the window, even with few blocks: the rounding of a sum depends on its width.
    for line, start, stretches in _stretches(moments, position, market, totals, window, since):
        stretch, there = interval(stretches), start >= 0
        log_e = np.full(len(stretch.mean), -np.inf)
        usable = stretch.ready
        log_e[usable] = log_e_below(
            stretch.mean[usable] + margin, stretch.se[usable], stretch.clusters[usable]
        )
        table, mean = np.full(start.shape, -np.inf), np.full(start.shape, np.nan)
        table[there], mean[there] = log_e, stretch.mean
        best = table.argmax(axis=1, keepdims=True)
        found = np.isfinite(np.take_along_axis(table, best, 1)[:, 0])
        path.log_m[line[found]] = logsumexp(table[found], axis=1)
        for column, values in (
            (path.since, blocks[np.maximum(start, 0)]),
            (path.mean_since, mean),
            (path.log_e_since, table),
        ):
            column[line[found]] = np.take_along_axis(values, best, 1)[found, 0]
    path = path._replace(alarm=path.log_m >= -np.log(alpha))
    return DriftPath._make(column[since:] for column in path)


def log_e_below(mean: ArrayLike, se: ArrayLike, clusters: ArrayLike, g: ArrayLike = BETS) -> Floats:
    """Natural logarithm of the evidence that the mean lies below 0, averaged over the bets.

    This is the t mixture of :mod:`et_pipeline.inference.boundary`, with the normal prior on the effect restricted to
    effects below 0: the two-sided e-value times twice the posterior probability of an effect below 0. With
    the right-Haar prior on the scale that posterior is a t distribution with t degrees of freedom, centred
    at mean·(1−T), with spread √((ν·se² + T·mean²)/(g+t)), T = g/(g+t), ν = t − 1.

    Args:
        mean: Estimates, oriented so that the null is "not below 0".
        se: Their standard errors, above 0.
        clusters: Effective clusters t, above 1.
        g: Tunings of the mixture, all with the same weight.
    """
    mean, se, t = (np.asarray(x, dtype=np.float64)[..., None] for x in (mean, se, clusters))
    g = np.atleast_1d(np.asarray(g, dtype=np.float64))
    tau = g / (g + t)
    rest = (t - 1.0) * se**2
    two_sided = 0.5 * np.log(tau) - 0.5 * t * np.log1p(-(1.0 - tau) * mean**2 / (mean**2 + rest))
    score = -mean * (1.0 - tau) * np.sqrt((g + t) / (rest + tau * mean**2))
    with np.errstate(divide="ignore"):
        log_e = two_sided + np.log(2.0 * stdtr(t, score))
    averaged: Floats = logsumexp(log_e, axis=-1) - np.log(g.size)
    return averaged


def _mean(cells: Cells) -> tuple[Floats, _Interval]:
    """Each cell's totals, and the function that computes the interval of the mean uplift from their moments."""
    centre = twoway.pilot_centre(cells)
    return twoway.totals_around(centre, cells), _around(centre)


def _around(centre: float) -> _Interval:
    """The interval of the mean uplift around a centre."""
    return lambda moments: twoway.path_of(*twoway.mean_from(moments, centre), alpha=ALPHA, g=BETS[0])


def _ratio(cells: RatioCells) -> tuple[Floats, _Interval]:
    """The same for a difference of ratios; effective clusters are those of the denominators, in the smaller arm."""
    numerators, centre = centred(cells)

    def interval(moments: twoway.Moments) -> twoway.IntervalPath:
        shift, slopes = difference(moments.total[:, 2:], moments.total[:, :2])
        gradient = np.column_stack((slopes[:, 2:], slopes[:, :2]))
        return twoway.path_of(moments, centre, shift, gradient, alpha=ALPHA, g=BETS[0], samples=2)

    return np.column_stack((cells.totals[:, 1::2], numerators)), interval


def _stretches(
    moments: twoway.Moments, position: Ints, market: Ints, totals: Floats, window: int, since: int
) -> Iterator[tuple[Ints, Ints, twoway.Moments]]:
    """Moments of the stretches of blocks s to t, for every t from `since` on and the last `window` starts s.

    Block and cell products are differences of running sums. A market's product is not: it grows by twice the
    product of the block that comes with the blocks since the start, within each market, and by the block's own.
    So the totals of the newest `window` blocks are kept as a grid, block t in column t modulo window, as is
    start s in whatever is kept per start. At every block whose number is a multiple of :data:`_CHUNK` the products
    are made anew from the grid: so a row hangs on the blocks of its window alone, and the detector can begin there.

    Args:
        moments: Moments of the whole sample.
        position: Number of the block of each cell; cells from the first one that is needed on, see :func:`begins_at`.
        market: Their markets.
        totals: Their totals.
        window: Number of starts kept.
        since: Number of the first block wanted.

    Yields:
        Rows t; their starts, rows × window, below 0 where there is none yet; the moments of those there are, row
        after row.
    """
    k = totals.shape[1]
    packed = lower_triangle(k)
    total_to, block_to, cell_to = (
        np.concatenate((np.zeros_like(x[:1]), x))
        for x in (moments.total, moments.squares.block, moments.squares.cell)
    )
    cells_to = np.append(0, moments.n_cells)
    column = np.arange(window)
    lag = np.arange(1, LAGS + 1)[:, None]
    for chunk in range(since // _CHUNK * _CHUNK, len(moments.block), _CHUNK):
        row: Ints = np.arange(chunk, min(chunk + _CHUNK, len(moments.block)))
        place = np.searchsorted(position, (chunk - window + 1, chunk, row[-1] + 1))
        here = slice(place[0], place[-1])
        known = np.zeros(market[here].max(initial=-1) + 1, dtype=np.bool_)
        known[market[here]] = True
        code = (np.cumsum(known) - 1)[market[here]]
        inside = position[here]
        grid = np.zeros((np.count_nonzero(known), k, window))
        old = inside < chunk
        grid[code[old], :, inside[old] % window] = totals[here][old]
        seen = np.full(len(grid), -window)
        seen[code[old]] = inside[old]  # cells are in order of time, and of several values the last one stays
        product, count = _anew(grid, seen, chunk, packed)
        gathered = np.empty_like(grid)
        market_products = np.empty((len(row), window, len(packed)))
        n_markets = np.empty((len(row), window), dtype=np.int64)
        ends = np.searchsorted(inside, np.append(row, row[-1] + 1))
        for line, t in enumerate(row):
            newest = (t - column) % window  # columns of the starts t, t − 1, …
            product[newest[0]] = count[newest[0]] = 0
            grid[:, :, newest[0]] = 0.0
            now = slice(ends[line], ends[line + 1])
            added, present = totals[here][now], code[now]
            # `gathered` is used again for each block: to allocate a new table would take longer than the products.
            before = np.take(grid, present, axis=0, out=gathered[: len(present)], mode="clip")
            # Not by matrix multiplication, whose threads wait for each other on a busy machine.
            shared = np.stack([np.einsum("m,mjw->jw", one, before) for one in added.T])
            # The column of the newest block is still zero, so the sum for start t is 0, that for start t − 1 has one
            # block, and so on.
            cross = np.cumsum(shared[:, :, newest], axis=2)
            square = np.einsum("mi,mj->ij", added, added)
            for place_of, (i, j) in enumerate(packed):
                product[newest, place_of] += cross[i, j] + cross[j, i] + square[i, j]
            absent = np.bincount(np.minimum(t - seen[present], window), minlength=window)[:window]
            count[newest] += len(present) - np.cumsum(absent)
            grid[present, :, newest[0]] = added
            seen[present] = t
            market_products[line], n_markets[line] = product, count
        wanted = row >= since
        row, market_products, n_markets = row[wanted], market_products[wanted], n_markets[wanted]
        end = row[:, None]
        start = end - (end - column) % window
        there = start >= 0
        s, last = start[there], np.broadcast_to(end, start.shape)[there]
        # The product of block b with block b − lag belongs to a stretch that begins at s only if b ≥ s + lag.
        lagged = moments.lagged[lag - 1, last] - moments.lagged[lag - 1, np.minimum(s + lag - 1, last)]
        yield (
            row,
            start,
            twoway.Moments(
                block=last,
                total=total_to[last + 1] - total_to[s],
                squares=twoway.Ways(
                    market_products[there],
                    block_to[last + 1] - block_to[s],
                    cell_to[last + 1] - cell_to[s],
                ),
                lagged=lagged,
                n_markets=n_markets[there],
                n_blocks=last - s + 1,
                n_cells=cells_to[last + 1] - cells_to[s],
            ),
        )


def _anew(grid: Floats, seen: Ints, chunk: int, packed: Sequence[tuple[int, int]]) -> tuple[Floats, Ints]:
    """The markets' products and the number of markets of each stretch that ends before block number `chunk`.

    Args:
        grid: Markets × totals × columns of blocks.
        seen: Number of the newest block of each market.
        chunk: Number of the block that comes next.
        packed: The pairs of totals.

    Returns:
        Columns × packed products, and columns.
    """
    window = grid.shape[2]
    product, count = np.zeros((window, len(packed))), np.zeros(window, dtype=np.int64)
    start = chunk - 1 - np.arange(window)
    start = start[start >= max(chunk - window + 1, 0)]
    since = np.cumsum(grid[:, :, start % window], axis=2)
    for place, (i, j) in enumerate(packed):
        product[start % window, place] = np.add.reduce(since[:, i] * since[:, j], axis=0)
    count[start % window] = (seen[:, None] >= start).sum(axis=0)
    return product, count
