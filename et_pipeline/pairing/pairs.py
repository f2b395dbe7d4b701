"""Matched pairs from reports: what is new is paired, what it touches is paired again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common import sql
from et_pipeline.contracts.plan import LARGE_SPLIT_PCT
from et_pipeline.pairing.correlation import pair_by_correlation
from et_pipeline.pairing.nearest import pair_by_nearest
from et_pipeline.pairing.progress import note_progress
from et_pipeline.pairing.rules import Rule, read_rules
from et_pipeline.pairing.steps import Change, keep_touched
from et_pipeline.warehouse.connection import transaction
from et_pipeline.warehouse.engine import DuckDBEngine, Engine

if TYPE_CHECKING:
    import duckdb


class PairsResult(NamedTuple):
    """What one run of `build_pairs` did.

    Attributes:
        batch: Number of the newest ingest transaction that the pairs now know of.
        rebuilt: Experiments paired from scratch: new ones, and those whose rule changed.
        removed: Pairs taken away before being matched again.
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

    Only opportunities with new reports (or ones that a conflict took out again) are matched again; the
    cells they touch are written to `stale_cells`. All in one transaction: a crash leaves the old state.

    Args:
        connection: The warehouse, outside any transaction.
        experiments: Experiments that are sampling; others keep what they have.
        full: Pair everything again, whatever was paired before.
        engine: Where the reports and pairs are; without one, in the warehouse.

    Raises:
        ValueError: An experiment is not registered.
    """
    engine = engine or DuckDBEngine(connection)
    with transaction(connection):
        rules = read_rules(engine, experiments)
        known = connection.execute("SELECT experiment_id, rule_hash, batch FROM pairing_progress").fetchall()
        progress = {experiment_id: (rule_hash, batch) for experiment_id, rule_hash, batch in known}
        newest = _newest_batch(engine)
        whole = [
            rule for rule in rules if full or progress.get(rule.experiment_id, ("", 0))[0] != rule.rule_hash
        ]
        behind = [
            (rule, progress[rule.experiment_id][1])
            for rule in rules
            if rule not in whole and progress[rule.experiment_id][1] < newest
        ]
        advancing = [rule for rule, _ in behind]
        if behind and not engine.local:
            touched = _touched(engine, behind)
            whole += [rule for rule in advancing if rule.experiment_id in touched]
            behind = []
        change = Change()
        for method, pair in (("correlation", pair_by_correlation), ("nearest", pair_by_nearest)):
            change = change.plus(
                pair(
                    engine,
                    [rule for rule in whole if rule.method == method],
                    [(rule, batch) for rule, batch in behind if rule.method == method],
                )
            )
        changed = [rule.experiment_id for rule in (*whole, *(rule for rule, _ in behind))]
        if changed:
            note_progress(engine, changed)
        engine.finish([rule.experiment_id for rule in whole])
        _advance(connection, {*whole, *advancing}, newest)
    return PairsResult(newest, tuple(rule.experiment_id for rule in whole), *change)


def sampled(connection: duckdb.DuckDBPyConnection, experiments: Sequence[str]) -> list[str]:
    """Those of the experiments that are registered and may be sampled, see `sampled.sql`."""
    wanted = {"experiments": list(experiments), "large_split": LARGE_SPLIT_PCT}
    rows = connection.execute(sql.load(__package__, "sampled"), wanted).fetchall()
    return [row[0] for row in rows]


def _newest_batch(engine: Engine) -> int:
    ((newest,),) = engine.rows(
        "SELECT max(batch) FROM "
        "(SELECT max(batch) AS batch FROM reports UNION ALL SELECT max(batch) FROM displaced) AS batches"
    )
    return newest or 0


def _touched(engine: Engine, behind: Sequence[tuple[Rule, int]]) -> set[str]:
    """The experiments with a new report, or with one that a conflict took out again."""
    keep_touched(engine, [(rule.experiment_id, batch) for rule, batch in behind])
    touched = {name for (name,) in engine.rows("SELECT DISTINCT experiment_id FROM touched")}
    engine.drop("behind", "touched")
    return touched


def _advance(connection: duckdb.DuckDBPyConnection, rules: Collection[Rule], batch: int) -> None:
    if not rules:
        return
    connection.execute(
        "DELETE FROM pairing_progress WHERE experiment_id IN (SELECT unnest(?::VARCHAR[]))",
        [[rule.experiment_id for rule in rules]],
    )
    connection.executemany(
        "INSERT INTO pairing_progress VALUES (?, ?, ?)",
        [(rule.experiment_id, rule.rule_hash, batch) for rule in rules],
    )
