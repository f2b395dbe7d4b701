"""The program `et`. Its commands are in `commands/`; each imports large libraries only when it needs them."""

from __future__ import annotations

import io
import sys
import warnings
from typing import NoReturn

import typer

from et_pipeline import __version__
from et_pipeline.commands import (
    backup,
    calibrate,
    generate,
    govern,
    new,
    notify,
    power,
    rebuild,
    run,
    show,
    spec,
    status,
    validate,
)
from et_pipeline.commands.quiet_exit import quiet_exit
from et_pipeline.commands.terminal import CommandError
from et_pipeline.common.files import keep_others_out
from et_pipeline.common.garbage import look_for_garbage_rarely
from et_pipeline.common.untrusted import shown
from et_pipeline.settings import SettingsError
from et_pipeline.warehouse.connection import WarehouseError

app = typer.Typer(
    name="et",
    help="ExperimentTracker watches strategy experiments and says what it found. It never promotes a strategy.",
    epilog="ET_DATA_DIR is the data folder (the default is data). Start with: et demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(run.demo)
app.command()(generate.generate)
app.command()(run.tick)
app.command()(status.status)
app.command()(show.show)
app.command()(validate.validate)
app.command()(spec.spec)
app.command("new")(new.new)
app.command()(power.plan)
app.command()(calibrate.calibrate)
app.command("sign-off")(govern.sign_off)
app.add_typer(govern.audit_app, name="audit")
app.add_typer(govern.outbox_app, name="outbox")
app.add_typer(govern.bus_app, name="bus")
app.add_typer(notify.notify_app, name="notify")
app.command()(rebuild.rebuild)
app.command("backup")(backup.back_up)
app.command()(backup.restore)
app.command()(run.parquet)
app.command()(run.ui)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Options of every command."""


def main() -> None:
    """Runs the command line: 0 done, 1 refused or failed with a message on stderr, 2 wrong usage."""
    look_for_garbage_rarely()
    quiet_exit()
    keep_others_out()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the encoding lacks are shown as ?
            stream.reconfigure(errors="replace")
    # Warnings for the developers of these libraries do not help users. (pandera imports PySpark if it is installed.)
    for library in ("dagster", "pyspark"):
        warnings.filterwarnings("ignore", module=rf"{library}\b.*")
    try:
        app(prog_name="et")
    except (CommandError, SettingsError, WarehouseError) as error:
        _refuse(str(error))
    except OSError as error:
        # If a file or folder cannot be used, every command reports its name instead of a traceback.
        _refuse(
            ": ".join(filter(None, (error.filename and str(error.filename), error.strerror or str(error))))
        )


def _refuse(message: str) -> NoReturn:
    """Prints one line on stderr and ends with status 1."""
    sys.stderr.write(f"et: {shown(' '.join(message.split()))}\n")
    sys.exit(1)
