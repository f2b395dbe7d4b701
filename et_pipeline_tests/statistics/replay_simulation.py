"""What a backtester that is not true does to verdicts, with and without replays of the control.

Every experiment of every condition goes through Dagster's own job `tick` together, in one warehouse: plans, snapshots,
pairs, cells, paths, verdicts, and the published database that the verdicts are read from. Run it with

    python -m et_pipeline_tests.statistics.replay_simulation --experiments 16
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import yaml

from et_pipeline.generator import Scenario, write_snapshots
from et_pipeline_tests.job.conftest import World

STARTS_AT = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 5
ALPHA = 0.05
"""Of every plan."""
NOISE = 8.0
"""Standard deviation of the simulator's noise in bps of edge, where both replays of a trade share it."""


class Condition(NamedTuple):
    """What is true of a backtester and of a variant.

    Attributes:
        bias: What every replay is flattered by, in bps of edge.
        coverage: Share of the opportunities of which the control is replayed too.
        noise: Standard deviation of the simulator's noise that both replays of a trade share, in bps.
        uplift: The true uplift of the variant, in bps.
    """

    bias: float
    coverage: float
    noise: float = 0.0
    uplift: float = 0.0


GRID = tuple(
    Condition(bias, coverage, noise, uplift)
    for uplift, bias, noise, coverage in product(
        (0.0, 4.0), (0.0, 1.0, 3.0, -3.0), (0.0, NOISE), (0.1, 0.6, 1.0)
    )
)


def verdicts(
    folder: Path, experiments: Mapping[Condition, int], *, opportunities: int = 600, seed: int = 1
) -> dict[Condition, Counter[str]]:
    """How often each verdict falls under each condition, of experiments that the real job judges.

    Args:
        folder: An empty data folder.
        experiments: How many experiments each condition gets, each with reports of its own.
        opportunities: Opportunities of each.
        seed: Seed of all reports.
    """
    scenarios = {
        f"sim-{place}-{number}": _scenario(f"sim-{place}-{number}", condition, opportunities)
        for place, (condition, count) in enumerate(experiments.items())
        for number in range(count)
    }
    with dg.DagsterInstance.ephemeral() as instance:
        now = STARTS_AT + timedelta(days=DAYS + 1)
        world = World(folder, instance, {"ET_NOW": now.isoformat()})
        world.settings.experiments_dir.mkdir(parents=True)
        for name, scenario in scenarios.items():
            plan = world.settings.experiments_dir / f"{name}.yaml"
            plan.write_text(yaml.safe_dump(_plan(scenario)), encoding="utf-8")
        write_snapshots(
            list(scenarios.values()), world.settings.report_bus_dir, seed=seed, files=1, format="parquet"
        )
        assert world.tick().success
        found = dict(world.rows("SELECT experiment_id, verdict FROM verdicts"))
    assert set(found) == set(scenarios)
    return {
        condition: Counter(str(found[f"sim-{place}-{number}"]) for number in range(count))
        for place, (condition, count) in enumerate(experiments.items())
    }


def _scenario(name: str, condition: Condition, opportunities: int) -> Scenario:
    return Scenario(
        experiment_id=name,
        control_strategy_id=f"strat.{name}",
        variant_strategy_id=f"strat.{name}",
        starts_at=STARTS_AT,
        ends_at=STARTS_AT + timedelta(days=DAYS),
        opportunities=opportunities,
        markets=80,
        metrics=("edge_bps",),
        uplift={"edge_bps": condition.uplift},
        replay_bias={"edge_bps": condition.bias},
        replay_noise=condition.noise,
        replayed_control=condition.coverage,
    )


def _plan(scenario: Scenario) -> dict[str, object]:
    arms = {
        arm: {
            "strategy_id": getattr(scenario, f"{arm}_strategy_id"),
            "config_version": getattr(scenario, f"{arm}_config_version"),
        }
        for arm in ("control", "variant")
    }
    return arms | {
        "experiment_id": scenario.experiment_id,
        "title": "Simulated",
        "hypothesis": "Its truth is known.",
        "owner": "simulation",
        "mode": "shadow",
        "planned_pairs": scenario.opportunities,
        "alpha": ALPHA,
        "starts_at": scenario.starts_at,
        "ends_at": scenario.ends_at,
        "metrics": [{"name": "edge_bps", "role": "primary"}],
    }


def held(found: Counter[str], name: str, *, limit: float, experiments: int) -> bool:
    """Whether a verdict falls in no more than `limit` of experiments, within two Monte Carlo standard errors."""
    return found[name] / experiments <= limit + 2 * math.sqrt(limit * (1 - limit) / experiments)


def main() -> None:
    """Prints the table of the docs; fails where more is called better or worse than is promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=16)
    count = parser.parse_args().experiments
    print("| true uplift | bias | noise shared | coverage | better | worse | inconclusive |")
    print("|---|---|---|---|---|---|---|")
    nulls, total = Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        rates = verdicts(Path(folder), dict.fromkeys(GRID, count))
    for condition, found in rates.items():
        shares = (
            f"{found[name] / count:.2f}" for name in ("variant_better", "variant_worse", "inconclusive")
        )
        print(
            f"| {condition.uplift:+g} | {condition.bias:+g} | {condition.noise:g} | {condition.coverage:.0%} | "
            f"{' | '.join(shares)} |"
        )
        if condition.uplift == 0 and condition.coverage >= 0.5:
            nulls += found
            total += count
    print(f"Nulls whose control is replayed for half of the pairs or more: {total}, {dict(nulls)}")
    for name in ("variant_better", "variant_worse"):
        assert held(nulls, name, limit=ALPHA / 2, experiments=total), (name, nulls[name], total)


if __name__ == "__main__":
    main()
