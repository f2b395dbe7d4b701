"""`et plan`: computes before the start of an experiment how many pairs and how much time a decision needs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.common.numbers import finite
from et_pipeline.common.sql import load
from et_pipeline.common.times import MICROSECONDS
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.contracts.plan import Plan, counted, parse_plan
from et_pipeline.pairing.columns import arm_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

    from et_pipeline.inference.planning import Claim
    from et_pipeline.inference.power import Assumptions, Power

MEASURED = (
    "sd",
    "within_market",
    "within_block",
    "block_autocorrelation",
    "pairs_per_block",
    "markets",
    "market_life",
)
"""The figures from which a plan is sized; each can be given by an option of the same name."""
SPLITS = (5.0, 10.0, 25.0, 50.0)
"""Shares of the traffic, in percent, for which `et plan` shows the days if all trades of both arms are compared."""


def plan(
    path: Annotated[
        Path, typer.Argument(help="A plan, for example data/experiments/line-shop-v4.yaml.", exists=True)
    ],
    uplift: Annotated[
        float, typer.Option(help="The true uplift of the primary metric that you want to find, in its unit.")
    ],
    like: Annotated[
        str | None, typer.Option(help="An earlier experiment. Its measured spread and correlations are used.")
    ] = None,
    sd: Annotated[float | None, typer.Option(help="Standard deviation of one pair's uplift.", min=0)] = None,
    within_market: Annotated[
        float | None, typer.Option(help="Correlation between pairs of one market.")
    ] = None,
    within_block: Annotated[
        float | None, typer.Option(help="Correlation between pairs of one block.")
    ] = None,
    block_autocorrelation: Annotated[
        float | None, typer.Option(help="Lag-1 autocorrelation of the blocks; the default is 0.")
    ] = None,
    pairs_per_block: Annotated[float | None, typer.Option(help="Pairs per time block.", min=0)] = None,
    markets: Annotated[
        float | None, typer.Option(help="Effective number of markets that are open at the same time.", min=1)
    ] = None,
    market_life: Annotated[
        float | None,
        typer.Option(
            help="Number of blocks after which a market is replaced by a new one. If you leave it out, markets stay.",
            min=1,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Says how many pairs and how much time a plan needs, and the smallest uplift that it can find.

    All of this is for a probability of 80 %. With --like the guardrails count too, under two assumptions: they lose
    nothing, and their errors are independent of each other.

    Where all trades of both arms are compared (limited live), "pairs" means trades of the arm that has fewer of
    them. Then a table shows the days until a decision for several splits of the traffic.

    Example: et plan data/experiments/line-shop-v4.yaml --uplift 2 --like line-shop-v4
    """
    from et_pipeline.experiments.registration import tuning, with_boundary
    from et_pipeline.inference.power import Assumptions, power

    for name, value in locals().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CommandError(f"--{name.replace('_', '-')} is {value}; allowed: finite numbers")
    outcome = parse_plan(path.read_bytes(), str(path))
    if not isinstance(outcome, Plan):
        raise CommandError("; ".join(str(refusal) for refusal in outcome))
    guesses = {name: value for name, value in locals().items() if name in MEASURED and value is not None}
    facts = (
        {"block_autocorrelation": 0.0}
        | (_measured(like, outcome, outcome.primary.metric.name) if like else {})
        | guesses
    )
    lacking = [name for name in MEASURED if name not in facts and name != "market_life"]
    if lacking:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in lacking)
        raise CommandError(
            f"the values of {options} are unknown: give your own estimates, or name an experiment with --like"
        )
    plan_ = with_boundary(outcome)
    if plan_.boundary == "horizon":
        try:
            _with_looks(plan_, uplift, facts, like, as_json)
        except ValueError as error:
            raise CommandError(str(error)) from error
        return
    rules: dict[str, float] = {
        "uplift": uplift,
        "planned_pairs": outcome.planned_pairs,
        "alpha": outcome.alpha,
        "g": tuning(outcome),
        "min_pairs": outcome.min_samples_for_decision,
    }
    try:
        sized = power(Assumptions(**facts), **rules)
        splits = _by_split(
            outcome, [Assumptions(**facts)], lambda models: power(models[0], **rules).blocks_needed
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    if as_json:
        known = {name: finite(value) for name, value in sized._asdict().items()}
        told = {"experiment_id": outcome.experiment_id, "uplift": uplift, "assumptions": facts}
        terminal.print_json(told | known | {"splits": splits})
        return
    _print(outcome, uplift, facts, sized)
    _print_splits(splits)


def _by_split(
    plan: Plan, models: Sequence[Assumptions], blocks_needed: Callable[[Sequence[Assumptions]], float]
) -> list[dict[str, float | None]]:
    """The time until a decision for several splits of the traffic; empty if pairs are compared.

    Args:
        plan: The plan. Its own split is one of those that are shown.
        models: The assumptions about each metric, at the plan's split.
        blocks_needed: Computes the blocks of the shortest plan that decides; infinite if none does.
    """
    own = plan.traffic_split_pct
    if plan.matching.method != "arms" or not 0 < own < 100:
        return []
    found: list[dict[str, float | None]] = []
    for split in sorted({*SPLITS, own}):
        moved = [model.at_split(own / 100, split / 100) for model in models]
        blocks = blocks_needed(moved)
        smaller = blocks * moved[0].pairs_per_block if math.isfinite(blocks) else None
        share = min(split, 100 - split) / 100
        trades = None if smaller is None else smaller / share
        found.append(
            {
                "split_pct": split,
                "days_needed": None if smaller is None else blocks * plan.time_block / MICROSECONDS["d"],
                "control_trades": None if trades is None else trades * (1 - split / 100),
                "variant_trades": None if trades is None else trades * split / 100,
            }
        )
    return found


def _print_splits(splits: Sequence[dict[str, float | None]]) -> None:
    if not splits:
        return
    console = terminal.console()
    console.print("  Days until a decision with 80 % probability, by the variant's share of the traffic:")
    for row in splits:
        days, control, variant = row["days_needed"], row["control_trades"], row["variant_trades"]
        told = "never: there are too few independent markets to find so small an uplift"
        if days is not None:
            told = f"{days:8,.1f} days  ({control:,.0f} control and {variant:,.0f} variant trades)"
        console.print(f"    {row['split_pct']:4g} %  {told}", soft_wrap=True)


def _with_looks(plan: Plan, uplift: float, facts: dict[str, float], like: str | None, as_json: bool) -> None:
    """`et plan` for a plan with looks; guardrails are included if an experiment has measured them."""
    from et_pipeline.inference.planning import Claim, blocks_needed, prospect, smallest_uplift
    from et_pipeline.inference.power import Assumptions

    model = Assumptions(**facts).checked()
    known = {}
    for guardrail in plan.guardrails:
        measured = _measured(like, plan, guardrail.metric.name, required=False) if like else {}
        if measured.get("sd"):
            known[guardrail.metric.name] = Claim(
                Assumptions(**measured), 0.0, -(guardrail.non_inferiority_margin or 0.0)
            )
    claims = [Claim(model, uplift), *known.values()]
    blocks = plan.planned_pairs / model.pairs_per_block
    rules = {"alpha": plan.alpha, "min_pairs": float(plan.min_samples_for_decision)}
    found = prospect(claims, blocks=blocks, **rules)
    more = {
        "twice the markets": prospect(
            [_more_markets(one) for one in claims], blocks=blocks, **rules
        ).probability,
        "twice the time": prospect(claims, blocks=2 * blocks, **rules).probability,
        "twice the time_block": prospect(
            [one._replace(assumptions=one.assumptions.in_longer_blocks()) for one in claims],
            blocks=blocks / 2,
            **rules,
        ).probability,
    }
    needed = blocks_needed(claims, **rules)
    document = {
        "experiment_id": plan.experiment_id,
        "boundary": plan.boundary,
        "uplift": uplift,
        "assumptions": facts,
        "guardrails_counted": sorted(known),
        "guardrails_unknown": sorted({one.metric.name for one in plan.guardrails} - set(known)),
        "probability_at_plan": found.probability,
        "probability_of_primary": found.primary,
        "expected_pairs": found.expected_share * plan.planned_pairs,
        "decided_at_pairs": found.target_share * plan.planned_pairs,
        "radius_at_plan": found.radius,
        "planned_blocks": blocks,
        "blocks_needed": needed,
        "pairs_needed": needed * model.pairs_per_block,
        "days_needed": needed * plan.time_block / MICROSECONDS["d"],
        "smallest_uplift": smallest_uplift(claims, blocks=blocks, **rules),
        "probability_with": more,
    }
    splits = _by_split(
        plan,
        [claim.assumptions for claim in claims],
        lambda models: blocks_needed(
            [Claim(model, one.uplift, one.null) for model, one in zip(models, claims, strict=True)], **rules
        ),
    )
    document = {name: finite(value) for name, value in document.items()}
    if as_json:
        terminal.print_json(document | {"splits": splits})
    else:
        _print_with_looks(plan, document)
        _print_splits(splits)


def _more_markets(claim: Claim) -> Claim:
    return claim._replace(assumptions=claim.assumptions._replace(markets=2 * claim.assumptions.markets))


def _print_with_looks(plan: Plan, found: dict[str, Any]) -> None:
    unit, pairs = plan.primary.metric.unit, counted(plan.matching.method)
    console = terminal.console()
    facts = ", ".join(f"{name} {value:.3g}" for name, value in found["assumptions"].items())
    lines = [
        f"[bold]{plan.experiment_id}[/]: {plan.primary.metric.name}, true uplift {found['uplift']:+g} {unit}"
    ]
    lines.append(f"  Assumptions: {facts}.")
    if found["guardrails_counted"]:
        lines.append(
            f"  Guardrails counted: {', '.join(found['guardrails_counted'])}. The assumption is that they lose "
            "nothing and "
            "that their errors are independent."
        )
    if found["guardrails_unknown"]:
        lines.append(
            f"  Guardrails not counted: {', '.join(found['guardrails_unknown'])}. Nothing is known about them: name an "
            "experiment with --like."
        )
    lines.append(
        f"  With the planned {plan.planned_pairs:,} {pairs}, the probability of a decision is "
        f"{100 * found['probability_at_plan']:.0f} % (for the primary alone: "
        f"{100 * found['probability_of_primary']:.0f} %). "
        f"The decision is expected after {found['expected_pairs']:,.0f} {pairs}."
    )
    if found["radius_at_plan"] is not None:
        lines.append(
            f"  At the last look, the lower end of the interval lies {found['radius_at_plan']:.3g} {unit} below the "
            "mean."
        )
    if found["decided_at_pairs"] is not None:
        lines.append(
            f"  This plan is decided with 80 % probability after {found['decided_at_pairs']:,.0f} {pairs}."
        )
    if found["pairs_needed"] is None:
        lines.append(
            "  No plan reaches a decision with 80 % probability: there are too few independent markets to find so "
            "small an "
            "uplift."
        )
    else:
        lines.append(
            f"  The shortest plan with 80 % probability of a decision needs {found['pairs_needed']:,.0f} {pairs}, "
            "about "
            f"{found['days_needed']:.1f} days of trading."
        )
    with_more = ", ".join(
        f"{100 * value:.0f} % with {name}" for name, value in found["probability_with"].items()
    )
    lines.append(f"  Probability of a decision with a changed plan: {with_more}.")
    smallest = found["smallest_uplift"]
    lines.append(
        "  No uplift can be found at the planned size: there are too few blocks, markets or trades."
        if smallest is None
        else f"  The smallest uplift that can be found at the planned size is {smallest:.3g} {unit}."
    )
    for line in lines:
        console.print(line, soft_wrap=True)


def _measured(experiment_id: str, plan: Plan, metric: str, *, required: bool = True) -> dict[str, float]:
    """The figures that an experiment has measured, see the query `plan`; correlations below 0 are noise and become
    0."""
    with terminal.analyst_database(terminal.settings()) as connection:
        wanted = {"experiment_id": experiment_id, "metric": metric}
        found = terminal.rows(connection, load(__package__, "plan"), wanted)
        arms = plan.matching.method == "arms"
        if found and found[0]["sd"] is not None and (found[0]["matching"] == "arms") != arms:
            found = [_as_trades(connection, plan, metric, found[0], experiment_id)] if arms else []
    if not found or found[0]["sd"] is None:
        if not required:
            return {}
        raise CommandError(
            f"{experiment_id!r} has no measured {metric} yet that fits matching {plan.matching.method}; give your own "
            "estimates with --sd, --markets and so on"
        )
    row = found[0]
    from et_pipeline.inference.power import Assumptions

    life = row["market_life"]
    facts = {name: float(row[name] or 0.0) for name in MEASURED if name not in ("markets", "market_life")}
    facts |= {
        name: min(max(facts[name], 0.0), 0.95)
        for name in ("within_market", "within_block", "block_autocorrelation")
    }
    # Markets open and close, so the number at one time is their total number times the share of blocks in a market's
    # life.
    facts["markets"] = max(1.0, row["markets"] * min(1.0, life / row["n_blocks"]))
    facts["market_life"] = life
    if arms and row["matching"] == "arms":
        return Assumptions(**facts).at_split(row["split"], plan.traffic_split_pct / 100)._asdict()
    return facts


def _as_trades(
    connection: duckdb.DuckDBPyConnection, plan: Plan, metric: str, row: dict[str, Any], experiment_id: str
) -> dict[str, Any]:
    """Converts the figures of a comparison of pairs to those of all trades of both arms at the plan's split.

    The variances of the uplift between markets and between blocks are the same. The variance of single trades is taken
    from the control's values. The control's traffic is assumed to be the traffic that is split.
    """
    if metric_of(metric).is_ratio:
        return row | {"sd": None}
    (own,) = terminal.rows(
        connection,
        load(__package__, "control_trades", value=arm_value(metric_of(metric), "control")),
        {"experiment_id": experiment_id, "n_blocks": row["n_blocks"]},
    )
    split = min(plan.traffic_split_pct, 100 - plan.traffic_split_pct) / 100
    if own["sd"] is None or not split:
        return row | {"sd": None}
    between = [max(row[name] or 0.0, 0.0) * row["sd"] ** 2 for name in ("within_market", "within_block")]
    variance = own["sd"] ** 2 / (1 - split) + sum(between)
    shares = [part / variance for part in between]
    return row | {
        "sd": math.sqrt(variance),
        "within_market": shares[0],
        "within_block": shares[1],
        "pairs_per_block": own["trades_per_block"] * split,
    }


def _print(plan: Plan, uplift: float, facts: dict[str, float], sized: Power) -> None:
    unit, pairs = plan.primary.metric.unit, counted(plan.matching.method)
    console = terminal.console()
    console.print(
        f"[bold]{plan.experiment_id}[/]: {plan.primary.metric.name}, true uplift {uplift:+g} {unit}"
    )
    console.print("  Assumptions: " + ", ".join(f"{name} {value:.3g}" for name, value in facts.items()) + ".")
    if math.isfinite(sized.pairs_needed):
        days = sized.blocks_needed * plan.time_block / MICROSECONDS["d"]
        console.print(
            f"  A decision with 80 % probability needs {sized.pairs_needed:,.0f} {pairs}, about {days:.1f} days of "
            "trading."
        )
    else:
        console.print(
            "  No plan reaches a decision with 80 % probability: there are too few independent markets to find so "
            "small an "
            "uplift."
        )
    console.print(
        f"  With the planned {plan.planned_pairs:,} {pairs}, the probability of a decision is "
        f"{100 * sized.probability_at_plan:.0f} %. The interval is ±{sized.radius_at_plan:.3g} {unit}, and the "
        "effective "
        f"sample size is {sized.clusters_at_plan:.0f}."
    )
    console.print(
        f"  The smallest uplift that can be found at the planned size is {sized.smallest_uplift:.3g} {unit}."
    )
