"""The whole job on the sample experiments: what it materialises, what it finds, what it says."""

from __future__ import annotations

import json
from collections import Counter

import dagster as dg
import pytest

from et_pipeline.contracts.reason_codes import REASON_CODES
from et_pipeline.definitions import defs

pytestmark = pytest.mark.xdist_group("sample")

STARTED = "EXPERIMENT_STARTED"
RESULT = "EXPERIMENT_RESULT"
EXPECTED = {
    "basket-rebalance-fast": ("concluded", "variant_worse"),
    "late-news-filter": ("sampling", None),
    "line-shop-v4": ("promotion_review", "variant_better"),
    "quote-refresh-2s": ("concluded", "equivalent"),
    "wide-split-props": ("awaiting_sign_off", None),
}
EMITTED = {
    ("basket-rebalance-fast", STARTED): 1,
    ("basket-rebalance-fast", RESULT): 1,
    ("basket-rebalance-fast", "drift_signal"): 1,
    ("late-news-filter", STARTED): 1,
    ("late-news-filter", "EXPERIMENT_INSUFFICIENT_SAMPLES"): 1,
    ("line-shop-v4", STARTED): 1,
    ("line-shop-v4", RESULT): 1,
    ("line-shop-v4", "promotion_review"): 1,
    ("quote-refresh-2s", STARTED): 1,
    ("quote-refresh-2s", RESULT): 1,
    ("wide-split-props", STARTED): 1,
    ("wide-split-props", "EXPERIMENT_LARGE_SPLIT_WARN"): 1,
}


def every_key() -> set[str]:
    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


def test_every_asset_is_materialised_with_its_rows_and_columns(sample):
    events = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization
        for event in sample.result.all_events
        if event.is_step_materialization and event.asset_key is not None
    }
    assert set(events) == every_key()
    files = {"analyst_database", "review_pages"}
    for name in every_key() - files:
        metadata = events[name].metadata
        (rows,) = sample.pipeline.rows(f'SELECT count(*) FROM "{name}"')[0]
        assert metadata["dagster/row_count"].value == rows, name
        columns = metadata["dagster/column_schema"].schema.columns
        stored = sample.pipeline.rows(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", name
        )
        assert [(column.name, column.type) for column in columns] == stored
        assert all(column.description for column in columns), f"{name} has a column without a comment"


def test_every_partition_tells_its_rows(sample):
    counts = {
        event.partition: event.step_materialization_data.materialization.metadata["dagster/partition_row_count"].value
        for event in sample.result.all_events
        if event.is_step_materialization and event.asset_key == dg.AssetKey("pairs")
    }
    stored = dict(sample.pipeline.rows("SELECT experiment_id, count(*) FROM pairs GROUP BY experiment_id"))
    assert counts == {**dict.fromkeys(EXPECTED, 0), **stored}


def test_every_check_is_evaluated_and_passes(sample):
    evaluated = {
        (check.asset_key.to_user_string(), check.check_name): check.passed
        for check in sample.result.get_asset_check_evaluations()
    }
    known = {
        (key.asset_key.to_user_string(), key.name) for key in defs.resolve_asset_graph().asset_check_keys
    }
    assert set(evaluated) == known
    assert [key for key, passed in evaluated.items() if not passed] == []


def test_every_line_is_where_the_generator_says(sample):
    truth = sample.truth
    found = sample.pipeline.rows(
        "SELECT sum(lines), sum(reports), sum(duplicates), sum(skipped), sum(quarantined) FROM snapshots"
    )
    quarantine = dict(sample.pipeline.rows("SELECT reason, count(*) FROM quarantine GROUP BY reason"))
    assert found == [
        (truth.lines, truth.reports, truth.duplicates, truth.skipped, sum(truth.quarantine.values()))
    ]
    assert quarantine == truth.quarantine
    assert sample.pipeline.rows("SELECT count(*) FROM reports") == [(truth.reports,)]


def test_every_opportunity_of_both_arms_is_a_pair(sample):
    pairs = dict(sample.pipeline.rows("SELECT experiment_id, count(*) FROM pairs GROUP BY experiment_id"))
    zero = {"late-news-filter"}
    for name, truth in sample.truth.experiments.items():
        if EXPECTED[name][0] == "awaiting_sign_off":
            assert name not in pairs
        else:
            assert pairs[name] == (truth.opportunities if name in zero else truth.pairs)


@pytest.mark.parametrize("experiment", sorted(EXPECTED))
def test_the_true_uplift_lies_in_the_interval(sample, experiment):
    truth = sample.truth.experiments[experiment]
    intervals = sample.pipeline.rows(
        "SELECT metric, coalesce(ci_lower, '-inf'), coalesce(ci_upper, 'inf') FROM intervals WHERE experiment_id = ?",
        experiment,
    )
    if EXPECTED[experiment][0] == "awaiting_sign_off":
        assert intervals == []
        return
    assert intervals
    for metric, low, high in intervals:
        true = truth.uplift[metric]
        if metric == "edge_bps" and experiment == "late-news-filter":
            true = truth.edge_uplift_no_trade_zero
        assert low <= true <= high, metric


def test_the_verdicts_follow_the_truth(sample):
    assert sample.pipeline.verdicts() == EXPECTED


def test_each_message_is_emitted_once_and_the_codes_are_the_contract_s(sample):
    assert sample.pipeline.codes() == Counter(EMITTED)
    assert {code for _, code in EMITTED if code.isupper()} <= set(REASON_CODES)


def test_the_drift_signal_tells_who_and_how_much(sample):
    (signal,) = sample.pipeline.rows(
        "SELECT experiment_id, control_strategy_id, metric, uplift, ci_lower, ci_upper, n_pairs, since "
        "FROM drift_signals"
    )
    name, control, metric, uplift, low, high, pairs, since = signal
    assert (name, control, metric) == ("basket-rebalance-fast", "strat.basket_rebalance", "edge_bps")
    assert low <= uplift <= high < 0
    assert pairs >= 100
    assert since is None or since.year == 2026


def test_what_is_missing_is_said_in_the_message(sample):
    ((message, payload),) = sample.pipeline.rows(
        "SELECT message, payload FROM events WHERE reason_code = 'EXPERIMENT_INSUFFICIENT_SAMPLES'"
    )
    conditions = [item["condition"] for item in json.loads(payload)["payload"]["missing"]]
    assert "too_few_pairs" in conditions
    assert message.endswith(".") and "500" in message


def test_running_again_changes_and_emits_nothing(sample):
    before = sample.pipeline.codes()
    tables = ("reports", "pairs", "cells", "interval_path", "drift", "audit_log", "verdicts", "quarantine")
    counts = [sample.pipeline.rows(f"SELECT count(*) FROM {table}") for table in tables]
    sample.pipeline.tick()
    assert sample.pipeline.codes() == before == Counter(EMITTED)
    assert [sample.pipeline.rows(f"SELECT count(*) FROM {table}") for table in tables] == counts


def test_messages_leave_once_one_file_each(sample):
    delivered = sample.pipeline.publish().output_for_node("deliver_events", "result")
    files = sorted(path.stem for path in sample.pipeline.settings.outbox_dir.rglob("*.json"))
    assert delivered == len(files) == sum(EMITTED.values())
    assert files == sorted(event for (event,) in sample.pipeline.rows("SELECT event_id FROM events"))
    assert sample.pipeline.publish().output_for_node("deliver_events", "result") == 0


def test_one_experiment_is_rerun_alone(sample):
    assets = ["pairs", "unmatched", "cells", "interval_path", "intervals", "diagnostics", "sample_ratio", "drift"]
    result = sample.pipeline.rerun("line-shop-v4", assets)
    touched = {
        (event.asset_key.to_user_string(), event.partition)
        for event in result.all_events
        if event.is_step_materialization and event.asset_key is not None
    }
    assert touched == {(name, "line-shop-v4") for name in assets}
    assert sample.pipeline.codes() == Counter(EMITTED)


def test_one_partition_s_rerun_repairs_that_experiment(sample):
    """What a person does after a repair: throw away one experiment's path, compute it again."""
    query = "SELECT count(*), sum(n_pairs), sum(mean_uplift) FROM interval_path WHERE experiment_id = ?"
    before = sample.pipeline.rows(query, "quote-refresh-2s")
    sample.pipeline.change("DELETE FROM interval_path WHERE experiment_id = 'quote-refresh-2s'")
    sample.pipeline.change(
        "INSERT INTO stale_paths SELECT experiment_id, min(block) FROM cells "
        "WHERE experiment_id = 'quote-refresh-2s' GROUP BY experiment_id"
    )
    sample.pipeline.rerun("quote-refresh-2s", ["interval_path", "intervals", "diagnostics", "sample_ratio", "drift"])
    assert sample.pipeline.rows(query, "quote-refresh-2s") == before
