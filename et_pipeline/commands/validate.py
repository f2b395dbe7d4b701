"""`et validate`: plans and snapshots are checked before a tick reads them; nothing is ingested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError

if TYPE_CHECKING:
    from datetime import datetime

    from et_pipeline.contracts.plan import Plan
    from et_pipeline.settings import Settings


def _made_here(path: Path, present: Settings) -> bool:
    """Whether a file is in one of the data folder's folders that the pipeline itself writes."""
    folders = ("dagster", "logs", "outbox", "published", "warehouse")
    return any(path.resolve().is_relative_to(present.data_dir.resolve() / name) for name in folders)


def misplaced(path: Path, present: Settings, place: Path, what: str) -> list[str]:
    """The problem of a file in the data folder that no tick reads there; none for files outside the data folder.

    Args:
        path: The file.
        present: The settings with the data folder.
        place: The folder to which it belongs.
        what: What the file is, in words.
    """
    found = path.resolve()
    if found.is_relative_to(place.resolve()) or not found.is_relative_to(present.data_dir.resolve()):
        return []
    return [f"{path}: {what} is not read here; move it to {place}"]


def late_dates(plan: Plan, now: datetime) -> list[str]:
    """Warnings about a plan's dates, for a person who has not registered it yet.

    Args:
        plan: The plan.
        now: The present time.
    """
    if plan.sample:
        return []
    if plan.ends_at <= now:
        return [
            f"ends_at {plan.ends_at:%Y-%m-%d %H:%M} UTC lies in the past: if you register the plan now, the "
            "experiment ends at once, and its verdict is marked as registered in hindsight"
        ]
    if plan.starts_at <= now:
        return [
            f"starts_at {plan.starts_at:%Y-%m-%d %H:%M} UTC lies in the past: if you register the plan now, its "
            "verdict is marked as registered in hindsight; choose a later starts_at"
        ]
    return []


def validate(
    path: Annotated[
        Path, typer.Argument(help="A plan, a snapshot, or a folder with plans or snapshots.", exists=True)
    ],
    as_json: AsJson = False,
) -> None:
    """Checks plans or snapshots without ingesting anything. The exit status is 1 if something would be refused.

    Example: et validate data/experiments/line-shop-v4.yaml
    """
    from et_pipeline.contracts.plan import MAX_PLAN_BYTES, Plan, parse_plan, unread_plans
    from et_pipeline.contracts.plan import UNREAD as LIKE_A_PLAN
    from et_pipeline.ingest.listing import UNREAD as LIKE_A_SNAPSHOT
    from et_pipeline.ingest.listing import looks_like_a_snapshot
    from et_pipeline.ingest.validate import SNAPSHOT_SUFFIXES, validate_snapshot
    from et_pipeline.publishing.directory import Directory, parse_directory
    from et_pipeline.settings import NOTIFICATIONS

    present = terminal.settings()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    files = [item for item in files if not (path.is_dir() and _made_here(item, present))]
    plans = [item for item in files if item.suffix in (".yaml", ".yml")]
    snapshots = [item for item in files if item.name.endswith(SNAPSHOT_SUFFIXES)]
    if not plans and not snapshots:
        raise CommandError(
            f"{path} contains neither plans (.yaml) nor snapshots ({', '.join(SNAPSHOT_SUFFIXES)})"
        )
    unread = {item: LIKE_A_SNAPSHOT for item in files if looks_like_a_snapshot(item.name)}
    if path.is_dir() and path.resolve() == present.experiments_dir.resolve():
        unread |= dict.fromkeys(unread_plans(path), LIKE_A_PLAN)
    results: list[dict[str, Any]] = [
        {"path": str(item), "kind": "unread", "valid": False, "problems": [f"{item}: {why}"]}
        for item, why in unread.items()
    ]
    for item in (item for item in plans if item.name == NOTIFICATIONS):
        found = parse_directory(item.read_bytes(), item)
        problems = [] if isinstance(found, Directory) else [str(refusal) for refusal in found]
        results.append(
            {"path": str(item), "kind": "notifications", "valid": not problems, "problems": problems}
        )
    plans = [item for item in plans if item not in unread and item.name != NOTIFICATIONS]
    for item in plans:
        with item.open("rb") as file:
            outcome = parse_plan(file.read(MAX_PLAN_BYTES + 1), str(item))
        problems = [] if isinstance(outcome, Plan) else [str(refusal) for refusal in outcome]
        problems += misplaced(item, present, present.experiments_dir, "a plan")
        warnings = late_dates(outcome, present.now()) if isinstance(outcome, Plan) else []
        results.append(
            {
                "path": str(item),
                "kind": "plan",
                "valid": not problems,
                "problems": problems,
                "warnings": warnings,
            }
        )
    for item in snapshots:
        report = validate_snapshot(item, present)
        problems = [f"{item}:{row.line}: {row.reason}: {row.sentence}" for row in report.quarantine]
        problems += misplaced(item, present, present.report_bus_dir, "a snapshot")
        results.append(
            {
                "path": str(item),
                "kind": "snapshot",
                "valid": not problems,
                "lines": report.lines,
                "reports": report.reports,
                "skipped": report.skipped,
                "quarantined": report.quarantined,
                "waiting": report.waiting,
                "problems": problems,
            }
        )
    if as_json:
        terminal.print_json({"results": results})
    else:
        console = terminal.console()
        for result in results:
            mark = "[green]valid[/]  " if result["valid"] else "[red]refused[/]"
            counts = (
                f" ({result['lines']:,} lines, {result['quarantined']:,} refused)"
                if "lines" in result
                else ""
            )
            if result.get("waiting"):
                counts += (
                    f", {result['waiting']:,} reports have a time in the future and would wait until then"
                )
            console.print(f"{mark} {terminal.plain(result['path'])}{counts}", soft_wrap=True)
            for problem in result["problems"]:
                console.print(f"  {terminal.plain(problem)}", soft_wrap=True)
            for warning in result.get("warnings", []):
                console.print(f"  [yellow]warning[/] {terminal.plain(warning)}", soft_wrap=True)
    if not all(result["valid"] for result in results):
        raise typer.Exit(1)
