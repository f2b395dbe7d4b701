"""The pairing rules of experiments: whose reports belong to which arm, and how they are matched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.contracts.plan import content_hash
from et_pipeline.pairing.columns import LIMITS
from et_pipeline.pairing.statements import query
from et_pipeline.warehouse.engine import DuckDBEngine

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine


MEANING = 2
"""Of the rules themselves: another number has every experiment paired anew, as a changed plan does."""


class Rule(NamedTuple):
    """How one experiment's reports become pairs.

    Attributes:
        experiment_id: The experiment.
        method: `correlation` or `nearest`.
        tolerance_us: Largest distance of a nearest pair, in microseconds.
        on_no_trade: What an opportunity means on which the variant did not trade.
        rule_hash: Hash of everything that decides which pairs and cells there are, so that a changed rule
            is noticed and everything is paired again.
    """

    experiment_id: str
    method: str
    tolerance_us: int | None
    on_no_trade: str
    rule_hash: str


def prepare(engine: Engine, experiments: Sequence[str]) -> None:
    """Makes the temporary tables `chosen` (the experiments asked for) and `terms`.

    `terms` has one row per registered one: block length, window, what a missing variant means, up to which
    block it has that meaning, and the winsor limits of each metric.
    """
    engine.connection.execute("CREATE OR REPLACE TEMP TABLE chosen (experiment_id VARCHAR)")
    engine.connection.execute("INSERT INTO chosen SELECT DISTINCT unnest(?::VARCHAR[])", [list(experiments)])
    keep_terms(engine)
    engine.send("chosen")


def keep_terms(engine: Engine) -> None:
    """Makes `terms` as the plans and `arm_progress` have them now."""
    DuckDBEngine(engine.connection).keep("terms", query("terms", limits=LIMITS))
    engine.send("terms")


def read_rules(engine: Engine, experiments: Sequence[str]) -> list[Rule]:
    """The rules of experiments; also makes the temporary tables of `prepare`, and `arms`.

    `arms` has one row per experiment and arm: which reports belong to it.

    Raises:
        ValueError: An experiment is not registered.
    """
    prepare(engine, experiments)
    rows = engine.connection.execute(query("rules")).fetchall()
    unknown = sorted(set(experiments) - {row[0] for row in rows})
    if unknown:
        raise ValueError(f"not registered: {', '.join(unknown)}; put a plan into data/experiments first")
    metrics: dict[str, list[tuple[object, ...]]] = {}
    for experiment_id, *rest in engine.connection.execute(
        "SELECT experiment_id, metric, winsor_lower, winsor_upper FROM experiment_metrics ORDER BY ALL"
    ).fetchall():
        metrics.setdefault(experiment_id, []).append(tuple(rest))
    DuckDBEngine(engine.connection).keep("arms", query("arms"))
    engine.send("arms")
    return [
        Rule(
            row[0],
            row[1],
            row[2],
            row[3],
            content_hash([MEANING, [str(item) for item in row], metrics.get(row[0], [])]),
        )
        for row in rows
    ]
