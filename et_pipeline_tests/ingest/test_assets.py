"""The ingest asset through Dagster: metadata, checks that pass, and checks that must fail."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from et_pipeline.defs import ingest as assets
from et_pipeline.defs.ingest import CHECKS, evaluate
from et_pipeline.defs.resource import Warehouse
from et_pipeline.ingest.results import IngestResult
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine
from et_pipeline_tests.ingest.lab import ndjson, report, run, write


def materialize(settings: Settings) -> dg.ExecuteInProcessResult:
    environment = {"ET_DATA_DIR": str(settings.data_dir), "ET_NOW": "2026-11-20T12:00:00Z"}
    return dg.materialize([assets.ingest], resources={"warehouse": Warehouse(environment=environment)})


def outcome(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def test_metadata_and_checks(settings: Settings) -> None:
    write(settings.report_bus_dir / "a.ndjson", ndjson(report(f"r{n}") for n in range(200)))
    write(settings.report_bus_dir / "b.ndjson", ndjson([report("r1"), {"kind": "Fill"}]))
    result = materialize(settings)
    assert outcome(result) == {spec.name: True for spec in CHECKS}
    metadata: dict[str, dict[str, Any]] = {
        event.materialization.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }
    assert metadata["snapshots"]["files"] == 2
    assert metadata["snapshots"]["lines"] == 202
    assert metadata["snapshots"]["megabytes_per_second"] > 0
    assert metadata["reports"]["dagster/row_count"] == 200
    assert metadata["reports"]["skipped"] == {"Fill": 1}
    assert {column.name for column in metadata["reports"]["dagster/column_schema"].columns} >= {
        "report_id",
        "edge_bps",
    }
    assert metadata["quarantine"]["reasons"] == {}


def test_warnings_do_not_stop_the_run(settings: Settings) -> None:
    write(settings.report_bus_dir / "a.ndjson", ndjson([report("r1"), report("r2", side="?")]))
    (settings.report_bus_dir / "b.ndjson.gz").write_bytes(b"no gzip")
    result = materialize(settings)
    assert result.success
    failed = {name for name, passed in outcome(result).items() if not passed}
    assert failed == {"snapshots_readable", "little_in_quarantine"}
    again = {name for name, passed in outcome(materialize(settings)).items() if not passed}
    assert again == failed, "a run that finds nothing new warns of the same, as if the one before had died"


@pytest.mark.parametrize(
    ("tampering", "check"),
    [
        ("UPDATE snapshots SET lines = lines + 1", "every_line_accounted_for"),
        (
            "UPDATE snapshots SET reports = reports + 1, duplicates = duplicates - 1",
            "every_line_accounted_for",
        ),
        ("DELETE FROM reports WHERE report_id = 'r3'", "every_line_accounted_for"),
        ("DELETE FROM quarantine", "every_line_accounted_for"),
        ("DELETE FROM skipped", "every_line_accounted_for"),
        ("INSERT INTO reports SELECT * FROM reports WHERE report_id = 'r1'", "report_ids_unique"),
        ("UPDATE reports SET fill_ratio = 1.5 WHERE report_id = 'r1'", "reports_keep_the_schema"),
        ("UPDATE reports SET mode = 'replay' WHERE report_id = 'r1'", "reports_keep_the_schema"),
        ("UPDATE snapshots SET changed = true", "snapshots_unchanged"),
    ],
)
def test_checks_notice(settings: Settings, tampering: str, check: str) -> None:
    lines = [*(report(f"r{n}") for n in range(200)), {"kind": "Fill"}, report("x", side="?")]
    write(settings.report_bus_dir / "a.ndjson", ndjson(lines))
    result = run(settings)
    with open_warehouse(settings) as connection:
        assert all(found.passed for found in evaluate(DuckDBEngine(connection), result))
        connection.execute(tampering)
        found = {found.check_name: found.passed for found in evaluate(DuckDBEngine(connection), result)}
    assert not found[check]


def test_nothing_new_is_nothing_to_complain_about(settings: Settings) -> None:
    with open_warehouse(settings) as connection:
        assert all(check.passed for check in evaluate(DuckDBEngine(connection), IngestResult()))
