"""The Prometheus file, read back with the client's own parser."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from et_pipeline.governance.stall import record_outage
from et_pipeline.publishing.delivery import deliver
from et_pipeline.publishing.house_metrics import write_metrics
from et_pipeline.settings import RegistrySettings
from et_pipeline.warehouse.connection import open_warehouse

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)


def metrics(settings):
    with open_warehouse(settings) as connection:
        text = write_metrics(connection, settings).read_text()
    return {
        (
            sample.name,
            *(value for name, value in sorted(sample.labels.items()) if name != "bot_id"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_empty_warehouse_has_every_metric_at_zero(settings):
    found = metrics(settings)
    assert set(found.values()) == {0.0}
    assert {name for name, *_ in found} == {
        "polytraders_bot_invocations_total",
        "polytraders_bot_errors_total",
        "polytraders_bot_latency_seconds_bucket",
        "polytraders_bot_latency_seconds_count",
        "polytraders_bot_latency_seconds_sum",
        "polytraders_bot_inputs_stale",
        "polytraders_bot_dependency_unavailable",
    }
    assert ("polytraders_bot_invocations_total", "explain", "EXPERIMENT_STALLED") in found


def test_messages_count_by_decision_and_reason_code(
    settings, put_events, reports, signals, result_and_review
):
    put_events(settings, reports(3) + signals(2) + result_and_review)
    found = metrics(settings)
    name = "polytraders_bot_invocations_total"
    assert found[name, "explain", "EXPERIMENT_STARTED"] == 3
    assert found[name, "explain", "EXPERIMENT_RESULT"] == 1
    assert found[name, "drift_signal", ""] == 2
    assert found[name, "promotion_review", ""] == 1
    assert metrics(settings) == found  # counted in the warehouse: another process says the same


def test_latency_is_from_decision_to_delivery(settings, put_events, reports):
    moments = iter([0.05, 4.0, 4000.0])
    put_events(settings, [event._replace(emitted_at=NOW) for event in reports(3)])
    clock = [NOW]

    def tell() -> datetime:
        return clock[0]

    class Slow:
        def open(self):
            import contextlib

            @contextlib.contextmanager
            def opened():
                def send(_):
                    clock[0] = NOW + timedelta(seconds=next(moments))
                    return "taken"

                yield send

            return opened()

    deliver(settings, destinations={"report_bus": Slow()}, clock=tell)
    found = metrics(settings)
    name = "polytraders_bot_latency_seconds"
    assert [
        found[f"{name}_bucket", bound] for bound in ("0.1", "1.0", "5.0", "3600.0", "86400.0", "+Inf")
    ] == [*(1, 1, 2, 2, 3, 3)]
    assert found[f"{name}_sum",] == pytest.approx(4004.05)
    assert found[f"{name}_count",] == 3


def test_a_destination_that_is_away_and_a_bus_that_is_out_show(settings, put_events, signals):
    put_events(settings, signals(1))
    nowhere = replace(settings, registry=RegistrySettings("http://127.0.0.1:9/", timeout_s=0.2))
    deliver(nowhere, sleep=lambda _: None)
    with open_warehouse(settings) as connection:
        record_outage(connection, "nats", "unreachable", NOW)
    found = metrics(settings)
    assert found["polytraders_bot_dependency_unavailable", "output:strategy_registry"] == 1
    assert found["polytraders_bot_dependency_unavailable", "output:report_bus"] == 0
    assert found["polytraders_bot_dependency_unavailable", "input:nats"] == 1
    assert found["polytraders_bot_inputs_stale", "nats"] == 1
    assert found["polytraders_bot_inputs_stale", "report_bus"] == 0
    assert found["polytraders_bot_errors_total", "delivery_failed"] == 1


def test_inputs_are_stale_after_the_time_that_was_set(settings):
    with open_warehouse(settings) as connection:
        connection.execute(
            "INSERT INTO snapshots VALUES ('a', 1, 1, 'h', ?, 10, 7, 0, 0, 3, 1, 1, false, 1, 0)",
            [NOW.replace(tzinfo=None)],
        )
    patient = replace(settings, stall_after_us=3_600_000_000)
    for minutes, stale in ((59, 0), (61, 1)):
        found = metrics(replace(patient, fixed_now=NOW + timedelta(minutes=minutes)))
        assert found["polytraders_bot_inputs_stale", "report_bus"] == stale
    assert found["polytraders_bot_errors_total", "quarantined_line"] == 3
