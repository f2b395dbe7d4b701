"""The asset `experiment`, where a person finds, compares and runs again one experiment; and a tick's last step."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.defs.each_experiment import log_failures
from et_pipeline.defs.operations.failures import failed_checks
from et_pipeline.defs.partitions import EXPERIMENTS, SOURCES, as_metadata, changed_experiments
from et_pipeline.defs.resource import INPUTS_TAG, POOL, Warehouse
from et_pipeline.defs.specs import OWNERS, page_link

if TYPE_CHECKING:
    import duckdb

GROUP = "insight"

EXPERIMENT = """One experiment: its state, verdict, newest figures, and the plot of its interval path.

Choose an experiment under *Partitions*. Its figures over time are under *Overview*. A tick adds an entry whenever
something about the experiment changed. *Materialize* computes one experiment again, from its reports to its page.
"""
LAST_TICK = """The last step of a tick. It adds an entry to `experiment` for each experiment that changed. It records
for which inputs everything was done (`warehouse/last_tick.json`). It writes the operators' metrics
(`published/metrics.prom`). It also counts what the job `publish` still has to do: messages that wait, messages to
people, and notices that the published copy does not have yet."""


@dg.asset(
    group_name=GROUP,
    deps=SOURCES,
    description=EXPERIMENT,
    owners=OWNERS,
    kinds={"duckdb", "html"},
    partitions_def=EXPERIMENTS,
    pool=POOL,
)
def experiment(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[Any]:
    """Computes one experiment again from its reports, whatever was computed before, and publishes it."""
    from et_pipeline.evidence.compute import build_evidence
    from et_pipeline.experiments.registered import registered_ids
    from et_pipeline.governance.decide import decide
    from et_pipeline.insight.pages import publish_pages
    from et_pipeline.insight.publish import publish_analyst_database
    from et_pipeline.pairing.cells import build_cells
    from et_pipeline.pairing.pairs import build_pairs, sampled

    settings, name = warehouse.settings, context.partition_key
    with warehouse.open() as connection, warehouse.engine(connection) as engine:
        known = registered_ids(connection)
        if name not in known:
            raise dg.Failure(
                f"{name} is not registered: put its plan into {settings.experiments_dir} and run a tick first; "
                f"registered experiments: {', '.join(known) or 'none'}"
            )
        build_pairs(connection, sampled(connection, [name]), full=True, engine=engine)
        build_cells(connection, [name], engine=engine)
        build_evidence(connection, [name], full=True, engine=engine)
        decide(connection, settings, settings.now(), [name])
        facts = _facts(connection, [name])[name]
    publish_analyst_database(settings)
    log_failures(context.log, warehouse, publish_pages(settings, run_id=context.run.run_id).failures)
    return dg.MaterializeResult(metadata=as_metadata(facts) | _pictures(context.log, warehouse, [name])[name])


@dg.asset(
    group_name=GROUP,
    deps=SOURCES,
    description=LAST_TICK,
    owners=OWNERS,
    kinds={"duckdb", "json"},
    pool=POOL,
)
def last_tick(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[Any]:
    """Records the experiments that changed and, if the run is a tick, that the tick is complete."""
    from et_pipeline.due import LastTick, next_wake, write_last_tick
    from et_pipeline.experiments.registered import registered_ids
    from et_pipeline.governance.notices import note_checks
    from et_pipeline.publishing.house_metrics import write_metrics
    from et_pipeline.publishing.outbox import not_addressed, pending
    from et_pipeline.warehouse.connection import transaction

    settings = warehouse.settings
    with warehouse.open() as connection:
        facts = _facts(connection, registered_ids(connection))
        wake_at = next_wake(connection, settings)
        with transaction(connection):
            failed = failed_checks(context.instance, context.run.run_id)
            news = note_checks(connection, failed, settings.now())
        left = len(pending(connection, now=datetime.now(UTC))) + len(not_addressed(connection)) + news
        changed = changed_experiments(context.instance, facts)
        pictures = _pictures(context.log, warehouse, list(changed))
        for name, note in changed.items():
            context.log_event(note.with_metadata({**note.metadata, **pictures[name]}))
        inputs = context.run.tags.get(INPUTS_TAG)
        if inputs is not None:
            write_last_tick(settings, LastTick(inputs, wake_at))
        write_metrics(
            connection, settings
        )  # after the note, so that their time shows that they include this tick
    return dg.MaterializeResult(
        metadata={"noted": len(changed), "wake_at": wake_at.isoformat(), "left": left}
    )


def _facts(connection: "duckdb.DuckDBPyConnection", experiments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The figures of the query `noted`, by experiment."""
    from et_pipeline.common.sql import load, row_dicts

    found = row_dicts(connection, load("et_pipeline.insight", "noted"), {"experiments": list(experiments)})
    return {row.pop("experiment_id"): row for row in found}


def _pictures(
    log: dg.DagsterLogManager, warehouse: Warehouse, experiments: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The link to each experiment's page and the plot of its interval path, if there is one, by experiment."""
    from et_pipeline.insight.plots import interval_path_plots

    if not experiments:
        return {}
    plots, failures = interval_path_plots(warehouse.settings, experiments)
    log_failures(log, warehouse, failures)
    return {
        name: {"page": page_link(warehouse.settings, name)}
        | ({"interval_path": dg.MetadataValue.md(plots[name])} if name in plots else {})
        for name in experiments
    }
