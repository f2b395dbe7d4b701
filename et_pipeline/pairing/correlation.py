"""Pairs by correlation: a replayed report has the same `correlation_id` as the live report of its opportunity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from et_pipeline.common.sql import among, load
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.pairing import columns
from et_pipeline.pairing.progress import note_progress
from et_pipeline.pairing.rules import keep_terms
from et_pipeline.pairing.steps import (
    COUNTING,
    REPLAYED,
    Change,
    Times,
    chunks,
    fetch_opportunities,
    fetch_touched,
    gather,
    insert_pairs,
    remove_pairs,
    same_opportunity,
    view_counting,
)

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine

PARTNER = same_opportunity(COUNTING["variant"], "v")
COUNTS = "(g.arm <> 'control' OR g.outside IS NULL)"
"""The condition that a report counts. Only controls must lie in the window themselves; a replay may come at any time,
so it counts if its opportunity's control does."""
CANDIDATES = "CASE WHEN v.report_id IS NULL THEN 0 ELSE 1 END"


def pair_by_correlation(
    engine: Engine, whole: Sequence[RegisteredExperiment], behind: Sequence[tuple[RegisteredExperiment, int]]
) -> Change:
    """Matches new reports for all experiments at once, inside the caller's transaction.

    Args:
        engine: Where the rows are; the temporary tables of `prepare_pairing` are there.
        whole: Experiments to pair from the beginning.
        behind: Experiments to update, each with the newest batch that its pairs include.
    """
    change = Change()
    if whole:
        assuming = _assuming(whole)
        if assuming:
            note_progress(engine, assuming, "replayed_until")
            keep_terms(engine)
        change = change.plus(_pair_all(engine, [item.experiment_id for item in whole]))
    if behind:
        change = change.plus(_pair_touched(engine, [(item.experiment_id, batch) for item, batch in behind]))
        assuming = _assuming([item for item, _ in behind])
        if assuming:
            note_progress(engine, assuming)
            keep_terms(engine)
            change = change.plus(_settle(engine, assuming))
    return change


def _assuming(experiments: Sequence[RegisteredExperiment]) -> list[str]:
    """Experiments in which a missing replay counts as a pass, once the variant's later reports have come."""
    return [item.experiment_id for item in experiments if item.on_no_trade == "assume_zero"]


def _pair_all(engine: Engine, experiments: list[str]) -> Change:
    inside = among(experiments)
    parts = chunks(engine)
    change = Change(remove_pairs(engine, inside))
    engine.delete("unmatched", inside)
    for part in range(parts):
        share = f" AND r.opportunity_key % {parts} = {part}" if parts > 1 else ""
        with engine.scope():
            gather(engine, "reports", f"a.{inside}{share}")
            change = change.plus(_match(engine))
    return change


def _pair_touched(engine: Engine, behind: list[tuple[str, int]]) -> Change:
    with engine.scope():
        return _pair_again(engine, fetch_touched(engine, behind))


def _settle(engine: Engine, experiments: list[str]) -> Change:
    """Matches the opportunities again whose missing replay has become a pass since, or is not a pass any more."""
    with engine.scope():
        unsettled = engine.create_temp("touched", load(__package__, "unsettled", inside=among(experiments)))
        return _pair_again(engine, fetch_opportunities(engine)) if unsettled else Change()


def _pair_again(engine: Engine, seen: Times) -> Change:
    """Matches the opportunities in `touched` again; their reports are in `fetched`."""
    touched = "SELECT experiment_id, opportunity_key FROM touched"
    inside = f"(experiment_id, opportunity_key) IN ({touched})"
    change = Change(remove_pairs(engine, f"{seen.condition('pair_time')} AND {inside}"))
    engine.delete("unmatched", f"{seen.condition('emitted_at')} AND {inside}")
    gather(engine, "fetched", f"(a.experiment_id, r.opportunity_key) IN ({touched})")
    return change.plus(_match(engine))


def _match(engine: Engine) -> Change:
    """Writes the pairs and the unmatched reports of the reports in `gathered`."""
    engine.create_temp("superseded", load(__package__, "superseded", inside=COUNTS))
    view_counting(engine, COUNTS)
    pairs = insert_pairs(engine, PARTNER, CANDIDATES)
    unpaired = load(
        __package__, "correlation_unpaired", partner=PARTNER, replayed=REPLAYED, paired=columns.PAIRED
    )
    engine.create_temp("unpaired", unpaired)
    unmatched = engine.insert(
        "unmatched",
        load(__package__, "correlation_unmatched", counts=COUNTS, block=columns.block("u.emitted_at")),
    )
    return Change(0, pairs, unmatched)
