"""Pairs by correlation: a replayed report carries the live one's `correlation_id`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from et_pipeline.pairing import columns
from et_pipeline.pairing.rules import Rule
from et_pipeline.pairing.statements import delete, drop, insert, keep, query
from et_pipeline.pairing.steps import (
    Change,
    chunks,
    drop_gathered,
    fetch_touched,
    gather,
    insert_pairs,
    remove_pairs,
    view_counting,
)

if TYPE_CHECKING:
    import duckdb

PARTNER = """LEFT JOIN variants AS v
        ON v.experiment_id = c.experiment_id AND v.opportunity_key = c.opportunity_key
        AND v.correlation_id = c.correlation_id AND v.market_id = c.market_id
        AND v.outcome_id = c.outcome_id AND v.side = c.side"""
CANDIDATES = "CASE WHEN v.report_id IS NULL THEN 0 ELSE 1 END"


def pair_by_correlation(
    connection: duckdb.DuckDBPyConnection, whole: Sequence[Rule], behind: Sequence[tuple[Rule, int]]
) -> Change:
    """Matches what is new, inside the caller's transaction, for all experiments at once.

    Args:
        connection: The warehouse; the temporary tables of `read_rules` are there.
        whole: Experiments to pair from scratch.
        behind: Experiments to bring up to date, each with the newest batch its pairs know of.
    """
    change = Change()
    if whole:
        change = change.plus(_pair_all(connection, [rule.experiment_id for rule in whole]))
    if behind:
        change = change.plus(
            _pair_touched(connection, [(rule.experiment_id, batch) for rule, batch in behind])
        )
    return change


def _pair_all(connection: duckdb.DuckDBPyConnection, experiments: list[str]) -> Change:
    connection.execute("CREATE OR REPLACE TEMP TABLE whole (experiment_id VARCHAR)")
    connection.execute("INSERT INTO whole SELECT unnest(?::VARCHAR[])", [experiments])
    inside = "experiment_id IN (SELECT experiment_id FROM whole)"
    parts = chunks(connection)
    change = _remove(connection, inside)
    for part in range(parts):
        gather(connection, "reports", f"a.{inside} AND r.opportunity_key % {parts} = {part}")
        change = change.plus(_match(connection))
    drop(connection, "whole")
    return change


def _pair_touched(connection: duckdb.DuckDBPyConnection, behind: list[tuple[str, int]]) -> Change:
    seen = fetch_touched(connection, behind)
    touched = "SELECT experiment_id, opportunity_key FROM touched"
    change = _remove(connection, f"(experiment_id, opportunity_key) IN ({touched})", seen)
    gather(connection, "fetched", f"(a.experiment_id, r.opportunity_key) IN ({touched})")
    change = change.plus(_match(connection))
    drop(connection, "behind", "touched")
    return change


def _remove(connection: duckdb.DuckDBPyConnection, inside: str, seen: str = "true") -> Change:
    """Takes away the pairs and the unmatched reports that a condition holds for, out of those of a `{time}`."""
    removed = remove_pairs(connection, f"{seen.format(time='pair_time')} AND {inside}")
    delete(connection, "unmatched", f"{seen.format(time='emitted_at')} AND {inside}")
    return Change(removed)


def _match(connection: duckdb.DuckDBPyConnection) -> Change:
    """Writes the pairs and the unmatched reports of what is gathered."""
    keep(connection, "superseded", query("superseded"))
    view_counting(connection)
    pairs = insert_pairs(connection, PARTNER, CANDIDATES)
    unmatched = insert(
        connection, "unmatched", query("correlation_unmatched", block=columns.block("u.emitted_at"))
    )
    drop_gathered(connection)
    drop(connection, "superseded")
    return Change(0, pairs, unmatched)
