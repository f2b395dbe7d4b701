"""A course that is continued is, to the last bit, the course of all cells at once; so is the detector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.inference.cells import Cells, from_pairs
from et_pipeline.inference.course import STRIDE, Checkpoint, course_and_checkpoints, course_of
from et_pipeline.inference.drift import begins_at, drift_of, drift_path
from et_pipeline.inference.serial import LAGS

HOUR = 3_600_000_000
WISHES = {"planned_blocks": 200, "bounds": (-20.0, 20.0)}


def arrays(of: Any) -> Iterator[Any]:
    """Every number and array in nested tuples."""
    if isinstance(of, tuple | list):
        for part in of:
            yield from arrays(part)
    else:
        yield of


def assert_same_bits(one: Any, other: Any) -> None:
    for mine, theirs in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(mine, theirs, strict=True)


def sample(rng: np.random.Generator, blocks: int, markets: int, pairs: int) -> tuple[np.ndarray, ...]:
    """Pairs with effects of their market; some blocks have none."""
    market = rng.integers(0, markets, pairs)
    uplift = rng.normal(0, 1, markets)[market] + rng.normal(-0.3, 1, pairs)
    return rng.integers(0, blocks, pairs) * HOUR, market, uplift


def from_row(cells: Cells, blocks: np.ndarray, row: int) -> Cells:
    """The cells from a block on."""
    return cells.part(int(np.searchsorted(cells.block, blocks[row])), len(cells.block))


def of_arms(cells: Cells) -> np.ndarray:
    """Sums of each arm's values, cells × 2."""
    total = cells.n * cells.mean
    return np.column_stack((0.3 * total, 1.3 * total))


def test_a_stride_holds_the_blocks_that_products_look_back_on() -> None:
    assert STRIDE > LAGS


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    markets=st.sampled_from([1, 5, 60, 700]),
    ticks=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 120)), min_size=1, max_size=6),
    wishes=st.sampled_from([{}, WISHES, {"planned_blocks": 40}]),
)
def test_any_history_of_ticks_and_late_reports_gives_the_same_bits(
    seed: int, markets: int, ticks: list[tuple[int, int]], wishes: dict[str, Any]
) -> None:
    """Each tick brings some blocks more and changes cells from so many blocks back on; checkpoints before that hold.

    A cell that changes may come, go, or be a market's first: codes of markets, too, change from tick to tick.
    """
    rng = np.random.default_rng(seed)
    block, market, uplift = sample(rng, 60, markets, 400)
    kept: list[Checkpoint] = []
    for more, back in [(0, 0), *ticks]:
        last = int(block.max()) // HOUR
        changed = max(last - back, 0) * HOUR
        gone = (block >= changed) & (rng.random(len(block)) < 0.1)
        new = sample(rng, more + back + 1, markets, 3 * (more + back + 1))
        moment = np.minimum(changed + new[0], (last + more) * HOUR)
        block = np.concatenate((block[~gone], moment))
        market, uplift = np.concatenate((market[~gone], new[1])), np.concatenate((uplift[~gone], new[2]))
        cells = from_pairs(block, market, uplift)

        kept = [one for one in kept if one.course.block[-1] < changed]
        before = max(kept, key=lambda one: one.blocks, default=None)
        whole, checkpoints = course_and_checkpoints(cells, values=of_arms(cells), **wishes)
        tail = cells if before is None else from_row(cells, before.course.block, before.blocks - STRIDE)
        course, made = course_and_checkpoints(tail, values=of_arms(tail), before=before, **wishes)
        assert_same_bits(course, whole)
        kept += made
        of_whole = {one.blocks: one for one in checkpoints}
        for one in kept:
            if one.blocks in of_whole:
                assert_same_bits(one, of_whole[one.blocks])


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    blocks=st.sampled_from([20, 90, 330]),
    markets=st.sampled_from([12, 300]),
    share=st.floats(0, 1),
)
def test_the_detector_begins_anywhere_with_the_same_bits(
    seed: int, blocks: int, markets: int, share: float
) -> None:
    cells = from_pairs(*sample(np.random.default_rng(seed), blocks, markets, 12 * blocks))
    whole, course = drift_path(cells, margin=0.1), course_of(cells)
    since = int(share * (len(course.block) - 1))
    tail = from_row(cells, course.block, begins_at(since))
    assert_same_bits(drift_of(course, tail, since=since, margin=0.1), [column[since:] for column in whole])
