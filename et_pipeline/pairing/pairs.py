"""Makes matched pairs from reports: new reports are paired, and the opportunities that they change are paired again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.experiments.registered import RegisteredExperiment, registered_experiments, split_approved
from et_pipeline.pairing.correlation import pair_by_correlation
from et_pipeline.pairing.nearest import pair_by_nearest
from et_pipeline.pairing.progress import note_progress
from et_pipeline.pairing.rules import prepare_pairing, rule_hash
from et_pipeline.pairing.steps import Change, keep_touched
from et_pipeline.warehouse.connection import transaction
from et_pipeline.warehouse.engine import DuckDBEngine, Engine

if TYPE_CHECKING:
    import duckdb


class PairsResult(NamedTuple):
    """What one run of `build_pairs` did.

    Attributes:
        batch: Number of the newest ingest transaction that the pairs now include.
        rebuilt: Experiments that were paired from the beginning: new ones, and those whose rule changed.
        removed: Pairs that were removed before their reports were matched again.
        pairs: Pairs written.
        unmatched: Unmatched reports written.
    """

    batch: int
    rebuilt: tuple[str, ...]
    removed: int
    pairs: int
    unmatched: int


def build_pairs(
    connection: duckdb.DuckDBPyConnection,
    experiments: Sequence[str],
    *,
    full: bool = False,
    engine: Engine | None = None,
) -> PairsResult:
    """Brings `pairs` and `unmatched` of experiments up to date with the reports.

    Only opportunities with new reports (or with reports that a conflict removed again) are matched again; their
    cells are written to `stale_cells`. All of this is one transaction, so after a crash the old state is still there.

    Args:
        connection: The warehouse, outside any transaction.
        experiments: Experiments that are sampling; the rows of others stay as they are.
        full: Whether to pair everything again, whatever was paired before.
        engine: Where the reports and pairs are; by default in the warehouse.

    Raises:
        ValueError: An experiment is not registered.
    """
    engine = engine or DuckDBEngine(connection)
    with transaction(connection), engine.scope():
        known = prepare_pairing(engine, experiments)
        rows = connection.execute("SELECT experiment_id, rule_hash, batch FROM pairing_progress").fetchall()
        progress = {experiment_id: (rule, batch) for experiment_id, rule, batch in rows}
        newest = _newest_batch(engine)
        whole = [
            item for item in known if full or progress.get(item.experiment_id, ("", 0))[0] != rule_hash(item)
        ]
        behind = [
            (item, progress[item.experiment_id][1])
            for item in known
            if item not in whole and progress[item.experiment_id][1] < newest
        ]
        advancing = [item for item, _ in behind]
        if behind and not engine.local:
            touched = _touched(engine, behind)
            whole += [item for item in advancing if item.experiment_id in touched]
            behind = []
        change = Change()
        for pair, methods in ((pair_by_correlation, {"correlation"}), (pair_by_nearest, {"nearest", "arms"})):
            change = change.plus(
                pair(
                    engine,
                    [item for item in whole if item.matching in methods],
                    [(item, batch) for item, batch in behind if item.matching in methods],
                )
            )
        changed = [item.experiment_id for item in (*whole, *(item for item, _ in behind))]
        if changed:
            note_progress(engine, changed)
        engine.finish([item.experiment_id for item in whole])
        _advance(connection, {*whole, *advancing}, newest)
    return PairsResult(newest, tuple(item.experiment_id for item in whole), *change)


def sampled(connection: duckdb.DuckDBPyConnection, experiments: Sequence[str]) -> list[str]:
    """The experiments that are registered and may be sampled; one with a large split needs a sign-off before that."""
    approved = split_approved(connection)
    return [
        item.experiment_id
        for item in registered_experiments(connection, experiments)
        if not item.needs_split_sign_off or item.experiment_id in approved
    ]


def _newest_batch(engine: Engine) -> int:
    ((newest,),) = engine.rows(
        "SELECT max(batch) FROM "
        "(SELECT max(batch) AS batch FROM reports UNION ALL SELECT max(batch) FROM displaced) AS batches"
    )
    return newest or 0


def _touched(engine: Engine, behind: Sequence[tuple[RegisteredExperiment, int]]) -> set[str]:
    """The experiments with a new report, or with a report that a conflict removed again."""
    with engine.scope():
        keep_touched(engine, [(item.experiment_id, batch) for item, batch in behind])
        return {name for (name,) in engine.rows("SELECT DISTINCT experiment_id FROM touched")}


def _advance(
    connection: duckdb.DuckDBPyConnection, experiments: Collection[RegisteredExperiment], batch: int
) -> None:
    if not experiments:
        return
    connection.execute(
        "DELETE FROM pairing_progress WHERE experiment_id IN (SELECT unnest(?::VARCHAR[]))",
        [[item.experiment_id for item in experiments]],
    )
    connection.executemany(
        "INSERT INTO pairing_progress VALUES (?, ?, ?)",
        [(item.experiment_id, rule_hash(item), batch) for item in experiments],
    )
