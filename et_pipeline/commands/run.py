"""`et demo`, `et tick`, `et parquet` and `et ui`: run the pipeline."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Annotated

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError


def tick(
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option(help="Run even if nothing is due.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log of the run.")] = False,
) -> None:
    """Runs the Dagster job once on everything that is new: it reads reports, decides, and sends messages.

    Example: et tick, or as a cron job: ET_DATA_DIR=/srv/et/data et tick --json
    """
    from et_pipeline.commands import run_tick as ticking

    started = time.monotonic()
    if verbose:
        outcome = ticking.tick(terminal.settings(), force=force, verbose=True)
    else:
        with terminal.progress("Looking for new files") as say:
            outcome = ticking.tick(terminal.settings(), force=force, say=say)
    seconds = time.monotonic() - started
    if as_json:
        terminal.print_json({**outcome._asdict(), "seconds": round(seconds, 3)})
        raise typer.Exit(1 if outcome.failures else 0)
    console = terminal.console()
    if outcome.due:
        console.print(f"The tick took {seconds:.1f} s (run {outcome.run_id}).", soft_wrap=True)
    else:
        console.print("Nothing is new: every snapshot, plan and sign-off is in the warehouse already.")
    if outcome.messages:
        console.print(f"{outcome.messages} messages were delivered.")
    for check in outcome.failed_checks:
        console.print(f"[yellow]check failed:[/] {terminal.plain(check)}", soft_wrap=True)
    for failure in outcome.failures:
        console.print(f"[red]failed:[/] {terminal.plain(failure)}", soft_wrap=True)
    if outcome.failures:
        raise typer.Exit(1)


def demo(as_json: AsJson = False) -> None:
    """Generates reports for the sample plans, runs the real job on them, and shows what it found.

    Example: et demo. If you run it again, nothing is read twice and no message is sent twice.
    """
    from et_pipeline.commands import run_tick as ticking
    from et_pipeline.commands import samples
    from et_pipeline.commands.status import print_status, read_status
    from et_pipeline.contracts.plan import read_plans
    from et_pipeline.generator import write_snapshots

    # One sample is in limited live, which is refused unless this mode is allowed. It stays registered afterwards.
    os.environ.setdefault("ET_MODE", "limited_live")
    present = terminal.settings()
    console = terminal.console(quiet=as_json)
    samples.write_plans(present.experiments_dir)
    plans, _ = read_plans(present.experiments_dir)
    known = {plan.experiment_id: plan for plan in plans.values()}
    missing = sorted(set(samples.TRUTHS) - set(known))
    if missing:
        raise CommandError(
            f"{present.experiments_dir} contains other plans, and these sample plans are missing: "
            f"{', '.join(missing)}; "
            "give the demo its own folder: ET_DATA_DIR=demo et demo"
        )
    truth_path = present.data_dir / "truth.json"
    if samples.generated(present.report_bus_dir, truth_path):
        console.print(
            f"The sample reports exist already, in {terminal.plain(present.report_bus_dir)}.",
            soft_wrap=True,
        )
    else:
        started = time.monotonic()
        with terminal.progress("Generating reports"):
            truth = write_snapshots(
                [samples.scenario(known[name], **facts) for name, facts in samples.TRUTHS.items()],
                present.report_bus_dir,
                seed=samples.SEED,
                files=samples.FILES,
                broken=1,
                skipped=40,
                truth_path=truth_path,
            )
        console.print(
            f"Generated {truth.lines:,} report lines in {len(truth.files)} snapshots "
            f"({sum(truth.broken.values())} lines are broken on purpose) in {time.monotonic() - started:.1f} s."
        )
    started = time.monotonic()
    with terminal.progress("Looking for new files") as say:
        outcome = ticking.tick(present, say=say)
    seconds = time.monotonic() - started
    if outcome.due:
        console.print(
            f"Ran the Dagster job in {seconds:.1f} s; {outcome.messages} messages are in the outbox.\n"
        )
    else:
        console.print("Nothing is new since the last tick, and no message was sent twice.\n")
    with terminal.analyst_database(present) as connection:
        experiments = read_status(connection)
    if as_json:
        terminal.print_json({**outcome._asdict(), "experiments": experiments})
        return
    print_status(console, experiments)
    table = [
        ("Dagster UI", "et ui", "or make ui in the project's folder, then open http://localhost:3000"),
        ("review pages", str(present.pages_dir / "index.html"), ""),
        ("analyst database", str(present.analyst_path), "open it with any DuckDB client"),
        ("messages sent", str(present.outbox_dir), "one JSON file per message"),
    ]
    for name, where, how in table:
        console.print(
            f"  [bold]{name:17}[/] {terminal.plain(where)}" + (f"  ({how})" if how else ""), soft_wrap=True
        )


def parquet(as_json: AsJson = False) -> None:
    """Writes those tables of the analyst database that changed as Parquet files into published/parquet.

    Example: et parquet, then in any tool: published/parquet/pairs/*.parquet
    """
    from et_pipeline.insight.parquet import write_parquet

    present = terminal.settings()
    with terminal.analyst_database(present):
        pass  # raises an error that says what to do if nothing was published yet
    with terminal.progress("Writing what changed"):
        export = write_parquet(present)
    if as_json:
        terminal.print_json({"folder": str(export.folder), "written": export.written, "kept": export.kept})
    else:
        console = terminal.console()
        console.print(
            f"Wrote {len(export.written)} files and kept {export.kept} unchanged files in "
            f"{terminal.plain(export.folder)}.",
            soft_wrap=True,
        )


def ui(
    port: Annotated[int, typer.Option(help="Port of the web server.", min=1, max=65535)] = 3000,
    host: Annotated[str, typer.Option(help="Address on which the web server listens.")] = "127.0.0.1",
) -> None:
    """Starts the Dagster UI and daemon with the sensors on, for this data folder.

    Example: et ui --port 3001, then open http://localhost:3001; Ctrl-C stops it.
    """
    from et_pipeline.commands.run_tick import dagster_home

    present = terminal.settings()
    dagster_home(present)
    os.environ["ET_DATA_DIR"] = str(present.data_dir)
    os.environ.setdefault("ET_DAGSTER_URL", f"http://{'localhost' if host == '127.0.0.1' else host}:{port}")
    arguments = ["-m", "dagster", "dev", "-m", "et_pipeline.definitions", "-p", str(port), "-h", host]
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell starts background processes with SIGINT ignored
    os.execv(sys.executable, [sys.executable, *arguments])
