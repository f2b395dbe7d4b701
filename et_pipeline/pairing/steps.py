"""What both ways of matching share: what a step changed, the reports that count, pairs in and out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from et_pipeline.common.sql import among, load
from et_pipeline.pairing import columns

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.warehouse.engine import Engine

BYTES_A_REPORT = 950
"""Memory that a report takes while it is matched, with room to spare: measured at limits of 0.5 to 2 GB."""


COUNTING = {"control": "controls", "variant": "variants", "replay": "replayed_controls"}
"""Each arm's view of the reports that count, see `view_counting`."""


def same_opportunity(view: str, alias: str) -> str:
    """The join that finds the report of a control's `c` opportunity among those of another arm."""
    return f"""LEFT JOIN {view} AS {alias}
        ON {alias}.experiment_id = c.experiment_id AND {alias}.opportunity_key = c.opportunity_key
        AND {alias}.correlation_id = c.correlation_id AND {alias}.market_id = c.market_id
        AND {alias}.outcome_id = c.outcome_id AND {alias}.side = c.side"""


REPLAYED = same_opportunity(COUNTING["replay"], "r")
"""The join that finds what the backtester made of the control's own opportunity."""


class Change(NamedTuple):
    """Rows taken away and written by one step."""

    removed: int = 0
    pairs: int = 0
    unmatched: int = 0

    def plus(self, other: Change) -> Change:
        """Both changes together."""
        return Change(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Times(NamedTuple):
    """The first and the last time of some rows; None where there is no row."""

    first: datetime | None = None
    last: datetime | None = None

    def condition(self, column: str) -> str:
        """The SQL condition that a column lies within these times."""
        if self.first is None:
            return "false"
        return f"{column} BETWEEN TIMESTAMP '{self.first}' AND TIMESTAMP '{self.last}'"


def chunks(engine: Engine) -> int:
    """Into how many parts everything is cut when all is paired again, so that one fits the memory limit.

    A cluster cuts its work itself.
    """
    if not engine.local:
        return 1
    ((reports, memory),) = engine.connection.execute(
        "SELECT count(*), parse_formatted_bytes(current_setting('memory_limit')) FROM reports"
    ).fetchall()
    parts: int = -(-reports * BYTES_A_REPORT // memory)
    return max(1, parts)


def keep_touched(engine: Engine, behind: Sequence[tuple[str, int]]) -> int:
    """Makes the temporary tables `behind` and `touched`: the opportunities with anything new.

    Args:
        engine: Where the rows are.
        behind: Experiments and the newest batch their pairs know of.

    Returns:
        The oldest of these batches.
    """
    engine.warehouse.create_temp(
        "behind", "SELECT NULL::VARCHAR AS experiment_id, NULL::BIGINT AS batch WHERE false"
    )
    engine.connection.executemany("INSERT INTO behind VALUES (?, ?)", behind)
    engine.share("behind")
    after = min(batch for _, batch in behind)
    engine.create_temp("touched", load(__package__, "touched", after=after))
    return after


def fetch_touched(engine: Engine, behind: Sequence[tuple[str, int]]) -> Times:
    """Makes the temporary tables `behind`, `touched` and `fetched`: what is new, and all that it concerns.

    Args:
        engine: Where the rows are.
        behind: Experiments and the newest batch their pairs know of.

    Returns:
        The times of what was written for touched opportunities before: each was one of their reports' times,
        so most of history need not be looked at.
    """
    return fetch_opportunities(engine, keep_touched(engine, behind))


def fetch_opportunities(engine: Engine, after: int | None = None) -> Times:
    """Makes the temporary table `fetched`: all reports of the opportunities in `touched`.

    Args:
        engine: Where the rows are.
        after: Reports that a conflict took out again in a later batch than this one count for the times.

    Returns:
        The times of what was written for them before, see `fetch_touched`.
    """
    fetch(engine, "opportunity_key IN (SELECT opportunity_key FROM touched)")
    displaced = "" if after is None else f" UNION ALL SELECT emitted_at FROM displaced WHERE batch > {after}"
    row = engine.connection.execute(
        f"SELECT min(emitted_at), max(emitted_at) FROM (SELECT emitted_at FROM fetched{displaced}) AS concerned"
    ).fetchone()
    return Times(*row) if row is not None else Times()


def fetch(engine: Engine, condition: str) -> None:
    """Keeps the reports that a condition holds for in the temporary table `fetched`.

    Their row numbers are found first, in the few columns of the condition; the many columns of a report are
    read only where those rows lie, not through all history.
    """
    rows = f"SELECT rowid FROM reports WHERE {condition}"
    engine.create_temp("fetched", f"SELECT * FROM reports WHERE rowid IN ({rows})")


def gather(engine: Engine, reports: str, scope: str) -> None:
    """Makes the temporary table `gathered`: the arms' reports out of a table of reports `r`, see the query `gather`.

    A table and not a view: four queries read it, and writing it down once took less than reading four times.
    """
    engine.create_temp(
        "gathered", load(__package__, "gather", metrics=columns.METRICS, reports=reports, scope=scope)
    )
    engine.drop("fetched")


def view_counting(engine: Engine, counts: str) -> None:
    """Makes the temporary views of `COUNTING`: what is gathered, counts, and is not superseded, by arm.

    Args:
        engine: Where the rows are.
        counts: The condition that a gathered report `g` counts.
    """
    for arm, view in COUNTING.items():
        engine.create_view(view, load(__package__, "counting", arm=arm, counts=counts))


def insert_pairs(engine: Engine, partner: str, candidates: str) -> int:
    """Writes the pairs that a way of matching made, and their cells to `stale_cells`; returns their number.

    Args:
        engine: Where the rows are, with the views of `view_counting`.
        partner: The join that finds a control's variant `v`.
        candidates: How many controls the variant could have had.
    """
    engine.create_temp(
        "made",
        load(
            __package__,
            "pairs",
            block=columns.block("p.pair_time"),
            values=columns.VALUES,
            uplifts=columns.UPLIFTS,
            replays=columns.REPLAYS,
            paired=columns.PAIRED,
            partner=partner,
            replayed=REPLAYED,
            candidates=candidates,
        ),
    )
    engine.insert("stale_cells", load(__package__, "stale", pairs="made"))
    return engine.insert("pairs", "SELECT * FROM made", by_name=True)


def stale_experiments(
    connection: duckdb.DuckDBPyConnection, table: Literal["stale_cells", "stale_paths"]
) -> list[str]:
    """The experiments that a step left something to do about: what their rows are has changed."""
    rows = connection.execute(f"SELECT DISTINCT experiment_id FROM {table} ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def view_stale(engine: Engine, trades: str | None = None) -> list[str]:
    """Makes `stale_cells` known to an engine elsewhere: every cell of the experiments with a stale one.

    Args:
        engine: Where the rows are.
        trades: The query for trades that are in cells although they are in no pair, if there are any.

    Returns:
        These experiments.
    """
    experiments = stale_experiments(engine.connection, "stale_cells")
    if not engine.local:
        tables = ["pairs", *([f"({trades}) AS trades"] if trades else [])]
        stale = (load(__package__, "stale", pairs=f"{table} WHERE {among(experiments)}") for table in tables)
        engine.create_view("stale_cells", " UNION ".join(stale))
    return experiments


def remove_pairs(engine: Engine, condition: str) -> int:
    """Takes away the pairs that a condition holds for and writes their cells to `stale_cells`."""
    count = engine.delete_returning("removed", "pairs", "experiment_id, block, market_id", condition)
    engine.insert("stale_cells", load(__package__, "stale", pairs="removed"))
    return count
