"""Pairs by correlation: a replayed report carries the live one's `correlation_id`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.pairing import columns
from et_pipeline.pairing.rules import Rule
from et_pipeline.pairing.statements import delete, drop, insert, keep, query

if TYPE_CHECKING:
    import duckdb

CHUNK = 1_000_000
"""Reports matched at once when everything is paired again: it bounds the memory that takes."""

TOUCHED = """(a.experiment_id, r.opportunity_key) IN (SELECT experiment_id, opportunity_key FROM touched)
    AND r.rowid IN (
        SELECT k.rowid FROM reports AS k WHERE k.opportunity_key IN (SELECT opportunity_key FROM touched)
    )"""
"""Reports of touched opportunities. Their row numbers are found in the key column alone, so that the wide
columns are read only where the rows lie, not through all history."""


class Change(NamedTuple):
    """Rows taken away and written by one step."""

    removed: int
    pairs: int
    unmatched: int


def pair_by_correlation(
    connection: duckdb.DuckDBPyConnection, whole: Sequence[Rule], behind: Sequence[tuple[Rule, int]]
) -> Iterator[Change]:
    """Matches what is new, inside the caller's transaction.

    Args:
        connection: The warehouse; the temporary tables of `read_rules` are there.
        whole: Experiments to pair from scratch.
        behind: Experiments to bring up to date, each with the newest batch its pairs know of.
    """
    if whole:
        yield _pair_all(connection, [rule.experiment_id for rule in whole])
    if behind:
        yield _pair_touched(connection, [(rule.experiment_id, batch) for rule, batch in behind])


def _pair_all(connection: duckdb.DuckDBPyConnection, experiments: list[str]) -> Change:
    keep(connection, "whole", "SELECT experiment_id FROM terms WHERE false")
    connection.execute("INSERT INTO whole SELECT unnest(?::VARCHAR[])", [experiments])
    inside = "experiment_id IN (SELECT experiment_id FROM whole)"
    insert(connection, "stale_cells", query("stale", condition=inside))
    removed = delete(connection, "pairs", inside)
    delete(connection, "unmatched", inside)
    rows = connection.execute("SELECT count(*) FROM reports").fetchone()
    chunks = -(-(rows[0] if rows else 0) // CHUNK)
    pairs = unmatched = 0
    for chunk in range(chunks):
        scope = f"a.{inside} AND r.opportunity_key % {chunks} = {chunk}"
        more = _match(connection, scope)
        pairs, unmatched = pairs + more[0], unmatched + more[1]
    insert(connection, "stale_cells", query("stale", condition=inside))
    drop(connection, "whole")
    return Change(removed, pairs, unmatched)


def _pair_touched(connection: duckdb.DuckDBPyConnection, behind: list[tuple[str, int]]) -> Change:
    connection.execute("CREATE OR REPLACE TEMP TABLE behind (experiment_id VARCHAR, batch BIGINT)")
    connection.executemany("INSERT INTO behind VALUES (?, ?)", behind)
    keep(connection, "touched", query("touched", after=min(batch for _, batch in behind)))
    inside = "(experiment_id, opportunity_key) IN (SELECT experiment_id, opportunity_key FROM touched)"
    insert(connection, "stale_cells", query("stale", condition=inside))
    removed = delete(connection, "pairs", inside)
    delete(connection, "unmatched", inside)
    pairs, unmatched = _match(connection, TOUCHED)
    insert(connection, "stale_cells", query("stale", condition=inside))
    drop(connection, "behind", "touched")
    return Change(removed, pairs, unmatched)


def _match(connection: duckdb.DuckDBPyConnection, scope: str) -> tuple[int, int]:
    """Writes the pairs and the unmatched reports of the opportunities in scope; returns their numbers."""
    keep(connection, "gathered", query("gather", metrics=columns.METRICS, scope=scope))
    keep(connection, "superseded", query("superseded"))
    for arm in ("control", "variant"):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {arm}s AS {query('counting', arm=arm)}")
    pairs = insert(
        connection,
        "pairs",
        query(
            "correlation_pairs",
            block=columns.block("p.pair_time"),
            both_arms=columns.BOTH_ARMS,
            uplifts=columns.UPLIFTS,
        ),
    )
    unmatched = insert(
        connection, "unmatched", query("correlation_unmatched", block=columns.block("u.emitted_at"))
    )
    for view in ("controls", "variants"):
        connection.execute(f"DROP VIEW temp.{view}")
    drop(connection, "gathered", "superseded")
    return pairs, unmatched
