"""Steps that both methods of matching use: find the reports that count, write pairs, remove pairs."""

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
"""Memory that a report needs while it is matched, in bytes, with a reserve; measured with limits of 0.5 to 2 GB."""


COUNTING = {"control": "controls", "variant": "variants", "replay": "replayed_controls"}
"""The view with each arm's reports that count, see `view_counting`."""


def same_opportunity(view: str, alias: str) -> str:
    """The join that finds another arm's report of the same opportunity as the control `c`."""
    return f"""LEFT JOIN {view} AS {alias}
        ON {alias}.experiment_id = c.experiment_id AND {alias}.opportunity_key = c.opportunity_key
        AND {alias}.correlation_id = c.correlation_id AND {alias}.market_id = c.market_id
        AND {alias}.outcome_id = c.outcome_id AND {alias}.side = c.side"""


REPLAYED = same_opportunity(COUNTING["replay"], "r")
"""The join that finds the backtester's replay of the control `c`."""


class Change(NamedTuple):
    """Numbers of rows that one step removed and wrote."""

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
    """Into how many parts the reports are divided when everything is paired again, so that a part fits into memory.

    It is 1 on a cluster, which divides its work itself.
    """
    if not engine.local:
        return 1
    ((reports, memory),) = engine.connection.execute(
        "SELECT count(*), parse_formatted_bytes(current_setting('memory_limit')) FROM reports"
    ).fetchall()
    parts: int = -(-reports * BYTES_A_REPORT // memory)
    return max(1, parts)


def keep_touched(engine: Engine, behind: Sequence[tuple[str, int]]) -> int:
    """Makes the temporary tables `behind` and `touched`: the opportunities with new or removed reports.

    Args:
        engine: Where the rows are.
        behind: Experiments, each with the newest batch that its pairs include.

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
    """Makes the temporary tables `behind`, `touched` and `fetched`: new reports, and all reports of their
    opportunities.

    Args:
        engine: Where the rows are.
        behind: Experiments, each with the newest batch that its pairs include.

    Returns:
        The range of times of the rows that were written for these opportunities before. Each such time is the time of
        one of their reports, so all rows outside the range can be ignored.
    """
    return fetch_opportunities(engine, keep_touched(engine, behind))


def fetch_opportunities(engine: Engine, after: int | None = None) -> Times:
    """Makes the temporary table `fetched`: all reports of the opportunities in `touched`.

    Args:
        engine: Where the rows are.
        after: Reports that a conflict removed in a later batch than this one are included in the times.

    Returns:
        The range of times of the rows that were written for them before, see `fetch_touched`.
    """
    fetch(engine, "opportunity_key IN (SELECT opportunity_key FROM touched)")
    displaced = "" if after is None else f" UNION ALL SELECT emitted_at FROM displaced WHERE batch > {after}"
    row = engine.connection.execute(
        f"SELECT min(emitted_at), max(emitted_at) FROM (SELECT emitted_at FROM fetched{displaced}) AS concerned"
    ).fetchone()
    return Times(*row) if row is not None else Times()


def fetch(engine: Engine, condition: str) -> None:
    """Makes the temporary table `fetched`: the reports for which a condition holds.

    Their row numbers are found first, which reads only the few columns of the condition. Then the many columns of a
    report are read only for these rows, and not for all reports.
    """
    rows = f"SELECT rowid FROM reports WHERE {condition}"
    engine.create_temp("fetched", f"SELECT * FROM reports WHERE rowid IN ({rows})")


def gather(engine: Engine, reports: str, scope: str) -> None:
    """Makes the temporary table `gathered`: the arms' reports from a table of reports `r`, see the query `gather`.

    It is a table and not a view, since four queries read it; to write it once was faster than to compute it four times.
    """
    engine.create_temp(
        "gathered", load(__package__, "gather", metrics=columns.METRICS, reports=reports, scope=scope)
    )
    engine.drop("fetched")


def view_counting(engine: Engine, counts: str) -> None:
    """Makes the temporary views of `COUNTING`: for each arm, the gathered reports that count and are not superseded.

    Args:
        engine: Where the rows are.
        counts: The condition that a gathered report `g` counts.
    """
    for arm, view in COUNTING.items():
        engine.create_view(view, load(__package__, "counting", arm=arm, counts=counts))


def insert_pairs(engine: Engine, partner: str, candidates: str) -> int:
    """Writes the pairs of a method of matching, and their cells to `stale_cells`; returns the number of pairs.

    Args:
        engine: Where the rows are, with the views of `view_counting`.
        partner: The join that finds a control's variant `v`.
        candidates: The expression for the number of controls within the variant's reach.
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
    """The experiments with rows in a table of stale cells or paths, which a later step has to compute again."""
    rows = connection.execute(f"SELECT DISTINCT experiment_id FROM {table} ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def view_stale(engine: Engine, trades: str | None = None) -> list[str]:
    """The experiments with a stale cell. On an engine elsewhere, also makes a view `stale_cells` with all their cells.

    Args:
        engine: Where the rows are.
        trades: The query for the trades, if all trades are compared in any experiment; these need not be in pairs.

    Returns:
        The experiments.
    """
    experiments = stale_experiments(engine.connection, "stale_cells")
    if not engine.local:
        tables = ["pairs", *([f"({trades}) AS trades"] if trades else [])]
        stale = (load(__package__, "stale", pairs=f"{table} WHERE {among(experiments)}") for table in tables)
        engine.create_view("stale_cells", " UNION ".join(stale))
    return experiments


def remove_pairs(engine: Engine, condition: str) -> int:
    """Removes the pairs for which a condition holds, and writes their cells to `stale_cells`; returns their number."""
    count = engine.delete_returning("removed", "pairs", "experiment_id, block, market_id", condition)
    engine.insert("stale_cells", load(__package__, "stale", pairs="removed"))
    return count
