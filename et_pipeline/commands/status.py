"""`et status`: every experiment in one table, and what to do next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.common import text
from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.governance.lifecycle import STATES
from et_pipeline.governance.next_steps import GROUPS, word

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console
    from rich.table import Table

    from et_pipeline.governance.judgement import Judgement

VERDICT_STYLE = {
    "variant_better": "bold green",
    "variant_worse": "bold red",
    "equivalent": "bold cyan",
    "inconclusive": "yellow",
    "verdict_withdrawn": "bold red",
    "verdict_contradicted": "bold red",
}


def _known_states(given: list[str] | None) -> list[str] | None:
    """Checks the values of the option `--state`.

    Raises:
        BadParameter: One of them is not a state.
    """
    unknown = [state for state in given or () if state not in STATES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is not a state; allowed: {', '.join(STATES)}")
    return given


def status(
    owner: Annotated[
        list[str] | None,
        typer.Option(help="Show only experiments of this owner. You can repeat this option."),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Show only experiments in this state ({', '.join(STATES)}). You can repeat this option.",
            callback=_known_states,
        ),
    ] = None,
    needs_me: Annotated[
        bool, typer.Option("--needs-me", help="Show only experiments for which somebody has to do something.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Shows every experiment in one table: pairs, uplift with its interval, verdict, and what to do next.

    Example: et status --needs-me --owner strategy-pod
    """
    from et_pipeline.governance.portfolio import summary

    with terminal.analyst_database(terminal.settings()) as connection:
        everything = read_status(connection)
        portfolio = summary(terminal.rows(connection, "FROM portfolio"))
        orphans = terminal.rows(
            connection,
            "SELECT path, key, value, sentence FROM plan_refusals WHERE experiment_id IS NULL "
            "OR experiment_id NOT IN (SELECT experiment_id FROM experiments) ORDER BY ALL",
        )
    owners = sorted({row["owner"] for row in everything})
    unknown = sorted(set(owner or ()) - set(owners))
    if unknown:
        raise CommandError(
            f"no experiment has the owner {unknown[0]!r}; owners: {', '.join(owners) or 'none'}"
        )
    experiments = [
        row
        for row in everything
        if (not owner or row["owner"] in owner)
        and (not state or (row["state"] or "registered") in state)
        and (not needs_me or row["needs_me"])
    ]
    if as_json:
        terminal.print_json({"experiments": experiments, "portfolio": portfolio, "refused_plans": orphans})
        return
    console = terminal.console()
    if experiments or not everything:
        print_status(console, experiments)
    if len(experiments) < len(everything):
        console.print(f"{len(experiments)} of {len(everything)} experiments match.")
    if portfolio:
        console.print(portfolio)
    for row in experiments:
        for refusal in row["refused_changes"]:
            console.print(f"[yellow]refused:[/] {terminal.plain(refusal)}", soft_wrap=True)
    for refusal in orphans:
        where = " ".join(filter(None, (refusal["path"], refusal["key"], refusal["value"])))
        console.print(
            f"[yellow]refused:[/] {terminal.plain(where)}: {terminal.plain(refusal['sentence'])}",
            soft_wrap=True,
        )


def read_status(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """One row per experiment: the columns of the query `status`, its stored judgement, its group and the next step."""
    from et_pipeline.governance.judgement import stored_judgement

    experiments = terminal.rows(connection, load(__package__, "status"))
    for row in experiments:
        missing = json.loads(row["missing"] or "[]")
        row["missing"] = [item["sentence"] for item in missing]
        judgement, row["group"] = stored_judgement(row)
        del row["standing"]
        row.update(_headline(judgement))
        row["needs_me"] = GROUPS[row["group"]].needs_me
        waits = (
            [*row["missing"], judgement.next_look]
            if row["state"] == "sampling" and not row["failures"]
            else []
        )
        row["next_step"] = " ".join(filter(None, [judgement.next_step, *waits]))
        row["command"] = judgement.command
        row["methods"] = judgement.methods
        row["replay"] = judgement.replay and judgement.replay._asdict()
        row["money"] = judgement.money and judgement.money._asdict()
        row["unbiased"] = judgement.unbiased and judgement.unbiased._asdict()
        row["conditions"] = [condition._asdict() for condition in judgement.conditions]
        row["present"] = [standing._asdict() for standing in judgement.present]
        row["review"] = judgement.review
        row["standings"] = [standing._asdict() for standing in judgement.standings]
    return experiments


def _headline(judgement: Judgement) -> dict[str, Any]:
    """The primary metric's figures at the decision, or at the end of the newest closed block."""
    primary = judgement.primary
    names = (
        "n_pairs", "n_control", "n_variant", "effective_clusters", "mean_uplift", "ci_lower", "ci_upper",
        "e_value", "as_of", "method", "look", "looks", "next_look_at", "carried",
    )  # fmt: skip
    point = {} if primary is None else primary.point
    figures = {name: point.get(name) for name in names}
    return figures | {"metric": primary and primary.name, "n_pairs": figures["n_pairs"] or 0}


def print_status(console: Console, experiments: list[dict[str, Any]]) -> None:
    """Prints the table of `et status` and `et demo`, and below it what to do next."""
    terminal.print_table(console, status_table(experiments))
    console.print("Next steps")
    for row in experiments:
        console.print(f"  [bold]{row['experiment_id']}[/]: {row['next_step']}", soft_wrap=True)
        if row["command"]:
            console.print(f"    {row['command']}  (or decline)", soft_wrap=True)
    console.print()
    for row in experiments:
        for failure in row["failures"]:
            console.print(f"[red]failed:[/] {terminal.plain(failure)}", soft_wrap=True)


def sample_text(row: dict[str, Any]) -> str:
    """The number of pairs, or of each arm's trades if all trades are compared: `5,400 + 600 trades`."""
    if row["n_control"] is None:
        return f"{row['n_pairs'] or 0:,}"
    return f"{row['n_control']:,} + {row['n_variant']:,} trades"


def interval_text(row: dict[str, Any]) -> str:
    """Mean and interval, such as `+1.62 [+0.41, +2.83] bps`, or that there is no interval yet."""
    if row["mean_uplift"] is None:
        return text.NONE
    unit = metric_of(row["metric"]).unit
    ends = (row["ci_lower"], row["ci_upper"])
    decimals = text.decimals_of(*ends, row["mean_uplift"])
    mean = text.signed(row["mean_uplift"], decimals)
    between = "(no interval yet)" if None in ends else brackets(*ends, decimals)
    return f"{mean} {between} {unit}"


def brackets(lower: float, upper: float, decimals: int | None = None) -> str:
    """The two ends of an interval, such as `[+0.41, +2.83]`; by default with as many decimals as its width requires."""
    if decimals is None:
        decimals = text.decimals_of(lower, upper)
    return f"[{text.signed(lower, decimals)}, {text.signed(upper, decimals)}]"


def status_table(experiments: list[dict[str, Any]]) -> Table:
    """The table of `et status` and `et demo`."""
    from rich.text import Text

    from et_pipeline.governance.promises import WORDS as PROMISES

    table = terminal.table()
    table.add_column("experiment", overflow="fold")
    table.add_column("mode")
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("clusters", justify="right", no_wrap=True)
    table.add_column(terminal.plain("uplift [interval]"))
    table.add_column("verdict", no_wrap=True)
    table.add_column("reason codes")
    for row in experiments:
        verdict = word(row["state"], row["verdict"], row["reason"])
        uplift = interval_text(row)
        codes = [code.removeprefix("EXPERIMENT_") for code in row["reason_codes"]]
        if row["drift_signals"]:
            codes.append("drift signal")
        if (row["replay"] or {}).get("state") == "unfaithful":
            codes.append("replay is not true")
            uplift += f"\nlike for like:\n{interval_text({'metric': row['metric'], **row['replay']['like']})}"
        if row["promise"] in PROMISES:
            codes.append(PROMISES[row["promise"]])
        table.add_row(
            row["experiment_id"],
            row["mode"],
            sample_text(row),
            "–" if row["effective_clusters"] is None else f"{row['effective_clusters']:.0f}",
            uplift,
            Text(verdict, style=VERDICT_STYLE.get(verdict, "")),
            "\n".join(codes),
        )
    return table
