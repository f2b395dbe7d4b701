"""Pairs by nearest time: one to one, without replacement, greedy over all possible matches in order of distance.

Reports of one market, outcome and side form a timeline. A gap that is longer than the tolerance divides it into
segments that do not influence each other, so only segments near new reports are matched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from et_pipeline.common.sql import among, load
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.pairing import columns
from et_pipeline.pairing.arms import mark_stale
from et_pipeline.pairing.steps import (
    Change,
    chunks,
    fetch,
    fetch_touched,
    gather,
    insert_pairs,
    remove_pairs,
    view_counting,
)

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine

PARTNER = """LEFT JOIN matches AS m ON m.control_report_id = c.report_id
    LEFT JOIN variants AS v ON v.report_id = m.variant_report_id"""
CANDIDATES = "coalesce(m.candidates, 0)"
INSIDE = "g.outside IS NULL"
TRADED_INSIDE = f"{INSIDE} AND g.decision = 'traded'"
"""The condition that a report is matched by time: only trades are. A pass is counted, but gets no partner."""
ALONE = "reason IN ('no_variant', 'no_control')"
"""The reasons in `unmatched` that are a result of matching; the other reasons do not depend on it."""
SUPERSEDED = """SELECT experiment_id, arm, report_id, opportunity_key FROM unmatched
WHERE reason = 'superseded' AND """


def pair_by_nearest(
    engine: Engine, whole: Sequence[RegisteredExperiment], behind: Sequence[tuple[RegisteredExperiment, int]]
) -> Change:
    """Matches new reports of one experiment after another, inside the caller's transaction.

    Args:
        engine: Where the rows are; the temporary tables of `prepare_pairing` are there.
        whole: Experiments to pair from the beginning.
        behind: Experiments to update, each with the newest batch that its pairs include.
    """
    change = Change()
    for experiment in whole:
        change = change.plus(_pair_all(engine, experiment))
    for experiment, batch in behind:
        with engine.scope():
            change = change.plus(_pair_touched(engine, experiment, batch))
    return change


def _pair_all(engine: Engine, experiment: RegisteredExperiment) -> Change:
    own = among([experiment.experiment_id])
    change = Change(remove_pairs(engine, own))
    engine.delete("unmatched", own)
    if engine.local:
        engine.delete("pairing_segments", own)
    parts = chunks(engine)
    if not experiment.paired:
        cells = f"SELECT DISTINCT experiment_id, block, market_id FROM series_cells WHERE {own}"
        engine.warehouse.insert("stale_cells", cells)
    for part in range(parts):
        share = f" AND hash(r.market_id) % {parts} = {part}" if parts > 1 else ""
        with engine.scope():
            gather(engine, "reports", f"a.{own}{share}")
            if not experiment.paired:
                mark_stale(engine, own)
            engine.create_temp("superseded", load(__package__, "superseded", inside=INSIDE))
            apart = _insert_apart(engine)
            change = change.plus(_match(engine, experiment)).plus(Change(0, 0, apart))
    return change


def _pair_touched(engine: Engine, experiment: RegisteredExperiment, batch: int) -> Change:
    own = among([experiment.experiment_id])
    seen = fetch_touched(engine, [(experiment.experiment_id, batch)])
    gather(engine, "fetched", f"a.{own}")
    if not experiment.paired:
        mark_stale(engine, own, batch)
    engine.create_temp("superseded", load(__package__, "superseded", inside=INSIDE))
    engine.delete(
        "unmatched",
        f"{seen.condition('emitted_at')} AND {own} AND NOT {ALONE}"
        " AND opportunity_key IN (SELECT opportunity_key FROM touched)",
    )
    apart = _insert_apart(engine)
    engine.create_temp("points", load(__package__, "nearest_points"))
    change = Change(0, 0, apart)
    span = engine.connection.execute("SELECT min(emitted_at), max(emitted_at) FROM points").fetchone()
    if span is not None and span[0] is not None:
        change = change.plus(_rematch(engine, experiment, span))
    return change


def _rematch(engine: Engine, experiment: RegisteredExperiment, span: tuple[object, object]) -> Change:
    """Matches the segments near the points in `points` again."""
    own, tolerance = among([experiment.experiment_id]), f"INTERVAL {experiment.tolerance_us} MICROSECOND"
    near = f"s.ends_at >= TIMESTAMP '{span[0]}' - {tolerance} AND s.starts_at <= TIMESTAMP '{span[1]}' + {tolerance}"
    engine.create_temp(
        "affected",
        load(
            __package__,
            "nearest_affected",
            experiment_id=experiment.experiment_id,
            near=near,
            tolerance=tolerance,
        ),
    )
    engine.create_temp("stretches", load(__package__, "nearest_stretches"))
    reach = engine.connection.execute("SELECT min(starts_at), max(ends_at) FROM stretches").fetchone()
    low, high = reach if reach is not None else span
    change = Change(remove_pairs(engine, f"{own} AND {_within_stretch('pairs', 'pair_time', low, high)}"))
    engine.delete(
        "unmatched",
        f"{own} AND {ALONE} AND {_within_stretch('unmatched', 'emitted_at', low, high)}",
    )
    engine.delete(
        "pairing_segments",
        f"{own} AND (market_id, outcome_id, side, starts_at) IN "
        "(SELECT market_id, outcome_id, side, starts_at FROM affected)",
    )
    fetch(engine, _within_stretch("reports", "emitted_at", low, high))
    gather(engine, "fetched", f"a.{own}")
    engine.create_temp(
        "superseded",
        f"{SUPERSEDED}{own} AND emitted_at BETWEEN TIMESTAMP '{low}' AND TIMESTAMP '{high}'",
    )
    return change.plus(_match(engine, experiment))


def _match(engine: Engine, experiment: RegisteredExperiment) -> Change:
    """Writes pairs, unmatched reports and segments of the gathered reports that are not superseded."""
    view_counting(engine, TRADED_INSIDE)
    tolerance = {"tolerance_us": experiment.tolerance_us}
    engine.create_temp(
        "timeline",
        load(__package__, "nearest_timeline", moment=columns.microseconds("emitted_at"), **tolerance),
    )
    if engine.local:
        engine.insert(
            "pairing_segments", load(__package__, "nearest_segments", experiment_id=experiment.experiment_id)
        )
    engine.create_temp("stacks", load(__package__, "nearest_stacks"))
    engine.create_temp("links", load(__package__, "nearest_together"))
    engine.create_temp("stacks", "SELECT * FROM stacks WHERE taken < height")
    while True:
        engine.create_view("heads", load(__package__, "nearest_heads"))
        engine.create_temp("looked", load(__package__, "nearest_looked", **tolerance))
        if not engine.create_temp("found", load(__package__, "nearest_round")):
            break
        engine.insert("links", "SELECT * FROM found")
        engine.create_temp("stacks", load(__package__, "nearest_left"))
    engine.create_temp("matches", load(__package__, "nearest_matches"))
    pairs = insert_pairs(engine, PARTNER, CANDIDATES)
    unmatched = engine.insert(
        "unmatched", load(__package__, "nearest_unmatched", block=columns.block("u.emitted_at"))
    )
    return Change(0, pairs, unmatched)


def _within_stretch(table: str, time: str, low: object, high: object) -> str:
    """The condition that a row lies in a stretch that is matched again; the limits of time make the scan shorter."""
    return (
        f"{table}.{time} BETWEEN TIMESTAMP '{low}' AND TIMESTAMP '{high}' AND EXISTS ("
        f"SELECT 1 FROM stretches AS x WHERE x.market_id = {table}.market_id"
        f" AND x.outcome_id = {table}.outcome_id AND x.side = {table}.side"
        f" AND {table}.{time} >= x.starts_at AND {table}.{time} <= x.ends_at)"
    )


def _insert_apart(engine: Engine) -> int:
    return engine.insert("unmatched", load(__package__, "nearest_apart", block=columns.block("g.emitted_at")))
