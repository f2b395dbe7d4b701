"""A tick with news in two experiments, run by the command line: with many open experiments compared with few."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from et_pipeline.generator import Scenario, write_snapshots
from et_pipeline_tests.benchmarks.measure import RUNTIME_PYTHON, Row, Sample, median, processor, run

OPEN = (5, 60)
PAIRS = 400
NEWS = 2
"""Experiments that a tick has news about."""
RUNS = 3
PLAN = """\
experiment_id: exp-{number:03}
title: Benchmark
hypothesis: The tick costs what is new.
owner: team
mode: shadow
control: {{strategy_id: control-{number}}}
variant: {{strategy_id: variant-{number}}}
planned_pairs: 4000
starts_at: 2026-10-01T00:00:00Z
ends_at: 2026-11-01T00:00:00Z
breakdowns: [side, outcome_id]
metrics: [{{name: edge_bps, role: primary, equivalence_margin: 1.0}}]
"""
STARTS_AT = datetime(2026, 10, 1, tzinfo=UTC)
NOW = "2026-10-10T00:00:00Z"


def rows(folder: Path) -> Iterator[Row]:
    """The two rows of the table: many against few experiments, and a tick with news against importing Dagster."""
    homes = [_prepare(folder / str(count), count) for count in OPEN]
    few: list[Sample] = []
    many: list[Sample] = []
    imports: list[Sample] = []
    for number in range(RUNS):
        for home, samples in zip(homes, (few, many), strict=True):
            _write(home, range(NEWS), f"news-{number}", 20, STARTS_AT + timedelta(days=8, hours=6 * number))
            samples.append(run(_tick(home), {"ET_NOW": NOW}))
        imports.append(run([RUNTIME_PYTHON, "-c", "import dagster"]))
    yield Row(
        f"a tick with news in {NEWS} of {OPEN[1]} open experiments, processor time",
        processor(many),
        f"{NEWS} of {OPEN[0]}",
        processor(few),
        1.3,
        max(sample.peak_mib for sample in many),
        f"by the clock {median(many):.1f} s against {median(few):.1f} s",
    )
    yield Row(
        f"a tick with news in {NEWS} of {OPEN[0]} open experiments, processor time",
        processor(few),
        "import dagster",
        processor(imports),
        3.0,
        max(sample.peak_mib for sample in few),
    )


def _tick(home: Path) -> list[str]:
    return ["env", f"ET_DATA_DIR={home}", RUNTIME_PYTHON, "-m", "et_pipeline", "tick"]


def _prepare(home: Path, count: int) -> Path:
    """A data folder with so many open experiments, each with its pairs, after its first two ticks."""
    (home / "experiments").mkdir(parents=True)
    for number in range(count):
        (home / "experiments" / f"{number}.yaml").write_text(PLAN.format(number=number), encoding="utf-8")
    _write(home, range(count), "history", PAIRS, STARTS_AT)
    for _ in range(2):
        run(_tick(home), {"ET_NOW": NOW})
    return home


def _write(home: Path, experiments: range, part: str, opportunities: int, since: datetime) -> None:
    """One snapshot file with reports of both arms of some experiments."""
    length = timedelta(days=8) if part == "history" else timedelta(hours=6)
    scenarios = [
        Scenario(
            experiment_id=f"exp-{number:03}-{part}",
            control_strategy_id=f"control-{number}",
            variant_strategy_id=f"variant-{number}",
            starts_at=since,
            ends_at=since + length,
            opportunities=opportunities,
            markets=20,
        )
        for number in experiments
    ]
    write_snapshots(scenarios, home / "report_bus" / part, seed=_seed(part))


def _seed(part: str) -> int:
    """The seed of a part, so that no two parts hold the same values."""
    return sum(part.encode())
