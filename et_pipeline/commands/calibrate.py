"""`et calibrate`: does the promised error hold on an experiment's own data?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.common import text


def calibrate(
    experiment: Annotated[str | None, typer.Argument(help="Its experiment_id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every experiment that has pairs.")] = False,
    flips: Annotated[
        int, typer.Option(min=500, max=100_000, help="Placebo paths of each metric and scheme.")
    ] = 500,
    as_json: AsJson = False,
) -> None:
    """Placebo paths from an experiment's own cells: how often is something found where nothing differs?

    Status 1 where more of them exclude 0 than the plan promises, beyond three Monte Carlo errors.

    Example: et calibrate line-shop-v4
    """
    from et_pipeline.evidence.calibration import calibrate_experiments
    from et_pipeline.experiments.registered import registered_ids
    from et_pipeline.insight.pages import publish_pages
    from et_pipeline.insight.publish import publish_analyst_database
    from et_pipeline.warehouse.connection import open_warehouse

    if every == (experiment is not None):
        raise CommandError("name one experiment, or say --all")
    present = terminal.settings()
    terminal.require(present.warehouse_path)
    with open_warehouse(present) as connection:
        known = registered_ids(connection)
    if experiment is not None and experiment not in known:
        raise CommandError(f"{experiment!r} is no registered experiment; known: {', '.join(known) or 'none'}")
    names = known if experiment is None else [experiment]
    with terminal.progress("Reading the cells") as say:
        found, failures = calibrate_experiments(present, names, flips=flips, say=say)
        say("Publishing the results")
        publish_analyst_database(present)
        publish_pages(present)
    rows: list[dict[str, Any]] = [
        {"experiment_id": name, **result._asdict(), "holds": result.holds}
        for name, results in found.items()
        for result in results
    ]
    too_early = [name for name, results in found.items() if not results]
    sentences = [failure.sentence for failure in failures]
    if as_json:
        terminal.print_json({"calibration": rows, "too_early": too_early, "failures": sentences})
    else:
        _print(rows, too_early, sentences)
    if failures or not all(row["holds"] for row in rows):
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]], too_early: list[str], failures: list[str]) -> None:

    console = terminal.console()
    if rows:
        table = terminal.table()
        for name in ("experiment", "metric", "flipped by", "paths", "exclude 0", "promised", ""):
            table.add_column(name, justify="right" if name in ("paths", "exclude 0", "promised") else "left")
        for row in rows:
            flipped = row["scheme"] if row["run_blocks"] is None else f"runs of {row['run_blocks']} blocks"
            share = f"{text.percent(row['false_share'])} ± {text.percent(row['mc_error'])}"
            table.add_row(
                row["experiment_id"],
                row["metric"],
                flipped,
                f"{row['flips']:,}",
                share,
                f"at most {text.percent(row['alpha'])}",
                "[green]holds[/]" if row["holds"] else "[red]does not hold[/]",
            )
        terminal.print_table(console, table)
    for name in too_early:
        console.print(f"{name}: too early: nothing can be concluded from its pairs yet.")
    for sentence in failures:
        console.print(f"[red]failed:[/] {terminal.plain(sentence)}", soft_wrap=True)
