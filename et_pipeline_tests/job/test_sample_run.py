"""The sample experiments through the real job: the truth is found, and every report is accounted for."""

from __future__ import annotations

import json
from collections import Counter

import dagster as dg
import duckdb
import pytest

from et_pipeline.commands import samples
from et_pipeline.definitions import defs
from et_pipeline.generator import EXPECTED_REASON
from et_pipeline_tests.job.conftest import SampleRun

pytestmark = pytest.mark.xdist_group("sample_job")

VERDICTS = {
    "basket-rebalance-fast": ("concluded", "variant_worse"),
    "late-news-filter": ("sampling", None),
    "line-shop-v4": ("promotion_review", "variant_better"),
    "live-inventory-skew": ("concluded", "variant_better"),
    "passive-exits-v2": ("concluded", "inconclusive"),
    "quote-refresh-2s": ("concluded", "equivalent"),
    "wide-split-props": ("awaiting_sign_off", None),
}
FLATTERED = {"passive-exits-v2": samples.TRUTHS["passive-exits-v2"]["replay_bias"]["edge_bps"]}
"""What the backtester of an experiment adds to every replay, so that its uplift contains it."""


def test_the_run_succeeds_and_every_asset_is_materialised(sample: SampleRun) -> None:
    assert sample.result.success
    done = {event.asset_key for event in sample.result.get_asset_materialization_events()}
    with_jobs_of_their_own = {dg.AssetKey("parquet_files"), dg.AssetKey("calibration")}
    assert done == set(defs.resolve_asset_graph().get_all_asset_keys()) - with_jobs_of_their_own


def test_the_run_is_found_by_every_experiment_it_changed(sample: SampleRun) -> None:
    run = sample.world.instance.get_run_by_id(sample.result.run_id)
    assert run is not None
    assert {tag for tag in run.tags if tag.startswith("et.experiment/")} == {
        f"et.experiment/{name}" for name in VERDICTS
    }


def test_every_asset_says_what_it_is(sample: SampleRun) -> None:
    schemas = {
        event.asset_key: event.step_materialization_data.materialization.metadata
        for event in sample.result.get_asset_materialization_events()
    }
    graph = defs.resolve_asset_graph()
    for key in schemas:
        node = graph.get(key)
        assert node.description and len(node.description) > 40, key
        assert node.owners and node.kinds and node.group_name != "default", key
        if node.group_name != "insight":
            assert "dagster/row_count" in schemas[key] and "dagster/column_schema" in schemas[key], key
            columns = schemas[key]["dagster/column_schema"].value.columns
            assert columns and all(column.description for column in columns), key


def test_checks_pass_but_the_one_that_names_the_flattering_backtester(sample: SampleRun) -> None:
    evaluated = {check.check_name for check in sample.result.get_asset_check_evaluations()}
    weekly = {"error_as_promised"}
    assert evaluated == {key.name for key in defs.resolve_asset_graph().asset_check_keys} - weekly
    assert sample.world.failed_checks(sample.result) == {"replay_is_true"}


def test_every_line_is_in_one_place(sample: SampleRun) -> None:
    world, truth = sample.world, sample.truth
    totals = world.rows(
        "SELECT sum(lines), sum(reports), sum(duplicates), sum(skipped), sum(quarantined) FROM snapshots"
    )
    quarantined = sum(truth.broken.values())
    assert totals == [(truth.lines, truth.reports, truth.duplicates, truth.skipped, quarantined)]
    expected = Counter[str]()
    for kind, count in truth.broken.items():
        expected[EXPECTED_REASON[kind]] += count
    assert Counter(dict(world.rows("SELECT reason, count(*) FROM quarantine GROUP BY reason"))) == expected


def test_verdicts_and_states(sample: SampleRun) -> None:
    found = {
        name: (state, verdict)
        for name, state, verdict in sample.world.rows("SELECT experiment_id, state, verdict FROM verdicts")
    }
    assert found == VERDICTS


def test_the_true_uplift_lies_in_every_interval(sample: SampleRun) -> None:
    rows = sample.world.rows(
        "SELECT experiment_id, metric, ci_lower, ci_upper FROM interval_path WHERE ready"
    )
    assert len({row[:2] for row in rows}) >= 9
    for name, metric, lower, upper in rows:
        truth = sample.truth.experiments[name]
        true = truth.uplift[metric] + FLATTERED.get(name, 0.0)
        if (
            name == "late-news-filter"
            and metric == "edge_bps"
            and truth.edge_uplift_no_trade_zero is not None
        ):
            true = truth.edge_uplift_no_trade_zero
        if metric == "latency_ms" and name == "line-shop-v4":
            continue  # winsorised by the plan: another estimand than the plain mean
        assert lower <= true <= upper, (name, metric, lower, true, upper)


def test_a_flattered_null_would_have_been_promoted_and_the_replayed_control_says_what_is_true(
    sample: SampleRun,
) -> None:
    rows = sample.world.rows(
        "SELECT 'uplift', ci_lower, ci_upper FROM intervals WHERE experiment_id = 'passive-exits-v2' "
        "UNION ALL SELECT comparison, ci_lower, ci_upper FROM replay_fidelity WHERE experiment_id = 'passive-exits-v2'"
    )
    found = {name: (lower, upper) for name, lower, upper in rows}
    assert found["uplift"][0] > 0, "the uplift alone calls it better"
    lower, upper = found["replay_gap"]
    assert 1 < lower <= FLATTERED["passive-exits-v2"] <= upper, "the gap lies outside of its margin"
    lower, upper = found["like_for_like"]
    assert -2 < lower <= 0 <= upper < 2, "like for like there is no difference that matters"
    ((reason, sentence),) = sample.world.rows(
        "SELECT reason, sentence FROM verdicts WHERE experiment_id = 'passive-exits-v2'"
    )
    assert reason == "replay_disagrees" and "The replay is not true" in sentence


def test_pairs_are_the_opportunities_both_arms_report_a_pass_among_them(sample: SampleRun) -> None:
    pairs = dict(sample.world.rows("SELECT experiment_id, count(variant_report_id) FROM pairs GROUP BY ALL"))
    for name, truth in sample.truth.experiments.items():
        if name == "live-inventory-skew":
            continue  # its arms never see one opportunity
        replayed = 0 if name == "wide-split-props" else (truth.pairs or 0) + truth.passes
        assert pairs.get(name, 0) == replayed, name


def test_reason_codes_and_the_drift_signal(sample: SampleRun) -> None:
    world = sample.world
    codes = set(world.rows("SELECT experiment_id, reason_code FROM events WHERE reason_code IS NOT NULL"))
    started = {(name, "EXPERIMENT_STARTED") for name in VERDICTS}
    results = {(name, "EXPERIMENT_RESULT") for name, (_, verdict) in VERDICTS.items() if verdict}
    assert codes == started | results | {
        ("late-news-filter", "EXPERIMENT_INSUFFICIENT_SAMPLES"),
        ("wide-split-props", "EXPERIMENT_LARGE_SPLIT_WARN"),
    }
    signals = world.rows("SELECT DISTINCT experiment_id, variant_strategy_id FROM drift_signals")
    assert signals == [("basket-rebalance-fast", "strat.basket_rebalance")]
    reviews = world.rows("SELECT experiment_id FROM events WHERE kind = 'promotion_review'")
    assert reviews == [("line-shop-v4",)]


def test_publishing_leaves_one_file_a_message(sample: SampleRun) -> None:
    world = sample.world
    assert world.run("publish").success
    files = {path.stem: json.loads(path.read_text()) for path in world.settings.outbox_dir.glob("*.json")}
    events = dict(world.rows("SELECT event_id, payload FROM events"))
    assert files == {identifier: json.loads(payload) for identifier, payload in events.items()}
    assert world.rows("SELECT count(*) FROM deliveries WHERE status = 'delivered'") == [(len(events),)]


def test_running_again_emits_nothing_twice(sample: SampleRun) -> None:
    world = sample.world
    before = (
        world.rows("SELECT event_id FROM events ORDER BY ALL"),
        world.rows("SELECT * FROM interval_path ORDER BY ALL"),
    )
    assert world.tick().success
    assert world.run("publish").success
    assert (
        world.rows("SELECT event_id FROM events ORDER BY ALL"),
        world.rows("SELECT * FROM interval_path ORDER BY ALL"),
    ) == before
    assert len(list(world.settings.outbox_dir.glob("*.json"))) == len(before[0])


def test_row_counts_in_the_ui_are_those_of_the_tables(sample: SampleRun) -> None:
    shown = {}
    for event in sample.result.get_asset_materialization_events():
        metadata = event.step_materialization_data.materialization.metadata
        name = event.asset_key.to_user_string()
        if "dagster/row_count" in metadata:
            shown[name] = metadata["dagster/row_count"].value
    with duckdb.connect(str(sample.world.settings.warehouse_path), read_only=True) as connection:
        stored = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in shown}
    assert shown == stored


def test_the_drift_signal_says_how_much_and_the_young_experiment_what_is_missing(sample: SampleRun) -> None:
    signals = sample.world.rows("SELECT metric, uplift, ci_lower, ci_upper, n_pairs FROM drift_signals")
    for metric, uplift, lower, upper, pairs in signals:
        assert metric == "edge_bps" and lower <= uplift <= upper < 0 and pairs >= 100
    ((message, payload),) = sample.world.rows(
        "SELECT message, payload FROM events WHERE reason_code = 'EXPERIMENT_INSUFFICIENT_SAMPLES'"
    )
    missing = {item["condition"] for item in json.loads(payload)["payload"]["missing"]}
    assert "too_few_pairs" in missing and "500" in message


def test_the_ui_shows_how_every_experiment_stands(sample: SampleRun) -> None:
    (event,) = [
        event
        for event in sample.result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("verdicts")
    ]
    shown = event.materialization.metadata["overview"]
    assert isinstance(shown, dg.TableMetadataValue)
    found = {record.data["experiment"]: record.data for record in shown.records}
    assert {name: row["verdict"] for name, row in found.items() if row["verdict"] != "–"} == {
        name: verdict for name, (_, verdict, *_) in VERDICTS.items() if verdict is not None
    }
