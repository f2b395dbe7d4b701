"""Of the discoveries that stand when sixty experiments are counted, how many are false?

``python -m et_pipeline_tests.statistics.portfolio_simulation [--experiments N] [--seed S] [--processes P]`` prints a Markdown
table; N counts portfolios. A portfolio has 60 experiments, 10 of them with an uplift; six share one control, and the hours
move all of them. Each is decided by its own looks, and its e-value is the one at its verdict.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from et_pipeline.inference import boundary, cells
from et_pipeline.inference.ebh import e_bh
from et_pipeline.inference.horizon import Horizon, on_horizon
from et_pipeline.inference.twoway import interval_path, planned_clusters
from et_pipeline_tests.statistics import parallel

ALPHA, DELTA = 0.05, 0.10
EXPERIMENTS, WITH_UPLIFT, SHARE_A_CONTROL = 60, 10, 6
BLOCKS, MARKETS = 120, 40
PAIRS_A_BLOCK = 4
UPLIFTS = (0.4, 0.8)
"""By turns, in standard deviations of a variant's own noise in one pair; 7 and 14 standard errors of the final mean."""


def portfolio(seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """One portfolio.

    Returns:
        By rule (each experiment at 5 %, e-BH): discoveries, false ones, and the share of false ones among them (0 where
        there are none); shape (2, 3).
    """
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(BLOCKS), PAIRS_A_BLOCK)
    market = np.tile(np.arange(MARKETS), BLOCKS * PAIRS_A_BLOCK // MARKETS)
    hours = 0.3 * rng.normal(size=BLOCKS)[block]
    g = boundary.solve_g(planned_clusters(BLOCKS, MARKETS), ALPHA)
    better, evidence = [], []
    control = np.zeros(len(block))
    for number in range(EXPERIMENTS):
        family, place = divmod(number, SHARE_A_CONTROL)
        if place == 0:
            control = 0.5 * rng.normal(size=len(block))
        truth = UPLIFTS[family % len(UPLIFTS)] if place == 0 else 0.0
        uplift = truth + hours - control + rng.normal(size=len(block))
        data = cells.from_pairs(block, market, uplift)
        path = interval_path(data, alpha=ALPHA, g=g)
        ours, _ = on_horizon(path, Horizon(0, 1, BLOCKS), alpha=ALPHA, alarm_alpha=ALPHA)
        decided = np.flatnonzero(ours.ready & ((ours.ci_lower > 0) | (ours.ci_upper < 0)))
        if len(decided) and ours.ci_lower[decided[0]] > 0:
            better.append(truth > 0)
            evidence.append(float(path.e_value[decided[0]]))
    real = np.array(better, dtype=bool)
    stands = e_bh(evidence, delta=DELTA, total=EXPERIMENTS).stands
    return np.array([_count(real), _count(real[stands])])


def _count(real: NDArray[np.bool_]) -> tuple[int, int, float]:
    false = int(np.sum(~real))
    return len(real), false, false / max(len(real), 1)


def main() -> None:
    """Prints the table."""
    options = parallel.options(__doc__, experiments=200)
    found = np.array(parallel.repeat(portfolio, options.experiments, options.seed, options.processes))
    print(f"{options.experiments} portfolios, seed {options.seed}.\n")
    print(
        parallel.heading(["rule", "discoveries", "of these false", "share of false ones", "real ones found"])
    )
    for name, rows in (("each at 5 %", found[:, 0]), ("e-BH at 10 %", found[:, 1])):
        error = np.std(rows[:, 2]) / np.sqrt(len(rows))
        print(
            parallel.line(
                [
                    name,
                    f"{rows[:, 0].mean():.2f}",
                    f"{rows[:, 1].mean():.2f}",
                    f"{rows[:, 2].mean():.3f} ± {error:.3f}",
                    f"{(rows[:, 0] - rows[:, 1]).mean() / WITH_UPLIFT:.2f}",
                ]
            )
        )


if __name__ == "__main__":
    main()
