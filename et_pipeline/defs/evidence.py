"""The assets of the inference stage: intervals, interval paths, diagnostics, sample ratio and drift, made from
cells."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.common.sql import load
from et_pipeline.contracts.series import BEFORE, UPLIFT
from et_pipeline.defs.each_experiment import each_experiment
from et_pipeline.defs.partitions import SHARED, SOURCES, tag_experiments
from et_pipeline.defs.resource import POOL, Warehouse
from et_pipeline.defs.specs import check_result, materialized, spec

if TYPE_CHECKING:
    import duckdb

GROUP = "inference"

DESCRIPTIONS = {
    "interval_path": """The interval of the mean uplift of every metric, one row per block end.

It is two-way cluster-robust, because pairs of one market and pairs of one hour move together. It is valid at all looks
of the plan together (Lan & DeMets 1983). Between two looks the newest interval stays in force. For plans with
`boundary: mixture` it is valid at every block end without a time limit (Lindon, Ham, Tingley & Bojinov 2022).

    SELECT as_of, mean_uplift, ci_lower, ci_upper FROM interval_path
    WHERE experiment_id = 'line-shop-v4' AND metric = 'edge_bps' ORDER BY as_of;
""",
    "intervals": """The newest row of `interval_path` per experiment and metric. The asset `experiment` has the plot
of the whole path.

    SELECT metric, n_pairs, mean_uplift, ci_lower, ci_upper FROM intervals
    WHERE experiment_id = 'line-shop-v4';
""",
    "diagnostics": """The properties of the sample: correlations within markets and blocks, correlation of
neighbouring blocks, influence of the largest market, winsorised and missing values, share of unmatched opportunities.

    SELECT metric, market_correlation, block_correlation, longer_block_needed FROM diagnostics;
""",
    "replays": """Shadow only: what the variant's reports say about the opportunities that the control traded. With
`on_no_trade: zero` in the plan, too many opportunities without a replay and without a pass keep a verdict away.

    SELECT sum(opportunities), sum(passed), sum(assumed), sum(missing) FROM replays
    WHERE experiment_id = 'line-shop-v4';
""",
    "replay_fidelity": """Shadow only: is the replay true? If the backtester replays the control too, `replay_gap` is
the error of the backtester. `like_for_like` compares the variant with the replayed control, so an error that both
share cancels.

    SELECT metric, comparison, coverage, mean_uplift, ci_lower, ci_upper, state FROM replay_fidelity
    WHERE experiment_id = 'line-shop-v4';
""",
    "replay_gaps": """The error of the backtester, per control strategy and day over all experiments. A growing gap
shows that the backtester drifts, before the next promotion.

    SELECT day, metric, n_pairs, mean_gap, se FROM replay_gaps WHERE strategy_id = 'strat.line_shop' ORDER BY day;
""",
    "sample_ratio": """Limited live only: does the variant get the planned share of opportunities? It is a
sequential multinomial test (Lindon & Malek 2022), and an alarm blocks every verdict. Where all trades are compared, the
split is also tested within each market and hour of the day, see `sample_ratio_within` and `sample_ratio_groups`.

    SELECT as_of, observed_share, planned_share, e_value, alarm FROM sample_ratio;
""",
    "drift": """The change detector: did the mean uplift fall below minus the margin, and since when?
It is the e-SR detector (Shin, Ramdas & Rinaldo 2022) on two-way evidence.

    SELECT as_of, log_evidence, threshold, since FROM drift WHERE alarm;
""",
}
CELL_COLUMNS = ["experiment_id", "metric", "block", "market_id", "n", "sum"]
LINEAGE = {
    "interval_path": {
        "mean_uplift": [("cells", "sum"), ("cells", "n")],
        "se": [("cells", "sum"), ("cells", "n"), ("cells", "market_id"), ("cells", "block")],
        "ci_lower": [("cells", "sum"), ("cells", "n"), ("experiments", "g"), ("experiments", "alpha")],
        "ci_upper": [("cells", "sum"), ("cells", "n"), ("experiments", "g"), ("experiments", "alpha")],
        "n_pairs": [("cells", "n")],
    },
    "intervals": {
        name: [("interval_path", name)] for name in ("mean_uplift", "se", "ci_lower", "ci_upper", "n_pairs")
    },
    "sample_ratio": {"n_control": [("pairs", "block"), ("unmatched", "block")]},
}
DEPS = {
    "interval_path": ["cells", "experiments"],
    "intervals": ["interval_path"],
    "diagnostics": ["cells", "pairs", "unmatched"],
    "replays": ["pairs", "unmatched"],
    "replay_fidelity": ["interval_path", "experiments"],
    "replay_gaps": ["cells", "experiments"],
    "sample_ratio": ["pairs", "unmatched"],
    "drift": ["cells"],
}


@dg.multi_asset(
    name="evidence",
    specs=[
        spec(
            table,
            group=GROUP,
            deps=DEPS[table],
            description=DESCRIPTIONS[table],
            kinds=("duckdb", "numpy", "scipy"),
            lineage=LINEAGE.get(table),
        )
        for table in DESCRIPTIONS
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "sample_ratio_as_planned",
            asset="sample_ratio",
            description="Every experiment in limited live gets the planned split. An alarm blocks its verdict.",
        ),
        dg.AssetCheckSpec(
            "time_block_long_enough",
            asset="diagnostics",
            description="Neighbouring blocks move together so little that no longer time_block is needed.",
        ),
        dg.AssetCheckSpec(
            "values_present",
            asset="diagnostics",
            description="At most the plan's max_missing of the pairs lack a metric's value. If more lack it, nothing "
            "is concluded about that metric.",
        ),
        dg.AssetCheckSpec(
            "replay_is_true",
            asset="replay_fidelity",
            description="No backtester is shown to make a control look better or worse by more than the plan's "
            "margin, and no backtester treats a control differently from the days before.",
        ),
        dg.AssetCheckSpec(
            "path_ends_with_interval",
            asset="intervals",
            description="Every newest interval is the last row of its path, and the path counts every pair of the "
            "cells.",
            blocking=True,
        ),
    ],
    pool=POOL,
)
def evidence(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Computes the paths of experiments whose cells changed."""
    from et_pipeline.evidence.compute import EvidenceResult, build_evidence

    with warehouse.open() as connection, warehouse.engine(connection) as engine:

        def compute(names: list[str]) -> EvidenceResult:
            return build_evidence(connection, names, engine=engine)

        outcomes = each_experiment(context, warehouse, connection, "evidence", compute)
        changed = [name for found in outcomes for name in found.experiments]
        rows = sum(found.rows for found in outcomes)
        context.log.info(f"{len(changed)} experiments had new cells; {rows} path rows written")
        tag_experiments(context, changed)
        for table in DESCRIPTIONS:
            version = SHARED if table in SOURCES else None
            if table == "replay_gaps":
                yield materialized(connection, table, version=version, by_day=replay_gaps_plot(connection))
            else:
                yield materialized(connection, table, version=version)
        yield sample_ratio_as_planned(connection)
        yield time_block_long_enough(connection)
        yield values_present(connection)
        yield replay_is_true(connection)
        yield path_ends_with_interval(connection)


def replay_gaps_plot(connection: "duckdb.DuckDBPyConnection") -> dg.MarkdownMetadataValue:
    """The replay gap of each control strategy by day, in the primary metric of most of its experiments."""
    from et_pipeline.insight.plots import replay_gaps_markdown

    return dg.MetadataValue.md(replay_gaps_markdown(connection) or "No control has been replayed yet.")


def replay_is_true(connection: "duckdb.DuckDBPyConnection") -> dg.AssetCheckResult:
    """Warns if a backtester is shown to be unfaithful, or if its gap changed from one day to the next."""
    untrue = connection.execute(load("et_pipeline.evidence", "unfaithful")).fetchall()
    moved = connection.execute(load("et_pipeline.evidence", "moved_gaps")).fetchall()
    problems = [
        f"{name}: the {metric} of the replayed control differs from the live control by {lower:.3g} to {upper:.3g}, "
        + ("and the plan names no margin" if margin is None else f"and ±{margin:g} is allowed")
        for name, metric, lower, upper, margin in untrue
    ] + [
        f"{strategy}: on {day} the gap in {metric} was {gap:.3g}; on the days before it was {before:.3g}"
        for strategy, metric, day, gap, before in moved
    ]
    fine = "no backtester is shown to make its control look better or worse"
    return check_result("replay_fidelity", "replay_is_true", problems, fine, warn=True)


def sample_ratio_as_planned(connection: "duckdb.DuckDBPyConnection") -> dg.AssetCheckResult:
    """Fails if the split of a limited-live experiment is not the planned one, in total or within markets or hours."""
    alarms = connection.execute(
        "SELECT experiment_id, arg_max(observed_share, as_of), arg_max(planned_share, as_of) "
        "FROM sample_ratio GROUP BY experiment_id HAVING bool_or(alarm) ORDER BY 1"
    ).fetchall()
    problems = [
        f"{name}: the share is {seen:.1%}, and {planned:.1%} is planned" for name, seen, planned in alarms
    ]
    problems += [
        f"{name}: within {dimension} {value} the share is {seen:.1%}, and {planned:.1%} is planned"
        for name, dimension, value, seen, planned in connection.execute(
            load("et_pipeline.evidence", "groups_off")
        ).fetchall()
    ]
    return check_result("sample_ratio", "sample_ratio_as_planned", problems, "every split is as planned")


def time_block_long_enough(connection: "duckdb.DuckDBPyConnection") -> dg.AssetCheckResult:
    """Warns if neighbouring blocks are so strongly correlated that there can be no verdict."""
    found = connection.execute(
        "SELECT experiment_id, metric, autocorrelation FROM diagnostics WHERE longer_block_needed ORDER BY ALL"
    ).fetchall()
    problems = [f"{name} {metric}: the lag-1 autocorrelation is {value:.2f}" for name, metric, value in found]
    return check_result(
        "diagnostics", "time_block_long_enough", problems, "blocks are long enough", warn=True
    )


def values_present(connection: "duckdb.DuckDBPyConnection") -> dg.AssetCheckResult:
    """Fails if more pairs than the plan allows have no value of a metric, so that nothing is concluded about it."""
    found = connection.execute(
        "SELECT experiment_id, metric, missing_share, missing_control_share, missing_variant_share, max_missing "
        "FROM diagnostics JOIN experiments USING (experiment_id) WHERE missing_share > max_missing ORDER BY ALL"
    ).fetchall()
    problems = [
        f"{name} {metric}: {share:.1%} of the pairs have no value (control {control:.1%}, variant {variant:.1%}; "
        f"at most {most:.1%} is allowed)"
        for name, metric, share, control, variant, most in found
    ]
    return check_result("diagnostics", "values_present", problems, "every metric has its values")


def path_ends_with_interval(connection: "duckdb.DuckDBPyConnection") -> dg.AssetCheckResult:
    """Fails if the newest interval, its path and its cells do not agree."""
    wrong = connection.execute(load("et_pipeline.evidence", "disagreements", before=BEFORE)).fetchall()
    problems = [
        f"{name} {metric}" + ("" if comparison == UPLIFT.name else f" ({comparison})")
        for name, metric, comparison in wrong
    ]
    return check_result("intervals", "path_ends_with_interval", problems, "intervals, paths and cells agree")
