"""`et new`: writes a first plan from a few answers."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError

TEMPLATE = """\
# This is a plan of ExperimentTracker. docs/write-a-plan.md explains every key. To check the plan: et validate {path}
# experiment_id is also the name of the review page. Each run of an experiment needs its own experiment_id.
experiment_id: {experiment_id}
title: {title}
# hypothesis says what you expect, and why. It is frozen once the experiment has started, like most keys below.
hypothesis: {hypothesis}
owner: {owner}
# In the mode shadow the variant is simulated. In the mode limited_live it trades a share of the traffic.
mode: {mode}
# The control is the strategy that trades now. The variant is the strategy that may replace it.
control: {control}
variant: {variant}
# traffic_split_pct is the percentage of the traffic for the variant. Above 50, a human has to sign off first.
traffic_split_pct: 10
# min_samples_for_decision is the smallest number of {counted} for a verdict. planned_pairs is the planned number of
# {counted}. This command says how many you need: et plan {path} --uplift NUMBER --like EXPERIMENT
min_samples_for_decision: 100
planned_pairs: {planned_pairs}
# The window must lie in the future. Otherwise somebody may have chosen it after looking at its data.
starts_at: {starts_at}
ends_at: {ends_at}
# alpha is the error rate: of experiments without any difference, at most this share gets a wrong verdict.
alpha: 0.05
# Choose a time_block so long that the events of one block no longer matter in the next block.
time_block: 1h
# {matched}
matching: {matching}
metrics:
  # The primary metric decides. A difference within plus and minus the equivalence_margin counts as no difference.
  - {{name: {primary}, role: primary, equivalence_margin: {equivalence}}}
{guardrails}# If the variant is better, humans are asked for a review. Nothing is promoted automatically.
promotion: {{request_review: true, approvers: 1}}
"""
QUESTIONS = {
    "experiment_id": ("Id of the experiment (small letters, digits, - and _)", None),
    "title": ("Title for people", None),
    "hypothesis": ("What you expect, and why, in one sentence", None),
    "owner": ("Owner of the experiment", None),
    "control": ("Control: strategy_id@config_version", None),
    "variant": ("Variant: strategy_id@config_version", None),
    "primary": ("The metric that decides", "edge_bps"),
    "equivalence": ("Largest difference that counts as no difference, in the metric's unit", "2.0"),
}
"""The questions, each with its default answer."""


class Answers(NamedTuple):
    """The answers from which a plan is made, as a person wrote them; arms are written `strategy_id@config_version`."""

    experiment_id: str
    title: str
    hypothesis: str
    owner: str
    control: str
    variant: str
    primary: str
    equivalence: str


def new(
    experiment_id: Annotated[
        str | None, typer.Argument(help="Id of the experiment. If you leave it out, et new asks for it.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="A title for people.")] = None,
    hypothesis: Annotated[str | None, typer.Option(help="What you expect, and why.")] = None,
    owner: Annotated[str | None, typer.Option(help="Owner of the experiment.")] = None,
    control: Annotated[
        str | None, typer.Option(help="strategy_id@config_version of the strategy that trades now.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="strategy_id@config_version of the strategy that may replace it.")
    ] = None,
    primary: Annotated[str | None, typer.Option(help="The metric that decides.")] = None,
    equivalence: Annotated[
        str | None,
        typer.Option(help="Largest difference that counts as no difference, in the metric's unit."),
    ] = None,
    guardrail: Annotated[
        list[str] | None,
        typer.Option(
            help="A guardrail metric and its margin, for example slippage_bps=1.0. You can repeat this option."
        ),
    ] = None,
    planned_pairs: Annotated[int, typer.Option(help="Planned number of pairs.", min=2)] = 4000,
    days: Annotated[int, typer.Option(help="Length of the window in days.", min=1, max=3650)] = 30,
    live: Annotated[
        bool, typer.Option("--live", help="Write a limited_live plan instead of a shadow plan.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Writes a commented plan into experiments/, from options or from your answers to a few questions.

    Example: et new line-shop-v5 --owner strategy-pod --control strat.line_shop@4.0 --variant strat.line_shop@5.0
    """
    from et_pipeline.contracts.plan import Plan, parse_plan

    present = terminal.settings()
    given = {
        "experiment_id": experiment_id,
        "title": title,
        "hypothesis": hypothesis,
        "owner": owner,
        "control": control,
        "variant": variant,
        "primary": primary,
        "equivalence": equivalence,
    }
    answers = Answers(**_complete(given, ask=sys.stdin.isatty() and not as_json))
    path = present.experiments_dir / f"{answers.experiment_id}.yaml"
    text = compose(
        answers, guardrail or [], path, present.now(), planned_pairs=planned_pairs, days=days, live=live
    )
    outcome = parse_plan(text.encode(), path.name)
    if not isinstance(outcome, Plan):
        raise CommandError("; ".join(str(refusal) for refusal in outcome))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"{path} exists already; give the experiment another id") from None
    if as_json:
        terminal.print_json({"path": str(path), "plan": outcome.model_dump(mode="json")})
        return
    where = terminal.plain(path)
    terminal.console().print(
        f"Wrote the plan {where}. The experiment runs from {outcome.starts_at:%Y-%m-%d} to "
        f"{outcome.ends_at:%Y-%m-%d} UTC.\n"
        f"Read the plan, then check it: et validate {where}\nRegister it before the experiment starts: et tick",
        soft_wrap=True,
    )


def _complete(given: dict[str, str | None], *, ask: bool) -> dict[str, str]:
    """All answers: the given ones; in a terminal the person is asked for the others; otherwise their defaults.

    Raises:
        CommandError: An answer without a default is missing and nobody can be asked.
    """
    missing = [name for name, (_, offered) in QUESTIONS.items() if not given[name] and offered is None]
    if missing and not ask:
        options = ", ".join("EXPERIMENT_ID" if name == "experiment_id" else f"--{name}" for name in missing)
        raise CommandError(f"missing: {options}; in a terminal et new asks for them")
    return {
        name: given[name] or (typer.prompt(question, default=offered) if ask else str(offered))
        for name, (question, offered) in QUESTIONS.items()
    }


def compose(
    answers: Answers,
    guardrails: list[str],
    path: Path,
    now: datetime,
    *,
    planned_pairs: int = 4000,
    days: int = 30,
    live: bool = False,
) -> str:
    """The plan's text.

    Args:
        answers: The answers.
        guardrails: Guardrails, each written `metric=margin`.
        path: The file into which it will be written.
        now: The present time; the window begins at the second midnight after it.
        planned_pairs: Number of pairs for which it is sized.
        days: Length of the window.
        live: Whether it is a `limited_live` experiment.

    Raises:
        CommandError: A guardrail is not written in this form.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    starts_at = midnight + timedelta(days=2)
    lines = []
    for guard in guardrails:
        name, separator, margin = guard.partition("=")
        if not separator:
            raise CommandError(
                f"--guardrail {guard!r}: write it as metric=margin, for example slippage_bps=1.0"
            )
        lines.append(f"  - {{name: {_text(name)}, role: guardrail, non_inferiority_margin: {margin}}}\n")
    if lines:
        lines.insert(0, "  # A guardrail may not lose more than its margin, in the metric's unit.\n")
    from et_pipeline.contracts.plan import counted

    return TEMPLATE.format(
        path=path,
        experiment_id=_text(answers.experiment_id),
        title=_text(answers.title),
        hypothesis=_text(answers.hypothesis),
        owner=_text(answers.owner),
        mode="limited_live" if live else "shadow",
        control=_arm(answers.control),
        variant=_arm(answers.variant),
        counted=counted("arms" if live else "correlation"),
        planned_pairs=planned_pairs,
        starts_at=f"{starts_at:%Y-%m-%dT%H:%M:%SZ}",
        ends_at=f"{starts_at + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}",
        matching="{method: arms, tolerance: 1m}" if live else "{method: correlation}",
        matched="All trades of both arms are compared. Pairs within the tolerance are only for people to look at."
        if live
        else "Two reports with the same correlation_id, one of each arm, are a pair.",
        primary=_text(answers.primary),
        equivalence=answers.equivalence,
        guardrails="".join(lines),
    )


def _text(value: str) -> str:
    """Text in quotes, so that YAML does not read it as a number, a date or a comment."""
    return json.dumps(value, ensure_ascii=False)


def _arm(written: str) -> str:
    strategy, separator, version = written.partition("@")
    config = f", config_version: {_text(version)}" if separator else ""
    return f"{{strategy_id: {_text(strategy)}{config}}}"
