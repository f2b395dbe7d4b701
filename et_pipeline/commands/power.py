"""`et plan`: how many pairs and how long until an uplift would be decided, before anybody waits for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.common.sql import load
from et_pipeline.common.times import MICROSECONDS
from et_pipeline.contracts.plan import Plan, parse_plan

if TYPE_CHECKING:
    from et_pipeline.inference.power import Power

MEASURED = (
    "sd",
    "within_market",
    "within_block",
    "block_autocorrelation",
    "pairs_per_block",
    "markets",
    "market_life",
)
"""What a plan is sized from; each can be guessed by an option of the same name."""


def plan(
    path: Annotated[
        Path, typer.Argument(help="A plan, for example data/experiments/line-shop-v4.yaml.", exists=True)
    ],
    uplift: Annotated[
        float, typer.Option(help="True uplift of the primary metric that should be found, in its unit.")
    ],
    like: Annotated[
        str | None, typer.Option(help="An experiment whose measured spread and correlations to take over.")
    ] = None,
    sd: Annotated[float | None, typer.Option(help="Standard deviation of one pair's uplift.", min=0)] = None,
    within_market: Annotated[float | None, typer.Option(help="Correlation of pairs of one market.")] = None,
    within_block: Annotated[float | None, typer.Option(help="Correlation of pairs of one block.")] = None,
    block_autocorrelation: Annotated[
        float | None, typer.Option(help="Lag-1 autocorrelation of the blocks; 0 where not given.")
    ] = None,
    pairs_per_block: Annotated[float | None, typer.Option(help="Pairs per time block.", min=0)] = None,
    markets: Annotated[
        float | None, typer.Option(help="Effective number of markets at a time.", min=1)
    ] = None,
    market_life: Annotated[
        float | None,
        typer.Option(help="Blocks after which markets are replaced; left out, they stay.", min=1),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How many pairs and how long a plan needs, and the smallest uplift it can decide (80 % probability).

    Example: et plan data/experiments/line-shop-v4.yaml --uplift 2 --like line-shop-v4
    """
    from et_pipeline.experiments.registration import tuning
    from et_pipeline.inference.power import Assumptions, power

    for name, value in locals().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CommandError(f"--{name.replace('_', '-')} is {value}; allowed: finite numbers")
    outcome = parse_plan(path.read_bytes(), str(path))
    if not isinstance(outcome, Plan):
        raise CommandError("; ".join(str(refusal) for refusal in outcome))
    guesses = {name: value for name, value in locals().items() if name in MEASURED and value is not None}
    facts = {"block_autocorrelation": 0.0} | (_measured(like, outcome.primary.name) if like else {}) | guesses
    lacking = [name for name in MEASURED if name not in facts and name != "market_life"]
    if lacking:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in lacking)
        raise CommandError(f"nothing is known of {options}: guess them, or name an experiment with --like")
    try:
        sized = power(
            Assumptions(**facts),
            uplift=uplift,
            planned_pairs=outcome.planned_pairs,
            alpha=outcome.alpha,
            g=tuning(outcome),
            min_pairs=outcome.min_samples_for_decision,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    if as_json:
        known = {name: value if math.isfinite(value) else None for name, value in sized._asdict().items()}
        terminal.print_json(
            {"experiment_id": outcome.experiment_id, "uplift": uplift, "assumptions": facts, **known}
        )
        return
    _print(outcome, uplift, facts, sized)


def _measured(experiment_id: str, metric: str) -> dict[str, float]:
    """What an experiment has shown, see the query `plan`; correlations below 0 are noise around 0."""
    with terminal.analyst_database(terminal.settings()) as connection:
        found = terminal.rows(
            connection, load(__package__, "plan"), {"experiment_id": experiment_id, "metric": metric}
        )
    if not found or found[0]["sd"] is None:
        raise CommandError(
            f"{experiment_id!r} has no measured {metric} yet; guess with --sd, --markets and so on"
        )
    row = found[0]
    life = row["market_life"]
    facts = {name: float(row[name] or 0.0) for name in MEASURED if name not in ("markets", "market_life")}
    facts |= {
        name: min(max(facts[name], 0.0), 0.95)
        for name in ("within_market", "within_block", "block_autocorrelation")
    }
    # Markets come and go: at a time there are as many as their lives cover of the blocks seen.
    facts["markets"] = max(1.0, row["markets"] * min(1.0, life / row["n_blocks"]))
    facts["market_life"] = life
    return facts


def _print(plan: Plan, uplift: float, facts: dict[str, float], sized: Power) -> None:
    unit = plan.primary.metric.unit
    console = terminal.console()
    console.print(f"[bold]{plan.experiment_id}[/]: {plan.primary.name}, true uplift {uplift:+g} {unit}")
    console.print("  taken for granted: " + ", ".join(f"{name} {value:.3g}" for name, value in facts.items()))
    if math.isfinite(sized.pairs_needed):
        days = sized.blocks_needed * plan.time_block / MICROSECONDS["d"]
        console.print(
            f"  decided with 80 % probability after {sized.pairs_needed:,.0f} pairs, about {days:.1f} days of trading"
        )
    else:
        console.print(
            "  never decided with 80 % probability: too few independent markets for so small an uplift"
        )
    console.print(
        f"  at the planned {plan.planned_pairs:,} pairs: decided with "
        f"{100 * sized.probability_at_plan:.0f} % probability, interval ±{sized.radius_at_plan:.3g} {unit}, "
        f"{sized.clusters_at_plan:.0f} effective clusters"
    )
    console.print(f"  smallest uplift decided at the planned size: {sized.smallest_uplift:.3g} {unit}")
