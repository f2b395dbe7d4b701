"""The pairing rules of experiments: whose reports belong to which arm, and how they are matched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import Metric, metric_of
from et_pipeline.contracts.plan import content_hash
from et_pipeline.experiments.registered import RegisteredExperiment, registered_experiments
from et_pipeline.pairing.columns import every_limit

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine


MEANING = 4
"""Version of the pairing rules. If it is changed, every experiment is paired again, as after a change of its plan."""


def rule_hash(experiment: RegisteredExperiment) -> str:
    """Hash of everything on which pairs and cells depend besides reports; if it changes, all is paired again."""
    rule = (
        experiment.experiment_id, experiment.matching, experiment.tolerance_us, experiment.on_no_trade, experiment.mode,
        experiment.time_block_us, experiment.starts_at, experiment.ends_at,
        experiment.control_strategy_id, experiment.control_config_version,
        experiment.variant_strategy_id, experiment.variant_config_version,
    )  # fmt: skip
    limits = sorted((metric.name, metric.winsor_lower, metric.winsor_upper) for metric in experiment.metrics)
    return content_hash([MEANING, [str(item) for item in rule], limits])


def prepare(engine: Engine, experiments: Sequence[str]) -> None:
    """Makes the temporary tables `chosen` (the given experiments) and `terms`.

    `terms` has one row per registered experiment: block length, window, what a missing report of the variant means, up
    to which block it has that meaning, and the winsor limits of each metric.
    """
    engine.warehouse.create_temp("chosen", "SELECT NULL::VARCHAR AS experiment_id WHERE false")
    engine.connection.execute("INSERT INTO chosen SELECT DISTINCT unnest(?::VARCHAR[])", [list(experiments)])
    keep_terms(engine)
    engine.share("chosen")


def keep_terms(engine: Engine) -> None:
    """Makes the temporary table `terms` from the present plans and `arm_progress`."""
    limits = every_limit(planned_metrics(engine))
    engine.warehouse.create_temp("terms", load(__package__, "terms", limits=limits))
    engine.share("terms")


def planned_metrics(engine: Engine) -> list[Metric]:
    """The metrics of the plans of the experiments in `chosen`, by name."""
    return [metric_of(name) for (name,) in engine.warehouse.rows(load(__package__, "planned"))]


def prepare_pairing(engine: Engine, experiments: Sequence[str]) -> list[RegisteredExperiment]:
    """Reads the experiments, and makes the temporary tables of `prepare` and the table `arms`.

    `arms` has one row per experiment and arm: which reports belong to it.

    Raises:
        ValueError: An experiment is not registered.
    """
    prepare(engine, experiments)
    known = registered_experiments(engine.connection, experiments)
    unknown = sorted(set(experiments) - {experiment.experiment_id for experiment in known})
    if unknown:
        raise ValueError(f"not registered: {', '.join(unknown)}; put a plan into data/experiments first")
    engine.warehouse.create_temp("arms", load(__package__, "arms"))
    engine.share("arms")
    return known
