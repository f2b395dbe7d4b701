"""Backups: a folder with the warehouse and its inputs, and a manifest by which all of it can be checked.

The manifest is written when all other files are complete, and only then does the folder get its final name. A restore
checks everything, copies all of it beside the data, and then exchanges files one by one. During the exchange a file
marks the data folder as half restored, and nothing else uses the folder until that file is removed. The files that were
there before are kept in a folder of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from et_pipeline import __version__
from et_pipeline.common.files import sync_directory, write_atomically
from et_pipeline.settings import NOTIFICATIONS, Settings
from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import WarehouseError, checkpointed, connected, locked, migrations
from et_pipeline.warehouse.run_lock import no_run_in_progress

MANIFEST = "manifest.json"
FORMAT = 1
REPORTS = "report_bus"
_CHUNK = 1 << 20


class BackupError(RuntimeError):
    """A backup cannot be made, or is not one that can be restored; the message says why."""


class Manifest(NamedTuple):
    """The content of a backup.

    Attributes:
        format: Version of this layout.
        made_at: When it was made (ISO-8601, UTC).
        program: Version of the program that made it.
        schema_version: Version of its warehouse's schema.
        audit: Newest row of its audit log: `seq` and `hash`.
        reports: Whether it contains the snapshots of the report bus.
        files: `size` in bytes and `sha256` of each file, by path.
    """

    format: int
    made_at: str
    program: str
    schema_version: int
    audit: dict[str, Any]
    reports: bool
    files: dict[str, dict[str, Any]]

    @property
    def size(self) -> int:
        """Total size of all files, in bytes."""
        return sum(int(entry["size"]) for entry in self.files.values())


def back_up(settings: Settings, target: Path, *, reports: bool = True) -> Manifest:
    """Copies the warehouse and its inputs into a new folder.

    The warehouse's lock is held while the warehouse is copied, so ticks wait for that time. The inputs are copied after
    it. So they include everything that the warehouse has read, and the first tick after a restore reads newer ones.

    Args:
        settings: The data folder.
        target: The folder to make; it must not exist, nor lie in the data folder.
        reports: Whether to copy the snapshots of the report bus too.

    Raises:
        BackupError: The target cannot be made.
        WarehouseError: The warehouse is in use, corrupt, or newer than this program.
        OSError: A file cannot be read or written; in that case there is no target.
    """
    target = target.absolute()
    if target.exists():
        raise BackupError(f"{target} exists already; a backup never overwrites a folder: use another name")
    if target.resolve().is_relative_to(settings.data_dir.resolve()):
        raise BackupError(
            f"{target} lies in the data folder {settings.data_dir}; put the backup outside of it"
        )
    unfinished = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        with locked(settings) as warehouse:
            checkpointed(settings, warehouse)
            with connected(settings, warehouse) as connection:
                head = audit.head(connection)
            first = [warehouse, audit.anchor_path(settings)]
            files = _copied(settings.data_dir, first, unfinished)
        files |= _copied(settings.data_dir, _inputs(settings, reports), unfinished)
        manifest = Manifest(
            FORMAT,
            datetime.now(UTC).isoformat(timespec="seconds"),
            __version__,
            migrations()[-1][0],
            {"seq": head.seq, "hash": head.hash},
            reports,
            files,
        )
        document = json.dumps(manifest._asdict(), indent=1, sort_keys=True)
        write_atomically(unfinished / MANIFEST, document.encode())
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_directory(target.parent)
    return manifest


def _inputs(settings: Settings, reports: bool) -> Iterator[Path]:
    yield settings.allowed_signers_path
    yield settings.data_dir / NOTIFICATIONS
    folders = [settings.experiments_dir, settings.sign_offs_dir] + [settings.report_bus_dir] * reports
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".tmp":
                yield path


def _copied(root: Path, paths: Iterable[Path], target: Path) -> dict[str, dict[str, Any]]:
    """Copies files below `root` with their times; returns the size and hash of each."""
    found = {}
    for path in paths:
        if path.exists():
            name = path.relative_to(root).as_posix()
            size, digest = _copy(path, target / name)
            found[name] = {"size": size, "sha256": digest}
    return found


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copies a file and syncs it; returns size and SHA-256 of the bytes that were copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    shutil.copystat(source, target)
    return size, digest.hexdigest()


class Restored(NamedTuple):
    """The result of a restore.

    Attributes:
        manifest: The manifest of the backup.
        replaced: The folder with the files that were there before; None if there were none.
        resumed: Whether it continued a restore that had been interrupted.
    """

    manifest: Manifest
    replaced: Path | None
    resumed: bool


def restore(settings: Settings, source: Path) -> Restored:
    """Replaces a data folder's warehouse and inputs by those of a backup.

    Everything is checked before anything is changed. If it is killed while it copies, nothing has changed. If it is
    killed while it exchanges files, nothing else can use the data folder until the same call has finished the exchange.

    Args:
        settings: The data folder; it may be empty or missing.
        source: The backup.

    Raises:
        BackupError: The source is not a complete, unchanged backup that this program can read.
        WarehouseError: A tick or another process uses the data folder.
    """
    manifest = read_manifest(source)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with no_run_in_progress(settings), locked(settings, restoring=True):
        staging = settings.restoring_path.parent
        resumed = settings.restoring_path.exists()
        if resumed:
            _same_backup(settings, source, manifest)
        else:
            shutil.rmtree(staging, ignore_errors=True)
            _check(settings, source, manifest, staging / "new")
            write_atomically(settings.restoring_path, (source / MANIFEST).read_bytes())
        replaced = _exchange(settings, manifest, staging)
    return Restored(manifest, replaced, resumed)


def read_manifest(source: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        BackupError: It is not a backup in a format that this program knows.
    """
    path = source / MANIFEST
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
        named = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in manifest.files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(f"{source} is not a backup: its {MANIFEST} cannot be read ({error})") from error
    if manifest.format != FORMAT:
        raise BackupError(f"{source} has format {manifest.format}; this program knows format {FORMAT}")
    known = ("warehouse", "experiments", "sign_offs", "allowed_signers", NOTIFICATIONS, REPORTS)
    for name in named:
        parts = PurePosixPath(name).parts
        if not parts or parts[0] not in known or ".." in parts:
            raise BackupError(f"{path} names {name!r}, which has no place in a data folder")
    return manifest


def _check(settings: Settings, source: Path, manifest: Manifest, staged: Path) -> None:
    """Copies a backup into the folder from which it will be restored, and refuses it if anything in it is wrong."""
    present = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    for name in sorted(present - {MANIFEST} - set(manifest.files)):
        raise BackupError(f"{source / name} is not in the manifest: it does not belong to the backup")
    for name, entry in manifest.files.items():
        try:
            size, digest = _copy(source / name, staged / name)
        except FileNotFoundError:
            raise BackupError(f"{source / name} is missing: the backup is not complete") from None
        if (size, digest) != (entry["size"], entry["sha256"]):
            raise BackupError(f"{source / name} is not the file that was backed up: its hash differs")
    warehouse = staged / settings.warehouse_path.relative_to(settings.data_dir)
    if not warehouse.exists():
        raise BackupError(f"{source} contains no warehouse")
    try:
        _check_warehouse(settings, source, manifest, warehouse)
    except WarehouseError as error:
        raise BackupError(f"the warehouse in {source} cannot be used: {error}") from error


def _check_warehouse(settings: Settings, source: Path, manifest: Manifest, warehouse: Path) -> None:
    """Checks that a backup's schema is not newer than this program, and that its audit log is as it was written."""
    staged = replace(settings, data_dir=warehouse.parent.parent)
    with connected(staged, warehouse) as connection:
        noted = audit.read_anchor(staged)
        anchors = [*audit.event_anchors(connection), audit.Head(**manifest.audit, source=MANIFEST)]
        fault = audit.verify(connection, [*anchors, noted] if noted else anchors)
    if fault is not None:
        raise BackupError(f"the audit log in {source} was changed after it was written: {fault.sentence}")


def _same_backup(settings: Settings, source: Path, manifest: Manifest) -> None:
    if (source / MANIFEST).read_bytes() != settings.restoring_path.read_bytes():
        begun = json.loads(settings.restoring_path.read_text(encoding="utf-8"))
        raise BackupError(
            f"another restore was interrupted: that of the backup made at {begun['made_at']}; {source} is of "
            f"{manifest.made_at}: finish that restore first"
        )


def _exchange(settings: Settings, manifest: Manifest, staging: Path) -> Path | None:
    """Moves the present files away and the staged files into their place; it can continue after an interruption."""
    data, new, old = settings.data_dir, staging / "new", staging / "old"
    warehouse = settings.warehouse_path
    places = [
        warehouse,
        warehouse.with_name(f"{warehouse.name}.wal"),
        audit.anchor_path(settings),
        settings.last_tick_path,
        settings.experiments_dir,
        settings.sign_offs_dir,
        settings.allowed_signers_path,
        *([data / NOTIFICATIONS] if _holds(manifest, NOTIFICATIONS) else []),
        *([settings.report_bus_dir] if manifest.reports else []),
    ]
    for place in places:
        name = place.relative_to(data)
        successor = new / name
        # A restore that continues after an interruption finds places that were exchanged already; these stay as they
        # are.
        due = successor.exists() if _holds(manifest, name.as_posix()) else not (old / name).exists()
        if due and place.exists():
            (old / name).parent.mkdir(parents=True, exist_ok=True)
            place.rename(old / name)
        if successor.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            successor.rename(place)
    for folder in (settings.experiments_dir, settings.sign_offs_dir, settings.report_bus_dir):
        folder.mkdir(exist_ok=True)  # a backup has no empty folders, and a missing bus would be an outage
    for folder in (data, warehouse.parent):
        sync_directory(folder)
    replaced = None
    if old.exists():
        replaced = data / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        old.rename(replaced)
    settings.restoring_path.unlink()
    shutil.rmtree(staging, ignore_errors=True)
    return replaced


def _holds(manifest: Manifest, name: str) -> bool:
    return any(path == name or path.startswith(f"{name}/") for path in manifest.files)
