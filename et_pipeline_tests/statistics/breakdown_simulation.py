"""How often does a breakdown by 12 values find something that is not there?

``python -m et_pipeline_tests.statistics.breakdown_simulation [--experiments N] [--seed S] [--processes P]`` prints a
Markdown table. Each experiment is broken down by the function that fills the table `breakdowns`, once at its end. Hours
and markets move all values together, and neighbouring hours remember each other in one of the scenarios.
"""

from __future__ import annotations

from functools import cache, partial
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from et_pipeline.common.times import EPOCH
from et_pipeline.evidence.breakdowns import SUMS, breakdown_rows
from et_pipeline.experiments.registered import RegisteredExperiment, registered_experiments
from et_pipeline.inference.boundary import solve_g
from et_pipeline.inference.twoway import planned_clusters
from et_pipeline_tests.pairing.lab import START, open_lab
from et_pipeline_tests.statistics import parallel

VALUES, BLOCKS, MARKETS, PAIRS_A_BLOCK = 12, 168, 60, 24
HOUR_US = 3_600_000_000


class Scenario(NamedTuple):
    """Uplifts, in standard deviations of one pair's own noise.

    Attributes:
        name: In the table.
        everywhere: What every value has.
        first: What the first value has besides.
        memory: How much of an hour's shock is left an hour later.
    """

    name: str
    everywhere: float = 0.0
    first: float = 0.0
    memory: float = 0.0


SCENARIOS = (
    Scenario("nothing differs"),
    Scenario("nothing differs, hours remember (φ = 0.6)", memory=0.6),
    Scenario("an uplift of 0.2, the same everywhere", everywhere=0.2),
    Scenario("one value of twelve has an uplift of 0.6", first=0.6),
)


@cache
def planned() -> RegisteredExperiment:
    """A plan of as many blocks."""
    with open_lab() as lab:
        lab.plan(planned_blocks=BLOCKS, g=solve_g(planned_clusters(BLOCKS, MARKETS), 0.05))
        (found,) = registered_experiments(lab.connection)
    return found


def broken_down(seed: np.random.SeedSequence, scenario: Scenario) -> NDArray[np.bool_]:
    """One experiment, broken down.

    Returns:
        Whether any value's interval excludes 0, whether any such value stands, whether the values are said to differ
        (p at most 0.05), and whether the first value stands.
    """
    rng = np.random.default_rng(seed)
    pairs = BLOCKS * PAIRS_A_BLOCK
    block = np.repeat(np.arange(BLOCKS), PAIRS_A_BLOCK)
    market, value = rng.integers(MARKETS, size=pairs), rng.integers(VALUES, size=pairs)
    shocks = 0.3 * rng.normal(size=BLOCKS)
    for hour in range(1, BLOCKS):
        shocks[hour] += scenario.memory * shocks[hour - 1]
    uplift = rng.normal(size=pairs) + 0.2 * rng.normal(size=MARKETS)[market] + shocks[block]
    uplift += scenario.everywhere + scenario.first * (value == 0)
    start = (START - EPOCH).total_seconds() * 1e6
    frame = (
        pl.DataFrame(
            {
                "dimension": "hour",
                "value": [f"{number:02}" for number in value],
                "block": (start + block * HOUR_US).astype(np.int64),
                "market": market,
                "uplift": uplift,
            }
        )
        .group_by("dimension", "value", "block", "market", maintain_order=True)
        .agg(
            n=pl.len().cast(pl.Int64),
            sum=pl.sum("uplift"),
            m2=pl.var("uplift", ddof=0).fill_null(0) * pl.len(),
        )
        .sort("value", "block", "market")
        .with_columns(pl.lit(None).cast(pl.Float64).alias(name) for name in SUMS)
    )
    rows = breakdown_rows(planned(), frame, START)
    stands = [row["stands"] for row in rows]
    excludes = [row["ci_lower"] is not None and (row["ci_lower"] > 0 or row["ci_upper"] < 0) for row in rows]
    return np.array([any(excludes), any(stands), rows[0]["heterogeneity_p_value"] <= 0.05, stands[0]])


def main() -> None:
    """Prints the table."""
    options = parallel.options(__doc__, experiments=1000)
    print(f"{options.experiments} experiments a scenario, seed {options.seed}, {VALUES} values.\n")
    print(
        parallel.heading(
            ["scenario", "any interval excludes 0", "any value stands", "said to differ", "the first stands"]
        )
    )
    for scenario in SCENARIOS:
        run = partial(broken_down, scenario=scenario)
        found = np.array(parallel.repeat(run, options.experiments, options.seed, options.processes))
        print(
            parallel.line([scenario.name, *(parallel.rate(list(column)) for column in found.T)]), flush=True
        )


if __name__ == "__main__":
    main()
