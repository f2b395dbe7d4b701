"""Pairs by nearest time: one to one, without replacement, greedy over all possible matches by distance.

Reports of one market, outcome and side form a timeline. A gap longer than the tolerance cuts it into
segments that cannot influence each other, so only segments near something new are matched again.
"""

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
    fetch,
    fetch_touched,
    gather,
    insert_pairs,
    remove_pairs,
    view_counting,
)

if TYPE_CHECKING:
    import duckdb

PARTNER = """LEFT JOIN matches AS m ON m.control_report_id = c.report_id
    LEFT JOIN variants AS v ON v.report_id = m.variant_report_id"""
CANDIDATES = "coalesce(m.candidates, 0)"
SUPERSEDED = """SELECT experiment_id, arm, report_id, opportunity_key FROM unmatched
WHERE reason = 'superseded' AND """


def pair_by_nearest(
    connection: duckdb.DuckDBPyConnection, whole: Sequence[Rule], behind: Sequence[tuple[Rule, int]]
) -> Change:
    """Matches what is new, inside the caller's transaction, one experiment after another.

    Args:
        connection: The warehouse; the temporary tables of `read_rules` are there.
        whole: Experiments to pair from scratch.
        behind: Experiments to bring up to date, each with the newest batch its pairs know of.
    """
    change = Change()
    for rule in whole:
        change = change.plus(_pair_all(connection, rule))
    for rule, batch in behind:
        change = change.plus(_pair_touched(connection, rule, batch))
    return change


def _pair_all(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Change:
    own = _own(rule)
    change = Change(remove_pairs(connection, own))
    for table in ("unmatched", "pairing_segments"):
        delete(connection, table, own)
    parts = chunks(connection)
    for part in range(parts):
        scope = f"a.{own} AND hash(r.market_id) % {parts} = {part} AND {_WITHIN}"
        gather(connection, "reports", scope)
        keep(connection, "superseded", query("superseded"))
        replaced = _insert_superseded(connection)
        change = change.plus(_match(connection, rule)).plus(Change(0, 0, replaced))
    return change


def _pair_touched(connection: duckdb.DuckDBPyConnection, rule: Rule, batch: int) -> Change:
    own = _own(rule)
    seen = fetch_touched(connection, [(rule.experiment_id, batch)])
    gather(connection, "fetched", f"a.{own} AND {_WITHIN}")
    keep(connection, "superseded", query("superseded"))
    delete(
        connection,
        "unmatched",
        f"{seen.format(time='emitted_at')} AND {own} AND reason = 'superseded'"
        " AND opportunity_key IN (SELECT opportunity_key FROM touched)",
    )
    replaced = _insert_superseded(connection)
    keep(connection, "points", query("nearest_points"))
    change = Change(0, 0, replaced)
    span = connection.execute("SELECT min(emitted_at), max(emitted_at) FROM points").fetchone()
    if span is not None and span[0] is not None:
        change = change.plus(_rematch(connection, rule, span))
    drop(connection, "behind", "touched", "points", "superseded")
    drop_gathered(connection)
    return change


def _rematch(connection: duckdb.DuckDBPyConnection, rule: Rule, span: tuple[object, object]) -> Change:
    """Matches the segments near the points anew."""
    own, tolerance = _own(rule), f"INTERVAL {rule.tolerance_us} MICROSECOND"
    near = f"s.ends_at >= TIMESTAMP '{span[0]}' - {tolerance} AND s.starts_at <= TIMESTAMP '{span[1]}' + {tolerance}"
    keep(
        connection,
        "affected",
        query("nearest_affected", experiment_id=rule.experiment_id, near=near, tolerance=tolerance),
    )
    keep(connection, "stretches", query("nearest_stretches"))
    reach = connection.execute("SELECT min(starts_at), max(ends_at) FROM stretches").fetchone()
    low, high = reach if reach is not None else span
    change = Change(remove_pairs(connection, f"{own} AND {_within_stretch('pairs', 'pair_time', low, high)}"))
    delete(
        connection,
        "unmatched",
        f"{own} AND reason <> 'superseded' AND {_within_stretch('unmatched', 'emitted_at', low, high)}",
    )
    delete(
        connection,
        "pairing_segments",
        f"{own} AND (market_id, outcome_id, side, starts_at) IN "
        "(SELECT market_id, outcome_id, side, starts_at FROM affected)",
    )
    fetch(connection, _within_stretch("reports", "emitted_at", low, high))
    gather(connection, "fetched", f"a.{own} AND {_WITHIN}")
    keep(
        connection,
        "superseded",
        f"{SUPERSEDED}{own} AND emitted_at BETWEEN TIMESTAMP '{low}' AND TIMESTAMP '{high}'",
    )
    change = change.plus(_match(connection, rule))
    drop(connection, "affected", "stretches")
    return change


def _match(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Change:
    """Writes pairs, unmatched reports and segments of what is gathered and not superseded."""
    view_counting(connection)
    tolerance = {"tolerance_us": rule.tolerance_us}
    keep(
        connection,
        "timeline",
        query("nearest_timeline", moment=columns.microseconds("emitted_at"), **tolerance),
    )
    insert(connection, "pairing_segments", query("nearest_segments", experiment_id=rule.experiment_id))
    keep(connection, "stacks", query("nearest_stacks"))
    keep(connection, "links", query("nearest_together"))
    delete(connection, "stacks", "taken = height")
    while True:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW heads AS {query('nearest_heads')}")
        keep(connection, "looked", query("nearest_looked", **tolerance))
        if not keep(connection, "found", query("nearest_round")):
            break
        insert(connection, "links", "SELECT * FROM found")
        keep(connection, "stacks", query("nearest_left"))
    keep(connection, "matches", query("nearest_matches"))
    pairs = insert_pairs(connection, PARTNER, CANDIDATES)
    unmatched = insert(
        connection, "unmatched", query("nearest_unmatched", block=columns.block("u.emitted_at"))
    )
    drop_gathered(connection)
    connection.execute("DROP VIEW temp.heads")
    drop(connection, "timeline", "stacks", "links", "looked", "found", "matches", "superseded")
    return Change(0, pairs, unmatched)


_WITHIN = "r.emitted_at >= t.starts_at AND r.emitted_at <= t.ends_at"


def _own(rule: Rule) -> str:
    """The condition that a row is the experiment's; ids are plain (see `Plan`), so they need no quoting."""
    return f"experiment_id = '{rule.experiment_id}'"


def _within_stretch(table: str, time: str, low: object, high: object) -> str:
    """The condition that a row lies in a stretch to be matched again; the limits keep the scan short."""
    return (
        f"{table}.{time} BETWEEN TIMESTAMP '{low}' AND TIMESTAMP '{high}' AND EXISTS ("
        f"SELECT 1 FROM stretches AS x WHERE x.market_id = {table}.market_id"
        f" AND x.outcome_id = {table}.outcome_id AND x.side = {table}.side"
        f" AND {table}.{time} >= x.starts_at AND {table}.{time} <= x.ends_at)"
    )


def _insert_superseded(connection: duckdb.DuckDBPyConnection) -> int:
    return insert(connection, "unmatched", query("nearest_superseded", block=columns.block("g.emitted_at")))
