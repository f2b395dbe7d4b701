"""The assets of the governance stage: sign-offs before pairing; verdicts, events and the audit log after the
evidence."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.defs.each_experiment import each_experiment
from et_pipeline.defs.partitions import SHARED, SOURCES, tag_experiments
from et_pipeline.defs.resource import POOL, Warehouse
from et_pipeline.defs.specs import check_result, materialized, spec
from et_pipeline.warehouse import audit

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.governance.decide import DecideResult
    from et_pipeline.settings import Settings

GROUP = "governance"
SHOWN = 100
"""Largest number of experiments in the overview on the asset `verdicts`."""

SIGN_OFFS = """Every signed decision that was found, whether it counts, and if not, why.

A sign-off is a small file with an SSH signature over experiment, plan, evidence, decision and reason
(`et sign-off`). It is checked before pairing, because an experiment with a split above 50 % is
sampled only after a sign-off.

    SELECT experiment_id, purpose, decision, signer, valid, sentence FROM sign_offs;
"""
DESCRIPTIONS = {
    "verdicts": """One row per experiment: its state, its verdict if there is one, the reason, and what is missing.

The verdict is the first one along the interval path at the end of a closed block. What was announced stays
announced. If later reports change the verdict, the check **announced_verdict_follows** fails.

    SELECT experiment_id, state, verdict, sentence FROM verdicts;
""",
    "events": """The outbox: every message that was decided, written in the transaction that decided it.

    SELECT emitted_at, experiment_id, reason_code, message FROM events ORDER BY seq;
""",
    "drift_signals": """The messages to the StrategyRegistry about variants that underperform.

    SELECT experiment_id, metric, trigger, uplift, ci_upper, since FROM drift_signals;
""",
    "audit_log": """The append-only log of everything that was decided; each row contains the hash of the row before it.

    SELECT seq, recorded_at, experiment_id, action, from_state, to_state FROM audit_log ORDER BY seq;
""",
    "portfolio": """Which discoveries stand when all experiments are counted together (e-BH). It blocks nothing.

    SELECT experiment_id, e_value, threshold, stands, counted FROM portfolio
    WHERE verdict = 'variant_better' ORDER BY rank;
""",
    "families": """The variants of one control side by side, judged together, with the expected uplift of each.

    SELECT family, experiment_id, mean_uplift, shrunk_uplift, stands FROM families ORDER BY family, mean_uplift DESC;
""",
    "promises": """Whether the promised uplift is kept after the promotion, from the plan that follows the experiment.

    SELECT follows, promised_lower, promised_upper, observed_lower, observed_upper, state FROM promises;
""",
    "strategy_usage": """The strategies that use this bot, with their state, and whether they must pass shadow again
because the contract changed.

    SELECT * FROM strategy_usage WHERE must_repass_shadow;
""",
}
DEPS = {
    "verdicts": ["intervals", "interval_path", "replays", "sample_ratio", "drift", "sign_offs"],
    "events": ["verdicts"],
    "drift_signals": ["verdicts", "drift"],
    "audit_log": ["verdicts"],
    "portfolio": ["verdicts", "experiments"],
    "families": ["verdicts", "experiments"],
    "promises": ["verdicts", "experiments"],
    "strategy_usage": ["verdicts", "experiments"],
}
JUDGED = {"verdict": [("verdicts", "verdict")], "e_value": [("interval_path", "e_value")]}
LINEAGE = {
    "portfolio": JUDGED | {"stands": [("interval_path", "e_value"), ("verdicts", "verdict")]},
    "families": JUDGED
    | {
        "mean_uplift": [("interval_path", "mean_uplift")],
        "shrunk_uplift": [("interval_path", "mean_uplift"), ("interval_path", "se")],
    },
}
CHECKS = [
    dg.AssetCheckSpec(
        "announced_verdict_follows",
        asset="verdicts",
        description="Every announced verdict still follows from the reports.",
    ),
    dg.AssetCheckSpec(
        "not_stalled",
        asset="verdicts",
        description="Reports can be read. Otherwise sampling and verdicts pause.",
    ),
    dg.AssetCheckSpec(
        "audit_chain_intact",
        asset="audit_log",
        description="No row of the audit log was edited, deleted, inserted or moved. Otherwise nothing is published.",
        blocking=True,  # so that no reviewer decides from a page whose audit log cannot be trusted
    ),
]


@dg.multi_asset(
    name="sign_offs",
    specs=[
        spec(
            "sign_offs",
            group="experiments",  # in the group of the plans, so that the diagram reads from left to right
            deps=["experiments"],
            description=SIGN_OFFS,
            kinds=("duckdb", "openssh"),
        )
    ],
    pool=POOL,
)
def sign_offs(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult[Any]]:
    """Moves new experiments on to sampling, by way of a sign-off where the split is large."""
    from et_pipeline.governance.decide import admit

    settings = warehouse.settings
    with warehouse.open() as connection:

        def move(names: list[str]) -> list[tuple[str, str | None, str]]:
            return admit(connection, settings, settings.now(), names)

        found = each_experiment(context, warehouse, connection, "sign_offs", move)
        transitions = [transition for group in found for transition in group]
        for name, before, after in transitions:
            context.log.info(f"{name}: {before or 'new'} → {after}")
        tag_experiments(context, [name for name, _, _ in transitions])
        yield materialized(connection, "sign_offs")


@dg.multi_asset(
    name="governance",
    specs=[
        spec(table, group=GROUP, deps=DEPS[table], description=description, lineage=LINEAGE.get(table))
        for table, description in DESCRIPTIONS.items()
    ],
    check_specs=CHECKS,
    pool=POOL,
)
def governance(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Decides, in one transaction: states, verdicts, messages, audit rows."""
    from et_pipeline.governance.decide import decide, together

    settings = warehouse.settings
    with warehouse.open() as connection:

        def judge(names: list[str]) -> "DecideResult":
            return decide(connection, settings, settings.now(), names)

        outcome = together(each_experiment(context, warehouse, connection, "decision", judge))
        for name, before, after in outcome.transitions:
            context.log.info(f"{name}: {before or 'new'} → {after}")
        for event in outcome.events:
            context.log.info(f"{event.reason_code or event.kind}: {event.message}")
        for path, sentence in outcome.refused_sign_offs:
            context.log.warning(f"sign-off {path} does not count: {sentence}")
        tag_experiments(context, [event.experiment_id for event in outcome.events])
        tag_experiments(context, [name for name, _, _ in outcome.transitions])
        for table in DESCRIPTIONS:
            shown: dict[str, Any] = {"overview": overview(connection)} if table == "verdicts" else {}
            yield materialized(connection, table, version=SHARED if table in SOURCES else None, **shown)
        yield from evaluate(connection, settings, outcome)


def overview(connection: "duckdb.DuckDBPyConnection") -> dg.TableMetadataValue:
    """The state of the experiments as a table for the UI: first those that go on, at most `SHOWN`."""
    from et_pipeline.common import text
    from et_pipeline.common.sql import load, row_dicts
    from et_pipeline.experiments.registered import registered_ids

    rows = row_dicts(
        connection, load("et_pipeline.insight", "noted"), {"experiments": registered_ids(connection)}
    )
    records = [
        dg.TableRecord({
            "experiment": row["experiment_id"],
            "state": row["state"],
            "verdict": row["verdict"] or text.NONE,
            "metric": row["metric"] or text.NONE,
            "uplift": text.interval(row["ci_lower"], row["ci_upper"]),
            "pairs": row["n_pairs"] or 0,
        })
        for row in sorted(rows, key=lambda row: row["state"] == "concluded")[:SHOWN]
    ]  # fmt: skip
    names = ("experiment", "state", "verdict", "metric", "uplift", "pairs")
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in names])
    return dg.MetadataValue.table(records=records, schema=schema)


def evaluate(
    connection: "duckdb.DuckDBPyConnection", settings: "Settings", outcome: "DecideResult"
) -> list[dg.AssetCheckResult]:
    """The result of every check in `CHECKS` after an evaluation."""
    anchors = audit.event_anchors(connection)
    noted = audit.read_anchor(settings)
    fault = audit.verify(connection, [*anchors, noted] if noted else anchors)
    return [
        check_result(
            "verdicts",
            "announced_verdict_follows",
            outcome.contradicted,
            "every announced verdict still follows",
        ),
        check_result(
            "verdicts",
            "not_stalled",
            [
                f"{outage.source} since {outage.since:%Y-%m-%d %H:%M} UTC: {outage.reason}"
                for outage in outcome.outages
            ],
            "reports can be read",
        ),
        check_result(
            "audit_log", "audit_chain_intact", [fault.sentence] if fault else [], "the chain is intact"
        ),
    ]
