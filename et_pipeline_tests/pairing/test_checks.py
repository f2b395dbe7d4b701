from __future__ import annotations

from datetime import timedelta

import dagster as dg

from et_pipeline.defs import pairing as checks
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.warehouse.engine import DuckDBEngine
from et_pipeline_tests.pairing.lab import START, Lab, report, variant_report


def paired(lab: Lab, count: int = 4) -> None:
    lab.plan(metrics={"edge_bps": None, "size_fill_ratio": None})
    for i in range(count):
        lab.ingest(report(f"c{i}", f"o{i}", i * 3600), variant_report(f"v{i}", f"o{i}"))
    build_pairs(lab.connection, ["exp"])


def test_all_pass_on_what_pairing_makes(lab: Lab) -> None:
    paired(lab)
    assert checks.one_pair_a_report(DuckDBEngine(lab.connection)).passed
    assert checks.every_report_placed(DuckDBEngine(lab.connection), ["exp"]).passed
    assert checks.match_rate(DuckDBEngine(lab.connection)).passed
    build_cells(lab.connection, ["exp"])
    assert checks.cells_count_the_pairs(DuckDBEngine(lab.connection)).passed


def test_a_report_in_two_pairs_is_found(lab: Lab) -> None:
    paired(lab)
    lab.connection.execute("UPDATE pairs SET variant_report_id = 'v0' WHERE variant_report_id = 'v3'")
    result = checks.one_pair_a_report(DuckDBEngine(lab.connection))
    assert not result.passed
    assert result.description == "exp: v0"


def test_a_report_that_is_nowhere_or_in_two_places_is_found(lab: Lab) -> None:
    paired(lab)
    engine = DuckDBEngine(lab.connection)
    lab.ingest(report("early", "o-early", -1), variant_report("alone", "o-alone"))
    build_pairs(lab.connection, ["exp"])
    assert checks.every_report_placed(engine, ["exp"]).passed, "too early and without a control are reasons"
    lab.connection.execute("DELETE FROM unmatched WHERE report_id = 'early'")
    lab.connection.execute("INSERT INTO unmatched BY NAME FROM unmatched WHERE report_id = 'alone'")
    result = checks.every_report_placed(engine, ["exp"])
    assert not result.passed
    assert result.description is not None
    assert "exp: the control has 5 reports, and 4 are in pairs and unmatched" in result.description
    assert "exp: the variant has 5 reports, and 6 are in pairs and unmatched" in result.description


def test_a_picky_variant_is_noticed_and_limited_lives_controls_are_not(lab: Lab) -> None:
    paired(lab)
    lab.plan("live", mode="limited_live", matching="nearest", tolerance_us=1, variant_strategy_id="w")
    lab.ingest(*(report(f"x{i}", f"x{i}", i) for i in range(2)))
    build_pairs(lab.connection, ["exp", "live"])
    result = checks.match_rate(DuckDBEngine(lab.connection))
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.description == "exp: 33% of the control's reports have no partner"


def test_a_lost_cell_is_found(lab: Lab) -> None:
    paired(lab)
    build_cells(lab.connection, ["exp"])
    lab.connection.execute("DELETE FROM series_cells WHERE block = ?", [START + timedelta(hours=2)])
    result = checks.cells_count_the_pairs(DuckDBEngine(lab.connection))
    assert not result.passed
    assert result.description == "exp edge_bps: there are 4 pairs, and the cells count 3"


def test_every_trade_has_to_be_in_a_cell_where_all_of_them_are_compared(lab: Lab) -> None:
    lab.plan(mode="limited_live", matching="arms", tolerance_us=1_000_000)
    lab.ingest(*(report(f"c{i}", f"o{i}", 600 * i) for i in range(5)))
    lab.ingest(*(variant_report(f"v{i}", f"w{i}", 600 * i, mode="live") for i in range(2)))
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])
    engine = DuckDBEngine(lab.connection)
    assert checks.cells_count_the_pairs(engine).passed
    lab.connection.execute("UPDATE series_cells SET n_control = n_control - 1 WHERE n_control = 5")
    result = checks.cells_count_the_pairs(engine)
    assert result.description == "exp edge_bps: there are 5 control trades, and the cells count 4"
