"""The audit chain finds every kind of manipulation and names the first bad row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import open_warehouse

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def connection(settings):
    with open_warehouse(settings) as connection:
        yield connection


def fill(connection, rows=6):
    for number in range(rows):
        at = AT + timedelta(hours=number)
        audit.append(
            connection,
            at,
            "line-shop",
            "transition",
            from_state="a",
            to_state="b",
            detail={"n": number, "é": "ü"},
        )


def test_an_untouched_log_is_intact(connection):
    assert audit.verify(connection) is None
    fill(connection)
    assert audit.verify(connection, [audit.head(connection)]) is None
    assert audit.head(connection).seq == 6


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("recorded_at", "TIMESTAMP '2020-01-01'"),
        ("experiment_id", "'other'"),
        ("experiment_id", "NULL"),
        ("action", "'sign_off'"),
        ("from_state", "NULL"),
        ("to_state", "'signed_off'"),
        ("detail", "'{}'"),
        ("previous_hash", "'0'"),
        ("hash", "'0'"),
    ],
)
def test_an_edit_of_any_column_is_found(connection, column, value):
    fill(connection)
    connection.execute(f"UPDATE audit_log SET {column} = {value} WHERE seq = 4")
    fault = audit.verify(connection)
    assert fault is not None
    assert (fault.seq, fault.kind) == (4, "edited")


@pytest.mark.parametrize("seq", [1, 3])
def test_a_deletion_is_found(connection, seq):
    fill(connection)
    connection.execute("DELETE FROM audit_log WHERE seq = ?", [seq])
    fault = audit.verify(connection)
    assert fault is not None
    assert (fault.seq, fault.kind) == (seq, "missing")


def test_a_deletion_that_is_renumbered_is_found(connection):
    fill(connection)
    connection.execute("DELETE FROM audit_log WHERE seq = 3")
    connection.execute("UPDATE audit_log SET seq = seq - 1 WHERE seq > 3")
    fault = audit.verify(connection)
    assert fault is not None
    assert fault.seq == 3


def test_rows_cut_off_the_end_show_against_the_anchor(connection, settings):
    fill(connection)
    audit.write_anchor(connection, settings)
    connection.execute("DELETE FROM audit_log WHERE seq > 4")
    assert audit.verify(connection) is None, "the chain alone cannot know"
    anchor = audit.read_anchor(settings)
    fault = audit.verify(connection, [anchor])
    assert (fault.seq, fault.kind) == (5, "missing")
    fill(connection, 4)
    audit.write_anchor(connection, settings)
    assert audit.read_anchor(settings) == anchor, "the evidence is not overwritten, even by a longer log"


def test_a_log_deleted_as_a_whole_shows_against_the_anchor(connection, settings):
    fill(connection)
    audit.write_anchor(connection, settings)
    connection.execute("DELETE FROM audit_log")
    fault = audit.verify(connection, [audit.read_anchor(settings)])
    assert (fault.seq, fault.kind) == (1, "missing")


def test_an_insertion_is_found(connection):
    fill(connection)
    connection.execute("INSERT INTO audit_log SELECT * FROM audit_log WHERE seq = 2")
    fault = audit.verify(connection)
    assert (fault.seq, fault.kind) == (2, "inserted")


def test_an_insertion_with_right_numbers_and_its_own_right_hash_is_found(connection):
    fill(connection)
    connection.execute("CREATE TEMP TABLE tail AS SELECT * FROM audit_log WHERE seq > 3")
    connection.execute("DELETE FROM audit_log WHERE seq > 3")
    audit.append(connection, AT, "line-shop", "transition", to_state="signed_off")
    connection.execute("INSERT INTO audit_log SELECT * REPLACE (seq + 1 AS seq) FROM tail")
    fault = audit.verify(connection)
    assert fault is not None
    assert fault.seq == 5


@given(order=st.permutations(range(1, 7)))
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_reordering_is_found_at_its_first_row(connection, order):
    connection.execute("DELETE FROM audit_log")
    fill(connection)
    for old, new in enumerate(order, start=1):
        connection.execute("UPDATE audit_log SET seq = ? WHERE seq = ?", [-new, old])
    connection.execute("UPDATE audit_log SET seq = -seq")
    fault = audit.verify(connection)
    moved = [new for old, new in enumerate(order, start=1) if old != new]
    assert fault == (None if not moved else fault)
    assert (fault is None) == (not moved)
    if fault is not None:
        assert fault.seq == min(moved)


def test_a_log_written_anew_shows_against_the_messages_that_were_sent(connection):
    fill(connection, 3)
    noted = audit.head(connection)
    payload = json.dumps({"payload": {"audit": {"seq": noted.seq, "hash": noted.hash}}})
    connection.execute(
        "INSERT INTO events VALUES ('e', 'reason_code', 'line-shop', 'X', 'INFO', 'm', ?, ?, 1)",
        [AT.replace(tzinfo=None), payload],
    )
    fill(connection, 2)
    assert audit.verify(connection, audit.event_anchors(connection)) is None
    connection.execute("DELETE FROM audit_log")
    for number in range(5):
        audit.append(connection, AT, "line-shop", "transition", detail={"forged": number})
    assert audit.verify(connection) is None, "the chain alone cannot know"
    fault = audit.verify(connection, audit.event_anchors(connection))
    assert (fault.seq, fault.kind) == (3, "unlike_anchor")


def test_a_damaged_anchor_is_named(connection, settings):
    fill(connection)
    audit.write_anchor(connection, settings)
    audit.anchor_path(settings).write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="audit_head is damaged"):
        audit.read_anchor(settings)
