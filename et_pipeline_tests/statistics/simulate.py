"""How often is a true-zero uplift called significant, and what does it cost not to?

``python -m et_pipeline_tests.statistics.simulate [--experiments N] [--seed S] [--processes P]`` prints a
Markdown table. Our boundary is looked at where its plan has looks, every other rule after every block; one look
that finds zero outside the interval is a false alarm. Seeds are spawned, so the table is the same with any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from et_pipeline.inference import boundary, cells
from et_pipeline.inference.horizon import Horizon, on_horizon, single_look
from et_pipeline.inference.twoway import MIN_CLUSTERS, IntervalPath, interval_path, planned_clusters
from et_pipeline_tests.statistics.parallel import heading, line, options, spread
from et_pipeline_tests.statistics.scenarios import SCENARIOS, Sample, Scenario, draw

ALPHA = 0.05
UPLIFTS_IN_SE = (2.5, 3.24, 4.0, 6.0)
"""For power: true uplifts, in standard deviations of the final mean."""


class Look(NamedTuple):
    """What a rule sees at every block end."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    path: IntervalPath
    """With the mixture boundary, which is valid for ever."""
    g: float
    planned_pairs: int


def mixture(look: Look) -> NDArray[np.float64]:
    """Two-way, serially robust, valid for ever; infinite until it is ready."""
    return np.where(look.path.ready, look.path.ci_upper - look.path.mean, np.inf)


def plain_t(look: Look) -> NDArray[np.float64]:
    """The t interval of independent pairs."""
    n = look.path.n_pairs
    return stdtrit(np.maximum(n - 1, 1), 1 - ALPHA / 2) * look.sd / np.sqrt(n)


def cr1_t(look: Look) -> NDArray[np.float64]:
    """The t interval clustered by market with the factor G/(G−1), Stata's default."""
    groups = np.maximum(look.path.n_markets, 2)
    return stdtrit(groups - 1, 1 - ALPHA / 2) * look.path.se_market * np.sqrt(groups / (groups - 1))


def growthbook(look: Look) -> NDArray[np.float64]:
    """GrowthBook's always-valid interval of independent pairs (gbstats, sequential_interval_halfwidth).

    Waudby-Smith et al. (2021), arXiv 2103.06476, theorem 2.2 and eq. 143, tuned for the planned pairs.
    """
    n = look.path.n_pairs
    rho2 = (-2 * np.log(ALPHA) + np.log(-2 * np.log(ALPHA) + 1)) / look.planned_pairs
    return look.sd * np.sqrt(2 * (n * rho2 + 1) * np.log(np.sqrt(n * rho2 + 1) / ALPHA) / (n**2 * rho2))


def one_way(look: Look) -> NDArray[np.float64]:
    """The mixture boundary, clustered by market only."""
    groups = np.maximum(look.path.n_markets, 2)
    se = look.path.se_market * np.sqrt(groups / (groups - 1))
    return np.asarray(boundary.radius(se, look.path.market_clusters, ALPHA, look.g))


RULES: dict[str, Callable[[Look], NDArray[np.float64]]] = {
    "mixture": mixture,
    "t": plain_t,
    "CR1 t": cr1_t,
    "GrowthBook": growthbook,
    "one-way": one_way,
}


class Outcome(NamedTuple):
    """One experiment."""

    false_alarm: dict[str, bool]
    fixed_missed: bool
    """Whether the interval for one look, at the end, missed the truth."""
    refused: bool
    """Whether no look was ever taken: the sample is too small, or its blocks are too much alike."""
    width: float
    """The mixture's width over that of a fixed-size t interval with our standard error."""
    better: float
    """The same for our boundary, from the mean down to the end that says "better"."""
    both: float
    """The same for our boundary, mean of both sides."""
    stopped: NDArray[np.float64]
    """Share of the blocks until a true uplift was decided on: rules × uplifts; infinite when it never was."""


def experiment(scenario: Scenario, seed: np.random.SeedSequence) -> Outcome:
    """Draws one experiment and looks at it after every block."""
    sample = draw(scenario, np.random.default_rng(seed))
    data = cells.from_pairs(sample.block, sample.market, sample.uplift)
    g = boundary.solve_g(planned_clusters(scenario.blocks, scenario.markets_in_effect), ALPHA)
    path = interval_path(data, alpha=ALPHA, g=g)
    look = Look(path.mean, _running_sd(sample, path), path, g, scenario.pairs)
    early = path.n_blocks < MIN_CLUSTERS  # no rule is made to look bad by looks at a handful of pairs
    half = {name: np.where(early, np.inf, rule(look)) for name, rule in RULES.items()}
    horizon = Horizon(0, 1, scenario.blocks)
    ours, _ = on_horizon(path, horizon, alpha=ALPHA, alarm_alpha=ALPHA)
    taken = np.flatnonzero(ours.ready)
    final, last = path.at(-1), ours.at(taken[-1] if len(taken) else -1)
    quantile = stdtrit(min(scenario.blocks, scenario.markets_in_effect) - 1, 1 - ALPHA / 2)
    uplift = np.array(UPLIFTS_IN_SE)[:, None] * sample.true_se
    found = np.stack(
        (ours.ready & (ours.ci_lower + uplift > 0), np.abs(path.mean + uplift) > half["mixture"])
    )
    return Outcome(
        {"ours": bool((ours.ready & ((ours.ci_lower > 0) | (ours.ci_upper < 0))).any())}
        | {name: bool((np.abs(path.mean) > width).any()) for name, width in half.items()},
        _single_look_misses(path),
        len(taken) == 0,
        float((final.ci_upper - final.mean) / (quantile * final.se)),
        float((last.mean - last.ci_lower) / (quantile * last.se)),
        float((last.ci_upper - last.ci_lower) / 2 / (quantile * last.se)),
        np.where(found.any(axis=-1), (path.block[np.argmax(found, axis=-1)] + 1) / scenario.blocks, np.inf),
    )


def missed_at_the_end(scenario: Scenario, seed: np.random.SeedSequence) -> bool:
    """`fixed_missed` of the same experiment, without any other look at it."""
    sample = draw(scenario, np.random.default_rng(seed))
    data = cells.from_pairs(sample.block, sample.market, sample.uplift)
    return _single_look_misses(interval_path(data, alpha=ALPHA, g=1.0))


def _single_look_misses(path: IntervalPath) -> bool:
    lower, upper = single_look(path.at(slice(-1, None)), alpha=ALPHA)
    return bool(lower[0] > 0 or upper[0] < 0)


def _running_sd(sample: Sample, path: IntervalPath) -> NDArray[np.float64]:
    last = path.n_pairs
    total, squares = np.cumsum(sample.uplift)[last - 1], np.cumsum(sample.uplift**2)[last - 1]
    return np.sqrt(np.maximum(squares - total**2 / last, 0) / np.maximum(last - 1, 1))


class Summary(NamedTuple):
    """One scenario's row."""

    scenario: Scenario
    experiments: int
    false_rate: dict[str, float]
    fixed_missed: float
    refused: float
    width: float
    better: float
    both: float
    power: list[list[float]]
    """Rules (ours, mixture) × uplifts."""
    mean_stop: list[list[float]]
    """The same, share of the planned blocks; an experiment that is not decided counts as 1."""

    def error(self, rate: float) -> float:
        """Monte Carlo standard error of a rate."""
        return float(np.sqrt(rate * (1 - rate) / self.experiments))

    @property
    def allowed(self) -> float:
        """0.05 plus two Monte Carlo standard errors of a rate that is exactly 0.05."""
        return ALPHA + 2 * self.error(ALPHA)


def run(scenarios: Sequence[Scenario], experiments: int, seed: int, processes: int) -> Iterator[Summary]:
    """Simulates one scenario after another; the result depends on the seed and on nothing else."""
    with spread(processes) as over:
        for scenario, root in zip(scenarios, np.random.SeedSequence(seed).spawn(len(scenarios)), strict=True):
            yield summarise(scenario, over(partial(experiment, scenario), root.spawn(experiments)))


def summarise(scenario: Scenario, outcomes: Sequence[Outcome]) -> Summary:
    """Rates and medians over experiments."""
    stops = np.stack([outcome.stopped for outcome in outcomes])
    width, better, both = (
        float(np.median([value for value in values if np.isfinite(value)] or [np.inf]))
        for values in zip(*((one.width, one.better, one.both) for one in outcomes), strict=True)
    )
    return Summary(
        scenario,
        len(outcomes),
        {
            name: float(np.mean([outcome.false_alarm[name] for outcome in outcomes]))
            for name in ("ours", *RULES)
        },
        float(np.mean([outcome.fixed_missed for outcome in outcomes])),
        float(np.mean([outcome.refused for outcome in outcomes])),
        width,
        better,
        both,
        np.isfinite(stops).mean(axis=0).tolist(),
        np.minimum(stops, 1.0).mean(axis=0).tolist(),
    )


COLUMNS = [
    *("scenario", "blocks", "markets", "ours ± MC error", *RULES, "one look missed", "refused"),
    *("width: better", "both", "mixture"),
    *(f"{what} at {uplift:g} se" for what in ("power", "mean stop") for uplift in UPLIFTS_IN_SE),
]


def table_row(summary: Summary) -> str:
    """A scenario's line of the Markdown table."""
    false, error = summary.false_rate["ours"], summary.error(summary.false_rate["ours"])
    scenario = summary.scenario
    found = [scenario.name + ("" if scenario.held else " (reported)"), f"{scenario.blocks}"]
    found += [f"{scenario.markets}", f"{false:.3f} ± {error:.3f}", f"{summary.false_rate['mixture']:.3f}"]
    found += [f"{summary.false_rate[name]:.2f}" for name in list(RULES)[1:]]
    found += [f"{summary.fixed_missed:.3f}", f"{summary.refused:.1%}"]
    found += [f"{width:.2f}" for width in (summary.better, summary.both, summary.width)]
    for figures in (summary.power, summary.mean_stop):
        found += [f"{ours:.2f} ({mixture:.2f})" for ours, mixture in zip(*figures, strict=True)]
    return line(found)


def main() -> int:
    """Prints the table row by row; the exit status is 1 when a held scenario exceeds the figure."""
    chosen = options(__doc__, 1000)
    missed = []
    print(heading(COLUMNS), flush=True)
    for summary in run(SCENARIOS, chosen.experiments, chosen.seed, chosen.processes):
        print(table_row(summary), flush=True)
        if summary.scenario.held and summary.false_rate["ours"] > summary.allowed:
            missed.append(summary)
    for summary in missed:
        print(f"\n{summary.scenario.name}: {summary.false_rate['ours']:.3f} is above {summary.allowed:.3f}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
