"""Intervals of 4 metrics from 1 million pairs: cells and the whole interval path, against tea-tasting's t interval.

Ours gives an interval at each of 720 block ends, clustered both ways; tea-tasting one look at independent rows. The
same where all trades of both arms are compared, adjusted for market and hour. And the boundary that a plan's looks add
to each path.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from et_pipeline_tests.benchmarks.measure import Row, Sample, finish, median, pair, run

PAIRS = 1_000_000
MARKETS = 100
BLOCKS = 720
ALLOWED = 0.025
"""Seconds of the boundary of 64 looks."""
METRICS = ("edge_bps", "slippage_bps", "latency_ms", "toxicity_bps")


def rows(folder: Path) -> Iterator[Row]:
    """The rows of the table, with the pairs as Parquet under a folder."""
    path = folder / "pairs.parquet"
    _write(path)
    command = [sys.executable, "-m", "et_pipeline_tests.benchmarks.intervals"]
    ours, theirs = pair([*command, "ours", str(path)], [*command, "theirs", str(path)])
    yield Row(
        f"intervals of 4 metrics from {PAIRS:,} pairs, at each of {BLOCKS} block ends",
        median(ours),
        "tea-tasting on the same rows, one look",
        median(theirs),
        1.0,
        max(sample.peak_mib for sample in ours),
        f"cells {ours[0].output['cells']:.2f} s, paths {ours[0].output['paths']:.2f} s; "
        f"processor time {_processor(ours):.3f} s against {_processor(theirs):.3f} s",
    )
    arms, pairs = pair([*command, "arms", str(path)], [*command, "ours", str(path)])
    yield Row(
        f"the same where all trades of both arms are compared: {2 * PAIRS:,} trades, adjusted",
        median(arms),
        "the row above: pairs",
        median(pairs),
        5.0,
        max(sample.peak_mib for sample in arms),
        f"cells {arms[0].output['cells']:.2f} s, paths {arms[0].output['paths']:.2f} s; "
        f"processor time {_processor(arms):.3f} s against {_processor(pairs):.3f} s",
    )
    looks = [run([*command, "looks"]) for _ in range(3)]
    yield Row(
        "boundary of a plan with 64 looks, both sides, 12 alphas (processor time)",
        median(looks),
        "what it may take",
        ALLOWED,
        1.0,
        max(sample.peak_mib for sample in looks),
        f"without the looks of the first fifth, as in a path, {1000 * looks[0].output['taken']:.0f} ms",
    )


def _processor(samples: list[Sample]) -> float:
    """The median of the processor seconds of the part that counts."""
    return statistics.median(sample.output["processor"] for sample in samples)


def _write(path: Path) -> None:
    import polars as pl

    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "block": np.sort(rng.integers(0, BLOCKS, PAIRS)) * 3_600_000_000,
            "market": rng.integers(0, MARKETS, PAIRS),
            **{
                f"{metric}_{arm}": rng.normal(size=PAIRS)
                for metric in METRICS
                for arm in ("control", "variant")
            },
        }
    )
    frame.write_parquet(path)


def _ours(path: Path) -> None:
    import duckdb

    from et_pipeline.inference.boundary import solve_g
    from et_pipeline.inference.cells import as_cells
    from et_pipeline.inference.twoway import interval_path

    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE pairs AS SELECT * FROM '{path}'")
    columns = ", ".join(
        f"avg({metric}_variant - {metric}_control) AS {metric}, "
        f"var_pop({metric}_variant - {metric}_control) * count(*) AS {metric}_m2"
        for metric in METRICS
    )
    g = solve_g(50, 0.05)  # a plan's, since its registration
    started, before = time.perf_counter(), time.process_time()
    cells = connection.execute(
        f"SELECT block, market, count(*) AS n, {columns} FROM pairs GROUP BY block, market ORDER BY block, market"
    ).fetchnumpy()
    middle = time.perf_counter()
    for metric in METRICS:
        columns_of = (cells[name] for name in ("block", "market", "n", metric, f"{metric}_m2"))
        interval_path(as_cells(*columns_of), alpha=0.05, g=g)
    ended, processor = time.perf_counter(), time.process_time() - before
    finish(ended - started, cells=middle - started, paths=ended - middle, processor=processor)


def _arms(path: Path) -> None:
    import duckdb

    from et_pipeline.inference.arms import adjusted
    from et_pipeline.inference.boundary import solve_g
    from et_pipeline.inference.ratio import RatioCells, ratio_path

    connection = duckdb.connect()
    both = " UNION ALL ".join(
        f"SELECT block, market, {int(arm == 'variant')} AS variant, "
        + ", ".join(f"{metric}_{arm} AS {metric}" for metric in METRICS)
        + f" FROM '{path}'"
        for arm in ("control", "variant")
    )
    connection.execute(f"CREATE TABLE trades AS {both}")
    columns = ", ".join(
        f"sum({metric}) FILTER (variant = {number}) AS {metric}_{number}"
        for metric in METRICS
        for number in (1, 0)
    )
    g = solve_g(50, 0.05)
    started, before = time.perf_counter(), time.process_time()
    cells = connection.execute(
        f"SELECT block, market, sum(variant)::DOUBLE AS n_1, sum(1 - variant)::DOUBLE AS n_0, {columns} FROM trades "
        "GROUP BY block, market ORDER BY block, market"
    ).fetchnumpy()
    middle = time.perf_counter()
    n = np.column_stack((cells["n_1"], cells["n_0"]))
    for metric in METRICS:
        totals = np.column_stack((cells[f"{metric}_1"], n[:, 0], cells[f"{metric}_0"], n[:, 1]))
        ratio_path(adjusted(RatioCells(cells["block"], cells["market"], n, totals)), alpha=0.05, g=g)
    ended, processor = time.perf_counter(), time.process_time() - before
    finish(ended - started, cells=middle - started, paths=ended - middle, processor=processor)


def _theirs(path: Path) -> None:
    import polars as pl
    import tea_tasting as tt

    wide = pl.read_parquet(path)
    arms = [
        wide.select(**{metric: pl.col(f"{metric}_{arm}") for metric in METRICS}).with_columns(
            variant=pl.lit(number)
        )
        for number, arm in enumerate(("control", "variant"))
    ]
    long = pl.concat(arms)
    experiment = tt.Experiment({metric: tt.Mean(metric) for metric in METRICS})
    started, before = time.perf_counter(), time.process_time()
    experiment.analyze(long)
    finish(time.perf_counter() - started, processor=time.process_time() - before)


def _looks() -> None:
    from et_pipeline.inference import spending
    from et_pipeline.inference.horizon import first_look

    share = np.arange(1, spending.MOST_LOOKS + 1) / spending.MOST_LOOKS
    levels = [*spending.P_LEVELS, 0.025]

    def seconds(taken: np.ndarray) -> float:
        spent = []
        for _ in range(20):
            started = time.process_time()
            spending.boundaries(taken, taken, levels)
            spent.append(time.process_time() - started)
        return float(np.median(spent))

    finish(seconds(share), taken=seconds(share[first_look(len(share)) - 1 :]))


if __name__ == "__main__":
    if sys.argv[1] == "looks":
        _looks()
    else:
        {"ours": _ours, "arms": _arms, "theirs": _theirs}[sys.argv[1]](Path(sys.argv[2]))
