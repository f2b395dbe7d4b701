"""Random cases with many ties: a cluster makes exactly the same pairs as the warehouse, tick after tick."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.settings import SparkSettings
from et_pipeline.spark.session import spark_engine
from et_pipeline.warehouse.connection import transaction
from et_pipeline_tests.pairing.lab import START, Lab, replayed_report, report, variant_report
from et_pipeline_tests.pairing.test_order import EXPERIMENTS, plan_all
from et_pipeline_tests.pairing.test_segments import ASKED, LIVE, some_reports
from et_pipeline_tests.spark.lab import open_twins

pytestmark = pytest.mark.xdist_group("sail")


def history(chance: random.Random, size: int) -> list[dict[str, Any]]:
    """Reports of few opportunities at few moments, with values that add up differently in another order."""
    items = []
    for number in range(size):
        make = chance.choice([report, variant_report, replayed_report])
        changes: dict[str, Any] = {
            "market_id": chance.choice(["m1", "m2"]),
            "config_version": chance.choice("12"),
            "edge_bps": chance.choice([None, 0.1, 0.2, 0.3, -1e4, chance.uniform(-100, 100)]),
            "slippage_bps": chance.choice([None, chance.uniform(-10, 10)]),
            "filled_size": chance.choice([None, chance.uniform(0, 100)]),
            "asked_size": chance.choice([None, 0.0, chance.uniform(0, 100)]),
            "emitted_below_us": chance.choice([0, 1, 999_999]),
        }
        if make is variant_report:
            changes |= {"strategy_id": chance.choice("vw"), "mode": chance.choice(["live", "replay"])}
        if chance.random() < 0.2:
            changes |= {"decision": "passed", **dict.fromkeys(REPORT_METRICS)}
        moment = chance.randrange(0, 56 * 60, chance.choice([1, 60, 60]))
        items.append(make(f"r{number:03}", f"o{chance.randrange(size // 4)}", moment, **changes))
    return items


LATER_WITHIN = """
SELECT count(*)
FROM reports AS r
INNER JOIN reports AS l USING (opportunity_key, strategy_id, mode, config_version, emitted_at)
WHERE r.emitted_below_us < l.emitted_below_us AND r.report_id > l.report_id
    AND r.report_id IN (SELECT report_id FROM unmatched WHERE reason = 'superseded')
"""


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.spark)])
def test_any_ticks_give_the_same_pairs_and_cells(cluster: str, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    later = variant_report("a", "tied", 300, emitted_below_us=1)
    reports = [*history(chance, 178), variant_report("z", "tied", 300), later]
    with open_twins(cluster, tmp_path) as twins:
        for lab in (twins.local, twins.remote):
            plan_all(lab)
        cuts = sorted(chance.sample(range(len(reports)), 2))
        for start, end in zip([0, *cuts], [*cuts, len(reports)], strict=True):
            twins.ingest(*reports[start:end])
            twins.tick(EXPERIMENTS if end == len(reports) else chance.sample(EXPERIMENTS, 2))
        twins.ingest(displaced=chance.sample(reports, 4))
        twins.tick(EXPERIMENTS)
        assert twins.local.rows("SELECT count(*) FROM pairs WHERE candidates > 1") > [(0,)], "no ties at all"
        assert twins.local.rows(LATER_WITHIN) > [(0,)], "no reports within one microsecond"
        assert twins.local.rows("SELECT count(*) FROM missing_values") > [(0,)], "no gaps at all"
        found = twins.local.rows(
            "SELECT count(DISTINCT comparison) FROM series_cells WHERE comparison <> 'before'"
        )
        assert found == [(3,)], "no replays of the control at all"


@pytest.mark.parametrize("live", [False, True], ids=["pairs", "trades"])
def test_breakdowns_have_the_same_cells(cluster: str, tmp_path: Path, live: bool) -> None:
    reports = some_reports(4, 80, **({"mode": "live"} if live else {}))
    with open_twins(cluster, tmp_path) as twins:
        twins.plan(plan=ASKED, **(LIVE if live else {}))
        twins.plan("plain", control_strategy_id="other", variant_strategy_id="another")
        for start in (0, 90):
            twins.ingest(*reports[start : start + 90])
            twins.tick(["exp", "plain"])
        dimensions = "SELECT count(DISTINCT dimension) FROM segment_cells"
        assert twins.remote.rows(dimensions) == [(5,)]


def test_the_controls_trades_from_before_have_the_same_cells(cluster: str, tmp_path: Path) -> None:
    """Some of their opportunities are told twice, in the same file or in the next."""
    early = [
        report(f"e{number}", f"before{number // 2}", -900.0 * (number % 40 + 1), edge_bps=number / 7)
        for number in range(60)
    ]
    inside = some_reports(4, 40, mode="live")
    with open_twins(cluster, tmp_path) as twins:
        twins.plan(**LIVE)
        for part in (early[:31] + inside[:50], early[31:] + inside[50:]):
            twins.ingest(*part)
            twins.tick(["exp"])
        counted = (
            "SELECT sum(n_control) FROM series_cells WHERE comparison = 'before' AND metric = 'edge_bps'"
        )
        assert twins.remote.rows(counted) == [(30,)]


def test_what_nothing_touched_is_not_paired_again(cluster: str, tmp_path: Path) -> None:
    with open_twins(cluster, tmp_path) as twins:
        twins.plan("one")
        twins.plan("other", control_strategy_id="c2", variant_strategy_id="v2")
        twins.ingest(report("r1", "o1"), variant_report("r2", "o1"))
        twins.tick(["one", "other"])
        twins.remote.connection.execute("DELETE FROM stale_paths")
        runs = dict(twins.remote.rows("SELECT experiment_id, run FROM pairs_elsewhere"))
        twins.ingest(report("r3", "o2", 7200.0), variant_report("r4", "o2", 60.0))
        twins.tick(["one", "other"])
        now = dict(twins.remote.rows("SELECT experiment_id, run FROM pairs_elsewhere"))
        assert now["one"] != runs["one"] and now["other"] == runs["other"]
        folders = {item.name for item in (tmp_path / "pairs").iterdir()}
        assert folders <= {f"run={run}" for run in now.values()}, "what no run needs is swept away"
        assert not (tmp_path / "scratch").exists()
        assert twins.remote.rows("SELECT block FROM stale_paths") == [(START + timedelta(hours=2),)]


def test_many_rows_come_back_inside_a_transaction(sail: str, lab: Lab, tmp_path: Path) -> None:
    """More than a row group of the warehouse."""
    settings = SparkSettings(sail, f"file://{tmp_path}")
    with spark_engine(settings, lab.connection) as engine, transaction(lab.connection):
        engine.session.range(300_000).createOrReplaceTempView("many")
        lab.connection.execute("CREATE TEMP TABLE numbers (number BIGINT)")
        assert engine.insert("numbers", "SELECT id AS number FROM many") == 300_000
        assert lab.rows("SELECT count(DISTINCT number) FROM numbers") == [(300_000,)]
