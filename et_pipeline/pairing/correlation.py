"""Pairs by correlation: a replayed report carries the live one's `correlation_id`."""

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
"""A replay may come at any time, so it belongs to the window by its opportunity's control."""
CANDIDATES = "CASE WHEN v.report_id IS NULL THEN 0 ELSE 1 END"


def pair_by_correlation(
    engine: Engine, whole: Sequence[RegisteredExperiment], behind: Sequence[tuple[RegisteredExperiment, int]]
) -> Change:
    """Matches what is new, inside the caller's transaction, for all experiments at once.

    Args:
        engine: Where the rows are; the temporary tables of `prepare_pairing` are there.
        whole: Experiments to pair from scratch.
        behind: Experiments to bring up to date, each with the newest batch its pairs know of.
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
    """Experiments in which a missing replay comes to mean that the variant passed on the opportunity."""
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
    """Matches again what the variant has moved past since, or no longer has."""
    with engine.scope():
        unsettled = engine.create_temp("touched", load(__package__, "unsettled", inside=among(experiments)))
        return _pair_again(engine, fetch_opportunities(engine)) if unsettled else Change()


def _pair_again(engine: Engine, seen: Times) -> Change:
    """Matches the opportunities in `touched` again, whose reports are `fetched`."""
    touched = "SELECT experiment_id, opportunity_key FROM touched"
    inside = f"(experiment_id, opportunity_key) IN ({touched})"
    change = Change(remove_pairs(engine, f"{seen.condition('pair_time')} AND {inside}"))
    engine.delete("unmatched", f"{seen.condition('emitted_at')} AND {inside}")
    gather(engine, "fetched", f"(a.experiment_id, r.opportunity_key) IN ({touched})")
    return change.plus(_match(engine))


def _match(engine: Engine) -> Change:
    """Writes the pairs and the unmatched reports of what is gathered."""
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
