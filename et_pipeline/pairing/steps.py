"""What both ways of matching share: what a step changed, the reports that count, pairs in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.pairing import columns
from et_pipeline.pairing.statements import delete, drop, insert, keep, query

if TYPE_CHECKING:
    import duckdb

CHUNK = 1_000_000
"""Reports matched at once when everything is paired again: it bounds the memory that takes."""


class Change(NamedTuple):
    """Rows taken away and written by one step."""

    removed: int = 0
    pairs: int = 0
    unmatched: int = 0

    def plus(self, other: Change) -> Change:
        """Both changes together."""
        return Change(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def chunks(connection: duckdb.DuckDBPyConnection) -> int:
    """Into how many parts everything is cut when all is paired again."""
    row = connection.execute("SELECT count(*) FROM reports").fetchone()
    return max(1, -(-(row[0] if row else 0) // CHUNK))


def fetch_touched(connection: duckdb.DuckDBPyConnection, behind: list[tuple[str, int]]) -> str:
    """Makes the temporary tables `behind`, `touched` and `fetched`: what is new, and all that it concerns.

    Args:
        connection: The warehouse.
        behind: Experiments and the newest batch their pairs know of.

    Returns:
        A condition on `{time}`, the time of what was written for touched opportunities before: it was one
        of their reports' times, so most of history need not be looked at.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE behind (experiment_id VARCHAR, batch BIGINT)")
    connection.executemany("INSERT INTO behind VALUES (?, ?)", behind)
    after = min(batch for _, batch in behind)
    keep(connection, "touched", query("touched", after=after))
    fetch(connection, "opportunity_key IN (SELECT opportunity_key FROM touched)")
    row = connection.execute(
        "SELECT min(emitted_at), max(emitted_at) FROM (SELECT emitted_at FROM fetched"
        f" UNION ALL SELECT emitted_at FROM displaced WHERE batch > {after}) AS concerned"
    ).fetchone()
    if row is None or row[0] is None:
        return "false"
    return f"{{time}} BETWEEN TIMESTAMP '{row[0]}' AND TIMESTAMP '{row[1]}'"


def fetch(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Keeps the reports that a condition holds for in the temporary table `fetched`.

    Their row numbers are found first, in the few columns of the condition; the many columns of a report are
    read only where those rows lie, not through all history.
    """
    rows = f"SELECT rowid FROM reports WHERE {condition}"
    keep(connection, "fetched", f"SELECT * FROM reports WHERE rowid IN ({rows})")


def gather(connection: duckdb.DuckDBPyConnection, reports: str, scope: str) -> None:
    """Makes the temporary table `gathered`: the arms' reports out of a table of reports `r`, see `gather.sql`.

    A table and not a view: four queries read it, and writing it down once took less than reading four times.
    """
    keep(connection, "gathered", query("gather", metrics=columns.METRICS, reports=reports, scope=scope))
    drop(connection, "fetched")


def view_counting(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the temporary views `controls` and `variants`: what is gathered and not superseded."""
    for arm in ("control", "variant"):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {arm}s AS {query('counting', arm=arm)}")


def drop_gathered(connection: duckdb.DuckDBPyConnection) -> None:
    """Takes away what `gather` and `view_counting` made."""
    for arm in ("control", "variant"):
        connection.execute(f"DROP VIEW IF EXISTS temp.{arm}s")
    drop(connection, "gathered")


def insert_pairs(connection: duckdb.DuckDBPyConnection, partner: str, candidates: str) -> int:
    """Writes the pairs that a way of matching made, and their cells to `stale_cells`; returns their number.

    Args:
        connection: The warehouse, with the views of `view_counting`.
        partner: The join that finds a control's variant `v`.
        candidates: How many controls the variant could have had.
    """
    keep(
        connection,
        "made",
        query(
            "pairs",
            block=columns.block("p.pair_time"),
            both_arms=columns.BOTH_ARMS,
            uplifts=columns.UPLIFTS,
            partner=partner,
            candidates=candidates,
        ),
    )
    insert(connection, "stale_cells", query("stale", pairs="made"))
    count = insert(connection, "pairs", "SELECT * FROM made")
    drop(connection, "made")
    return count


def remove_pairs(connection: duckdb.DuckDBPyConnection, condition: str) -> int:
    """Takes away the pairs that a condition holds for and writes their cells to `stale_cells`.

    Their row numbers are noted first, so that the condition is looked at once.
    """
    keep(
        connection,
        "going",
        f"SELECT rowid AS row_number, experiment_id, block, market_id FROM pairs WHERE {condition}",
    )
    insert(connection, "stale_cells", query("stale", pairs="going"))
    count = delete(connection, "pairs", "rowid IN (SELECT row_number FROM going)")
    drop(connection, "going")
    return count
