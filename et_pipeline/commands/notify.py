"""`et notify test`: whether the addresses of `notifications.yaml` take a message."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError

notify_app = typer.Typer(help="Messages to people (see docs/notifications.md).", no_args_is_help=True)


@notify_app.callback()
def _notify() -> None:
    """Keeps `test` a command of its own: an app with a single command would take its place."""


@notify_app.command("test")
def notify_test(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(help="Names of addresses in notifications.yaml. Without a name, all of them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sends a test message to each address now, without the outbox. The exit status is 1 if a message cannot be sent.

    Example: et notify test reviewers
    """
    from et_pipeline.publishing.destinations import Message, UnavailableError
    from et_pipeline.publishing.directory import DirectoryError, read_directory
    from et_pipeline.publishing.people import Person, Text

    present = terminal.settings()
    try:
        directory = read_directory(present)
    except DirectoryError as error:
        raise CommandError(str(error)) from error
    wanted = addresses or sorted(directory.addresses)
    unknown = sorted(set(wanted) - set(directory.addresses))
    if unknown or not wanted:
        known = ", ".join(sorted(directory.addresses)) or "none; see docs/notifications.md"
        what = f"has no address {', '.join(unknown)}" if unknown else "has no addresses"
        raise CommandError(f"{directory.path} {what}; known addresses: {known}")
    identifier = uuid.uuid4().hex
    results: list[dict[str, Any]] = []
    for name in wanted:
        text = Text(
            "ExperimentTracker: test message",
            f"The address {name} of notifications.yaml works. This is a test: nothing happened to any experiment.\n\n"
            f"Message {identifier}",
            "INFO",
        )
        message = Message(identifier, "notification", None, None, json.dumps(text._asdict()).encode())
        try:
            with Person(present, name).open() as send:
                results.append({"address": name, "taken": True, "detail": send(message)})
        except UnavailableError as error:
            results.append({"address": name, "taken": False, "detail": str(error)})
    if as_json:
        terminal.print_json({"results": results})
    else:
        console = terminal.console()
        for result in results:
            mark = "[green]sent[/]  " if result["taken"] else "[red]failed[/]"
            console.print(f"{mark} {result['address']}: {terminal.plain(result['detail'])}", soft_wrap=True)
    if not all(result["taken"] for result in results):
        raise typer.Exit(1)
