"""`et backup` and `et restore`: the warehouse and its inputs as one folder, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError


def back_up(
    target: Annotated[Path, typer.Argument(help="The folder to make; it must not be there yet.")],
    reports: Annotated[
        bool,
        typer.Option(
            "--reports/--no-reports",
            help="With the snapshots of the report bus; et rebuild needs them, nothing else does.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Copies warehouse, plans, sign-offs and snapshots into a new folder; ticks wait while the warehouse is copied.

    Example: et backup /backup/et/2026-11-25
    """
    from et_pipeline.warehouse import backup

    present = terminal.settings()
    terminal.require(present.warehouse_path)
    try:
        manifest = backup.back_up(present, target, reports=reports)
    except backup.BackupError as error:
        raise CommandError(str(error)) from error
    if as_json:
        facts = {name: value for name, value in manifest._asdict().items() if name != "files"}
        terminal.print_json(
            {"path": str(target), "size": manifest.size, "files": len(manifest.files), **facts}
        )
        return
    terminal.console().print(
        f"{len(manifest.files):,} files, {manifest.size / 1e6:,.1f} MB, audit log up to row "
        f"{manifest.audit['seq']:,}, in {target}",
        soft_wrap=True,
    )


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that et backup made.")],
    as_json: AsJson = False,
) -> None:
    """Puts a backup in the place of this data folder's warehouse, plans, sign-offs and snapshots.

    The backup is checked as a whole first (hashes, audit log, schema). What is replaced stays in a folder of its own.
    """
    from et_pipeline.warehouse import backup

    present = terminal.settings()
    try:
        restored = backup.restore(present, source)
    except backup.BackupError as error:
        raise CommandError(str(error)) from error
    if as_json:
        terminal.print_json(
            {
                "made_at": restored.manifest.made_at,
                "files": len(restored.manifest.files),
                "replaced": restored.replaced and str(restored.replaced),
                "resumed": restored.resumed,
            }
        )
        return
    console = terminal.console()
    console.print(
        f"{'Finished the restore of' if restored.resumed else 'Restored'} the backup made at "
        f"{restored.manifest.made_at}: {len(restored.manifest.files):,} files.",
        soft_wrap=True,
    )
    if restored.replaced:
        console.print(
            f"What was there before is in {restored.replaced}; remove it when you are sure.", soft_wrap=True
        )
    console.print("Next: et audit verify, then et tick")
