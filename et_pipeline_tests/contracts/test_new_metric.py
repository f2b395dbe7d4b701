"""To add a metric, only an entry in the catalogue and a migration that is generated from it are needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import et_pipeline
from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.warehouse.connection import migrations
from et_pipeline.warehouse.metric_columns import columns, lacking, migration
from et_pipeline_tests.migrated import fill

ENTRY = 'Metric("fees_usd", "USD", -1, -1e6, 1e6, False, "mean", "Fees of the trade; below 0 are rebates."),'
BEFORE = 'Metric(\n            "size_fill_ratio",'
SCRIPT = """
import json, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from et_pipeline.defs.ingest import read_snapshots
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.experiments.registration import register
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine
import et_pipeline

data = Path(sys.argv[1])
assert Path(et_pipeline.__file__).is_relative_to(data.parent), et_pipeline.__file__
start = datetime(2026, 11, 1, tzinfo=UTC)
(data / "experiments").mkdir(parents=True)
(data / "report_bus").mkdir()
(data / "experiments" / "exp.yaml").write_text('''
experiment_id: exp
title: t
hypothesis: h
owner: o
mode: shadow
control: {strategy_id: c}
variant: {strategy_id: v}
planned_pairs: 100
starts_at: 2026-11-01T00:00:00Z
ends_at: 2026-11-05T00:00:00Z
metrics:
  - {name: fees_usd, role: primary, winsor: [-100, 100]}
  - {name: fees_usd, role: guardrail, above: 2, non_inferiority_margin: 0.1}
  - {name: fees_usd, role: secondary, weight: filled_size}
''')
lines = []
for number in range(200):
    for arm, mode, bot in (("c", "live", "exec.bot"), ("v", "replay", "gov.backtester")):
        lines.append({
            "schema_version": "1.2", "report_id": f"{arm}{number}", "kind": "OperationsReport", "bot_id": bot,
            "strategy_id": arm, "mode": mode, "correlation_id": f"o{number}", "market_id": f"m{number % 20}",
            "outcome_id": "yes", "side": "BUY", "config_version": "1",
            "emitted_at": (start + timedelta(minutes=20 * number)).isoformat(),
            "metrics": {"fees_usd": number % 5 - (arm == "v"), "filled_size": 1 + number % 3},
        })
lines.append({**lines[0], "report_id": "beyond", "metrics": {"fees_usd": 1e7}})
(data / "report_bus" / "a.ndjson").write_text("\\n".join(map(json.dumps, lines)) + "\\n")
settings = Settings(data_dir=data, **json.loads(sys.argv[2]))
with open_warehouse(settings) as connection:
    outcome = register(connection, settings, start)
    assert outcome.refused == [], outcome.refused
    read_snapshots(DuckDBEngine(connection), settings, start + timedelta(days=9))
    build_pairs(connection, ["exp"])
    build_cells(connection, ["exp"])
    build_evidence(connection, ["exp"])
    print(json.dumps({
        "intervals": connection.execute(
            "SELECT metric, n_pairs, round(mean_uplift, 6) FROM intervals ORDER BY ALL").fetchall(),
        "quarantine": connection.execute("SELECT reason, sentence FROM quarantine").fetchall(),
        "version": connection.execute("SELECT max(version) FROM schema_version").fetchall(),
        "comment": connection.execute(
            "SELECT comment FROM duckdb_columns() WHERE column_name = 'fees_usd_uplift'").fetchall(),
    }))
"""


def test_every_metric_of_the_catalogue_has_its_columns() -> None:
    """Write them with: python -m et_pipeline.warehouse.metric_columns"""
    assert lacking() == []


def test_the_folder_holds_what_is_generated() -> None:
    money = [CATALOGUE["pnl_usd"], CATALOGUE["notional_usd"]]
    assert migration(money) in [text for _, text in migrations()]


@pytest.mark.parametrize("name", REPORT_METRICS)
def test_columns_are_numbers_with_a_comment(name: str) -> None:
    with duckdb.connect(":memory:") as connection:
        fill(connection)
        found = {
            (table, column): kind
            for table, column, kind in connection.execute(
                "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE comment <> ''"
            ).fetchall()
        }
    assert {found[place] for place in columns(CATALOGUE[name])} == {"DOUBLE"}


def test_a_new_entry_and_its_generated_migration_are_all_it_takes(tmp_path: Path) -> None:
    """On a copy of the program: from a strict reading of reports to intervals of what plans derive from it."""
    program = tmp_path / "et_pipeline"
    shutil.copytree(Path(et_pipeline.__file__).parent, program)  # with its bytecode, which Python checks
    catalogue = program / "contracts" / "metrics.py"
    text = catalogue.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    catalogue.write_text(text.replace(BEFORE, f"{ENTRY}\n        {BEFORE}"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    newest = migrations()[-1][0]
    written = Path(run("-m", "et_pipeline.warehouse.metric_columns").strip())
    assert written == program / "warehouse" / "migrations" / f"{newest + 1:04}_fees_usd.sql"
    assert run("-m", "et_pipeline.warehouse.metric_columns").startswith("every metric")
    found = json.loads(run("-c", SCRIPT, str(tmp_path / "data"), "{}"))
    assert found["version"] == [[newest + 1]]
    assert found["intervals"] == [
        ["fees_usd", 200, 1.0],
        ["fees_usd.above.2", 200, 0.2],
        ["fees_usd.by.filled_size", 200, 1.0],
    ]
    ((reason, sentence),) = found["quarantine"]
    assert reason == "metric_out_of_bounds" and sentence.endswith("-1000000 <= fees_usd <= 1000000")
    assert found["comment"][0][0].startswith("Uplift of fees_usd (USD): control minus variant")
