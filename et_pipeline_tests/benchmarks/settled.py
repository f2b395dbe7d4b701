"""A tick among many experiments that ended, as the command line runs it, against one among few."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from et_pipeline_tests.benchmarks.measure import Row, median, pair, processor, run

SETTLED = (4, 100)
PLAN = """\
experiment_id: exp-{number:03}
title: Benchmark
hypothesis: The tick costs what is new.
owner: team
mode: shadow
control: {{strategy_id: control-{number}}}
variant: {{strategy_id: variant-{number}}}
planned_pairs: 100
starts_at: 2026-10-01T00:00:00Z
ends_at: 2026-10-08T00:00:00Z
metrics: [{{name: edge_bps, role: primary, equivalence_margin: 1.0}}]
"""
NOW = "2026-10-10T00:00:00Z"
FIRST_TICKS = 2
"""The first registers and concludes, the second is the first that knows what is settled."""


def rows(folder: Path) -> Iterator[Row]:
    """The one row of the table: each tick is forced, and finds nothing."""
    commands = []
    for count in SETTLED:
        home = folder / str(count)
        for name in ("experiments", "report_bus"):
            (home / name).mkdir(parents=True)
        for number in range(count):
            (home / "experiments" / f"{number}.yaml").write_text(PLAN.format(number=number), encoding="utf-8")
        commands.append(
            ["env", f"ET_DATA_DIR={home}", sys.executable, "-m", "et_pipeline", "tick", "--force"]
        )
        for _ in range(FIRST_TICKS):
            run(commands[-1], {"ET_NOW": NOW})
    few, many = commands
    ours, theirs = pair(many, few, runs=5, environment={"ET_NOW": NOW})
    yield Row(
        f"a tick, {SETTLED[1]} experiments settled",
        median(ours),
        f"{SETTLED[0]} settled",
        median(theirs),
        1.3,
        max(sample.peak_mib for sample in ours),
        f"processor time {processor(ours):.1f} s against {processor(theirs):.1f} s",
    )
