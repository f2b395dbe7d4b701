"""`et calibrate`: does the promised error hold on an experiment's own data?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.common import text


def calibrate(
    experiment: Annotated[str | None, typer.Argument(help="The experiment_id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Test every experiment that has pairs.")] = False,
    flips: Annotated[
        int, typer.Option(min=500, max=100_000, help="Number of placebo paths for each metric and scheme.")
    ] = 500,
    as_json: AsJson = False,
) -> None:
    """Tests on an experiment's own data how often a difference is found although there is none.

    For this it makes placebo paths, in which the arms do not differ. The exit status is 1 if more of them exclude 0
    than the plan promises, by more than three Monte Carlo errors.

    Example: et calibrate line-shop-v4
    """
    from et_pipeline.evidence.calibration import calibrate_experiments
    from et_pipeline.experiments.registered import registered_ids
    from et_pipeline.insight.pages import publish_pages
    from et_pipeline.insight.publish import publish_analyst_database
    from et_pipeline.warehouse.connection import open_warehouse

    if every == (experiment is not None):
        raise CommandError("name one experiment, or use --all")
    present = terminal.settings()
    terminal.require(present.warehouse_path)
    with open_warehouse(present) as connection:
        known = registered_ids(connection)
    if experiment is not None and experiment not in known:
        raise CommandError(
            f"{experiment!r} is not a registered experiment; experiments: {', '.join(known) or 'none'}"
        )
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
                "[green]kept[/]" if row["holds"] else "[red]not kept[/]",
            )
        terminal.print_table(console, table)
    for name in too_early:
        console.print(f"{name}: it is too early, because nothing can be concluded from its pairs yet.")
    for sentence in failures:
        console.print(f"[red]failed:[/] {terminal.plain(sentence)}", soft_wrap=True)
