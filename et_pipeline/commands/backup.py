"""`et backup` and `et restore`: the warehouse and its inputs as one folder, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError


def back_up(
    target: Annotated[Path, typer.Argument(help="The folder to make. It must not exist yet.")],
    reports: Annotated[
        bool,
        typer.Option(
            "--reports/--no-reports",
            help="Whether to copy the snapshots of the report bus. Only et rebuild needs them.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Copies warehouse, plans, sign-offs and snapshots into a new folder. Ticks wait while the warehouse is copied.

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
        f"Copied {len(manifest.files):,} files ({manifest.size / 1e6:,.1f} MB, audit log up to row "
        f"{manifest.audit['seq']:,}) into {target}.",
        soft_wrap=True,
    )


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that et backup made.")],
    as_json: AsJson = False,
) -> None:
    """Replaces the warehouse, plans, sign-offs and snapshots of this data folder with those of a backup.

    It first checks the whole backup (hashes, audit log, schema). It deletes nothing: what it replaces is moved into
    another folder.
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
            f"The replaced files are in {restored.replaced}. Remove them when you no longer need them.",
            soft_wrap=True,
        )
    console.print("Next: et audit verify, then et tick")
