"""The course of a series of pairs: all that its path, its diagnostics and the detector need of its cells.

Everything that costs as much as there are cells happens here, and what comes out is as long as there are blocks. A
course is continued from a checkpoint: the sums of its blocks up to there, and what each market stood at. A continued
course is, to the last bit, the one of all cells at once, whatever the checkpoint.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from et_pipeline.inference.bounded import block_means
from et_pipeline.inference.cells import Cells, Floats, Ints, blocks_of
from et_pipeline.inference.markets import Known, weights_by
from et_pipeline.inference.serial import sum_by
from et_pipeline.inference.twoway import (
    Moments,
    Standing,
    go_on,
    mean_from,
    pilot_centre,
    running_moments,
    standing,
    totals_around,
)

STRIDE = 32
"""Blocks from one possible checkpoint to the next; more than :data:`serial.LAGS`."""


_FROM_END = 16
"""Blocks after the newest checkpoint, at least: reports of the newest blocks are still to come."""


class Course(NamedTuple):
    """A series of pairs, block by block."""

    centre: float
    """What is taken away from each uplift, see :func:`twoway.pilot_centre`."""
    by_pairs: Moments
    """Moments of the pairs and of their uplift, see :func:`twoway.totals_around`."""
    squares: Floats
    """Running sum of single pairs' squared uplift around the centre."""
    values: Floats
    """Running sums of the values of each arm, blocks × 2; NaN where they were not given."""
    by_markets: Moments | None
    """The same moments where each pair has a weight, see :mod:`markets`; None where they are not wanted."""
    means: Floats | None
    """Each block's mean uplift, see :func:`bounded.block_means`; None where they are not wanted."""
    newest: Standing
    """What each market stands at by pairs; markets in the order in which they appeared."""

    @property
    def block(self) -> Ints:
        """Start of each block, microseconds since the epoch."""
        return self.by_pairs.block


class Checkpoint(NamedTuple):
    """What is kept of a course after a multiple of :data:`STRIDE` blocks."""

    course: Course
    """Its first blocks; `newest` is what its markets stood at after them."""
    weighted: Floats
    """The same by weights, markets × 2; without rows where these are not wanted."""
    earlier: Floats
    """Pairs of the markets that had any :data:`STRIDE` blocks before: the first of them all."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.course.block)


def wanted_checkpoints(blocks: int) -> list[int]:
    """After how many of a course's blocks a checkpoint is kept: late reports mostly concern the newest days.

    Example:
        >>> wanted_checkpoints(700), wanted_checkpoints(40)
        ([512, 608, 640, 672], [])
    """
    newest = max(blocks - _FROM_END, 0) // STRIDE * STRIDE
    far = newest // (8 * STRIDE) * (8 * STRIDE)
    return sorted({newest, newest - STRIDE, newest - 2 * STRIDE, far} - {-2 * STRIDE, -STRIDE, 0})


def course_of(
    cells: Cells,
    *,
    planned_blocks: int | None = None,
    bounds: tuple[float, float] | None = None,
    before: Checkpoint | None = None,
) -> Course:
    """The course of a series, see :func:`course_and_checkpoints`."""
    return course_and_checkpoints(cells, planned_blocks=planned_blocks, bounds=bounds, before=before)[0]


def course_and_checkpoints(
    cells: Cells,
    *,
    values: Floats | None = None,
    planned_blocks: int | None = None,
    bounds: tuple[float, float] | None = None,
    before: Checkpoint | None = None,
) -> tuple[Course, list[Checkpoint]]:
    """The course of a series, and the wanted checkpoints that are new.

    Args:
        cells: Merged cells, at least one; those from :data:`STRIDE` blocks before the end of a checkpoint on.
        values: Sum of each arm's values in each cell, cells × 2.
        planned_blocks: Blocks the plan runs for, where the mean over markets is wanted.
        bounds: Smallest and largest possible uplift of a pair, where the blocks' means are wanted.
        before: Where to go on from. It must have been made with the same wishes.
    """
    done = None if before is None else before.course
    centre = pilot_centre(cells) if done is None else done.centre
    totals = totals_around(centre, cells)
    by_pairs = running_moments(cells.block, cells.market, totals, before=done and done.newest)
    first = 0 if done is None else int(np.searchsorted(cells.block, done.by_pairs.block[-1], side="right"))
    new = cells.part(first, len(cells.block))
    position = blocks_of(new.block).position
    squares = new.m2 + new.n * (new.mean - centre) ** 2
    of_arms = np.full((len(new.n), 2), np.nan) if values is None else values[first:]
    n_new = len(by_pairs.block) - (before.blocks if before else 0)
    sums = sum_by(position, np.column_stack((squares, of_arms)), n_new)
    weighted, by_markets = np.zeros((0, 2)), None
    weights_before: Standing | None = None
    if planned_blocks is not None:
        known = Known()
        if before is not None and done is not None and done.by_markets is not None:
            market = done.newest.market
            known = Known(before.blocks - STRIDE, market[: len(before.earlier)], before.earlier)
            weights_before = Standing(done.by_markets, market, before.weighted)
        n = cells.n * weights_by(mean_from(by_pairs, centre), cells, planned_blocks, known)
        weighted = np.column_stack((n, n * (cells.mean - centre)))
        by_markets = running_moments(cells.block, cells.market, weighted, before=weights_before)
    means = None
    if bounds is not None:
        means = block_means(new, bounds)
        means = means if done is None or done.means is None else np.append(done.means, means)
    course = Course(
        centre,
        by_pairs,
        go_on(np.zeros(0) if done is None else done.squares, sums[:, 0]),
        go_on(np.zeros((0, 2)) if done is None else done.values, sums[:, 1:]),
        by_markets,
        means,
        standing(by_pairs, cells.block, cells.market, totals, done and done.newest),
    )

    def stood(moments: Moments, of: Floats, start: Standing | None, blocks: int) -> Standing:
        return standing(moments.first(blocks), cells.block, cells.market, of, start)

    checkpoints = []
    for blocks in wanted_checkpoints(len(by_pairs.block)):
        if before is not None and blocks <= before.blocks:
            continue
        checkpoints.append(
            Checkpoint(
                Course(
                    centre,
                    by_pairs.first(blocks),
                    course.squares[:blocks],
                    course.values[:blocks],
                    by_markets and by_markets.first(blocks),
                    None if means is None else means[:blocks],
                    stood(by_pairs, totals, done and done.newest, blocks),
                ),
                weighted[:0]
                if by_markets is None
                else stood(by_markets, weighted, weights_before, blocks).totals,
                stood(by_pairs, totals, done and done.newest, blocks - STRIDE).totals[:, 0],
            )
        )
    return course, checkpoints
