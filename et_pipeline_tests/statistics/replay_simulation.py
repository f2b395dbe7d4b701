"""What a backtester that is not true does to verdicts, with and without replays of the control.

Reports go through the real stages: snapshots, pairs, cells, paths, verdict rules. Run it with

    python -m et_pipeline_tests.statistics.replay_simulation --experiments 40
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml

from et_pipeline.evidence.compute import build_evidence
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.experiments.registration import register
from et_pipeline.generator import Scenario, write_snapshots
from et_pipeline.governance.records import facts
from et_pipeline.governance.verdict import assess
from et_pipeline.ingest.ingest import ingest
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

STARTS_AT = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 5
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


def verdicts(
    folder: Path, condition: Condition, *, experiments: int, opportunities: int = 600, seed: int = 1
) -> Counter[str]:
    """How often each verdict falls, of experiments that all have the same truth."""
    scenarios = [
        Scenario(
            experiment_id=f"sim-{number}",
            control_strategy_id=f"strat.{number}",
            variant_strategy_id=f"strat.{number}",
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
        for number in range(experiments)
    ]
    settings = Settings(data_dir=folder)
    settings.experiments_dir.mkdir(parents=True)
    for scenario in scenarios:
        plan = settings.experiments_dir / f"{scenario.experiment_id}.yaml"
        plan.write_text(yaml.safe_dump(_plan(scenario)), encoding="utf-8")
    write_snapshots(scenarios, settings.report_bus_dir, seed=seed, files=1, format="parquet")
    names = [scenario.experiment_id for scenario in scenarios]
    with open_warehouse(settings) as connection:
        assert register(connection, settings, STARTS_AT).refused == []
        ingest(connection, settings, STARTS_AT + timedelta(days=DAYS + 1))
        build_pairs(connection, names)
        build_cells(connection, names)
        build_evidence(connection, names)
        known, found = registered_experiments(connection), facts(connection, names)
    return Counter(
        str(assess(item, path.path, gaps=path.gaps, replays=path.replays, ended=True).verdict)
        for item in known
        for path in [found[item.experiment_id]]
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
        "starts_at": scenario.starts_at,
        "ends_at": scenario.ends_at,
        "metrics": [{"name": "edge_bps", "role": "primary"}],
    }


def main() -> None:
    """Prints the table of the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=40)
    count = parser.parse_args().experiments
    print("| bias | noise shared | coverage | true uplift | better | worse | inconclusive |")
    print("|---|---|---|---|---|---|---|")
    conditions = (
        Condition(bias, coverage, noise, uplift)
        for uplift, bias, noise, coverage in product(
            (0.0, 4.0), (0.0, 1.0, 3.0, -3.0), (0.0, NOISE), (0.1, 0.6, 1.0)
        )
    )
    for condition in conditions:
        with tempfile.TemporaryDirectory() as folder:
            found = verdicts(Path(folder) / "data", condition, experiments=count)
        shares = (f"{found[f'variant_{name}'] / count:.3f}" for name in ("better", "worse"))
        print(
            f"| {condition.bias:+g} | {condition.noise:g} | {condition.coverage:.0%} | {condition.uplift:+g} | "
            f"{' | '.join(shares)} | {found['inconclusive'] / count:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
