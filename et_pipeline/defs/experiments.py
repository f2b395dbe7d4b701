"""The asset of the experiments stage: the table `experiments`, made from plans."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from et_pipeline.defs.each_experiment import log_failures
from et_pipeline.defs.partitions import SHARED, tag_experiments
from et_pipeline.defs.resource import POOL, Warehouse
from et_pipeline.defs.specs import bullets, materialized, spec

GROUP = "experiments"

DESCRIPTION = """One row per registered experiment, with the plan in force and its tuning `g`.

A plan is read from `data/experiments/*.yaml`. From EXPERIMENT_STARTED on, its statistical part is frozen:
a changed file is refused, and the check **plan_frozen** shows this until the file is corrected.

    SELECT experiment_id, mode, starts_at, ends_at, plan_hash FROM experiments;
"""


@dg.multi_asset(
    name="experiments",
    specs=[spec("experiments", group=GROUP, description=DESCRIPTION, kinds=("duckdb", "yaml"))],
    check_specs=[
        dg.AssetCheckSpec(
            "plans_valid",
            asset="experiments",
            description="Every plan file could be registered as it is.",
        ),
        dg.AssetCheckSpec(
            "plan_frozen",
            asset="experiments",
            description="No file tries to change a plan that EXPERIMENT_STARTED has frozen.",
        ),
    ],
    pool=POOL,
)
def experiments(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Registers new plans, applies allowed changes, refuses the rest."""
    from et_pipeline.experiments.registered import registered_ids
    from et_pipeline.experiments.registration import register

    settings = warehouse.settings
    with warehouse.open() as connection:
        outcome = register(connection, settings, settings.now())
        result = materialized(
            connection,
            "experiments",
            version=SHARED,
            registered=len(outcome.registered),
            amended=len(outcome.amended),
            refused=len(outcome.refused),
        )
        known = registered_ids(connection)
    log_failures(context.log, warehouse, outcome.failures)
    tag_experiments(context, [*outcome.registered, *outcome.amended])
    for refusal in outcome.refused:
        context.log.warning(f"plan refused: {refusal}")
    frozen = [refusal for refusal in outcome.refused if refusal.experiment_id in known]
    invalid = [refusal for refusal in outcome.refused if refusal.experiment_id not in known]
    yield result
    for name, refusals in (("plans_valid", invalid), ("plan_frozen", frozen)):
        yield dg.AssetCheckResult(
            asset_key="experiments",
            check_name=name,
            passed=not refusals,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"refusals": bullets(map(str, refusals))},
        )
