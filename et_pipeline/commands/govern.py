"""`et sign-off`, `et audit verify`, `et outbox` and `et bus`: decisions of humans, and checks and repairs by
operators."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.settings import Settings

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.governance.sign_offs import Asked, SignOff

audit_app = typer.Typer(help="The append-only audit log.", no_args_is_help=True)
bus_app = typer.Typer(help="The report bus on NATS.", no_args_is_help=True)
outbox_app = typer.Typer(
    help="The outgoing messages: pending ones, delivered ones and dead letters.", no_args_is_help=True
)

PURPOSES: dict[str, Literal["split", "promotion"]] = {
    "awaiting_sign_off": "split",
    "promotion_review": "promotion",
}
"""The purpose of a sign-off, by the experiment's state."""


class Decision(StrEnum):
    """What a human may decide."""

    approve = "approve"
    decline = "decline"


def sign_off(
    experiment: Annotated[
        str, typer.Argument(help="The experiment_id.", autocompletion=terminal.experiment_ids)
    ],
    decision: Annotated[Decision, typer.Argument(help="What you decide.")],
    signer: Annotated[
        str | None, typer.Option(help="Your name in data/allowed_signers, for example alice@desk.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Your SSH private key, or the .pub file of a key in your SSH agent.", exists=True),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Your reason in one sentence. It is part of what you sign.")
    ] = None,
    although_weakened: Annotated[
        bool,
        typer.Option(
            "--although-weakened", help="You know that the present interval no longer supports the verdict."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Signs your decision about a large split or a promotion review, with your own SSH key.

    In a terminal it asks for what you leave out. A sign-off promotes nothing: the next tick records your decision.

    Example: et sign-off line-shop-v4 approve --signer alice@desk --key ~/.ssh/id_ed25519 --reason "Solid."
    """
    from pydantic import ValidationError

    from et_pipeline.contracts.refusals import explain
    from et_pipeline.governance.sign_offs import Document, SignOffError, write_sign_off

    present = terminal.settings()
    ask = sys.stdin.isatty() and not as_json
    with terminal.analyst_database(present) as connection:
        question = _question(connection, experiment)
        if ask:
            terminal.console().print(terminal.plain(" ".join(question.about)), soft_wrap=True)
        approves = decision is Decision.approve
        if question.weakened and approves and not although_weakened:
            agreed = ask and typer.confirm(
                "The present interval no longer supports the verdict. Do you approve nevertheless?"
            )
            if not agreed:
                raise CommandError(
                    f"{question.weakened} To approve nevertheless, state that you know this: --although-weakened"
                )
        signer, key, reason = _complete(signer, key, reason, ask=ask)
        try:
            document = Document(
                experiment_id=experiment,
                plan_hash=question.asked.plan_hash,
                evidence_hash=question.asked.evidence_hashes[0],
                purpose=question.asked.purpose,
                decision=decision.value,
                reason=reason,
                signer=signer,
                signed_at=present.now(),
                weakened=True if question.weakened and approves else None,
            )
            path = write_sign_off(present, document, key, _checker(connection, present, question.asked))
        except ValidationError as error:
            name, value, sentence = explain(error.errors(include_url=False)[0], {}, keys="docs/sign-off.md")
            raise CommandError(f"{name}: {sentence} (found {value or 'nothing'})") from error
        except SignOffError as error:
            raise CommandError(str(error)) from error
    if as_json:
        terminal.print_json({"path": str(path), **document.model_dump(mode="json", exclude_none=True)})
        return
    if not ask:
        terminal.console().print(terminal.plain(" ".join(question.about)), soft_wrap=True)
    terminal.console().print(
        f"Signed: {document.decision} the {question.asked.purpose} of {experiment}, as {signer}, in "
        f"{terminal.plain(path)}.\nThe signature is valid. The next tick records the decision: et tick",
        soft_wrap=True,
    )


class Question(NamedTuple):
    """What a person is asked to sign.

    Attributes:
        asked: The question itself.
        about: Sentences to read before signing.
        weakened: Why the present interval no longer supports the verdict; empty if it does.
    """

    asked: Asked
    about: list[str]
    weakened: str


def _question(connection: duckdb.DuckDBPyConnection, experiment: str) -> Question:
    """The question about an experiment that waits for a sign-off.

    Raises:
        CommandError: There is no such experiment, or nothing about it waits for a sign-off.
    """
    from et_pipeline.commands.status import read_status
    from et_pipeline.governance.sign_offs import Asked, split_evidence

    found = [row for row in read_status(connection) if row["experiment_id"] == experiment]
    if not found:
        raise CommandError(f"{experiment!r} is not a registered experiment; et status lists the experiments")
    row = found[0]
    if row["state"] not in PURPOSES:
        raise CommandError(
            f"{experiment} is in the state {row['state'] or 'registered'}, so nothing waits for a sign-off; a "
            "sign-off is "
            f"possible in the states {', '.join(PURPOSES)}"
        )
    purpose = PURPOSES[row["state"]]
    evidence = row["announced_evidence_hash"] or row["evidence_hash"]
    if purpose == "split":
        evidence = split_evidence(experiment, row["traffic_split_pct"])
    promotion = json.loads(row["promotion"] or "{}")
    asked = Asked(
        experiment,
        purpose,
        row["plan_hash"],
        (evidence,),
        bool(promotion.get("allow_self_approval")),
        promotion.get("approvers", 1) if purpose == "promotion" else 1,
        bool(row["weakened"]),
    )
    return Question(asked, [row["sentence"], row["next_step"]], row["sentence"] if row["weakened"] else "")


def _complete(
    signer: str | None, key: Path | None, reason: str | None, *, ask: bool
) -> tuple[str, Path, str]:
    """Signer, key and reason of a sign-off; in a terminal, the person is asked for what is missing.

    Raises:
        CommandError: Something is missing and nobody can be asked, or there is no such key.
    """
    given = {"--signer": signer, "--key": key, "--reason": reason}
    missing = [name for name, value in given.items() if not value]
    if missing and not ask:
        raise CommandError(f"missing: {', '.join(missing)}; in a terminal et sign-off asks for them")
    usual = Path("~/.ssh/id_ed25519").expanduser()
    signer = signer or typer.prompt("Your name in data/allowed_signers")
    key = (
        key or Path(typer.prompt("Your SSH key", default=str(usual) if usual.exists() else None)).expanduser()
    )
    if not key.is_file():
        raise CommandError(
            f"--key {key} is not a file; give your private key, or the .pub file of a key in your SSH agent"
        )
    return signer, key, reason or typer.prompt("Your reason, in one sentence")


def _checker(
    connection: duckdb.DuckDBPyConnection, present: Settings, asked: Asked
) -> Callable[[Path], SignOff]:
    """A function that says whether the next tick would count a signed draft."""
    from et_pipeline.governance import records
    from et_pipeline.governance.sign_offs import judge, read_sign_off

    owners, counted = records.owners(connection), records.counted_sign_offs(connection)
    return lambda draft: judge(read_sign_off(present, draft, present.now(), owners), asked, counted)


@audit_app.command("verify")
def audit_verify(as_json: AsJson = False) -> None:
    """Recomputes the hash chain. If anything was changed, it names the first bad row, and the exit status is 1."""
    from et_pipeline.warehouse import audit
    from et_pipeline.warehouse.connection import open_warehouse

    present = terminal.settings()
    terminal.require(present.warehouse_path)
    with open_warehouse(present) as connection:
        anchors = audit.event_anchors(connection)
        noted = audit.read_anchor(present)
        fault = audit.verify(connection, [*anchors, noted] if noted else anchors)
        head = audit.head(connection)
    if as_json:
        terminal.print_json(
            {"intact": fault is None, "rows": head.seq, "head": head.hash, "fault": fault and fault._asdict()}
        )
    elif fault is None:
        terminal.console().print(f"The audit log is intact: {head.seq:,} rows, head {head.hash[:12]}.")
    if fault is not None:
        if not as_json:
            raise CommandError(f"the audit log was changed after it was written: {fault.sentence}")
        raise typer.Exit(1)


@outbox_app.command("list")
def outbox_list(as_json: AsJson = False) -> None:
    """Shows how many messages each destination got, and each dead letter with its reason."""
    from et_pipeline.publishing.outbox import counts, dead_letters
    from et_pipeline.warehouse.connection import open_warehouse

    present = terminal.settings()
    terminal.require(present.warehouse_path)
    with open_warehouse(present) as connection:
        by_destination = counts(connection)
        dead = dead_letters(connection)
    if as_json:
        terminal.print_json(
            {
                "destinations": {name: dict(found) for name, found in by_destination.items()},
                "dead_letters": [letter._asdict() for letter in dead],
            }
        )
        return
    console = terminal.console()
    for name, found in by_destination.items():
        console.print(f"{name}: " + ", ".join(f"{count} {status}" for status, count in sorted(found.items())))
    for letter in dead:
        console.print(f"[red]dead letter[/] {terminal.plain(letter)}", soft_wrap=True)
    if dead:
        console.print("Remove the cause, then send the messages again: et outbox redeliver EVENT_ID …")


@outbox_app.command("redeliver")
def outbox_redeliver(
    event_ids: Annotated[
        list[str], typer.Argument(help="Ids of the events to send again; et outbox list shows them.")
    ],
    as_json: AsJson = False,
) -> None:
    """Makes events pending again. The next delivery sends them with the same id."""
    from et_pipeline.publishing.outbox import redeliver
    from et_pipeline.warehouse.connection import open_warehouse

    present = terminal.settings()
    terminal.require(present.warehouse_path)
    try:
        with open_warehouse(present) as connection:
            again = redeliver(connection, event_ids, present.now())
    except KeyError as error:
        raise CommandError(f"{error.args[0]}; et outbox list shows the events") from error
    if as_json:
        terminal.print_json({"pending_again": again})
    else:
        terminal.console().print(
            f"{len(again)} messages are pending again. The next tick sends them: et tick --force"
        )


@bus_app.command("forget")
def bus_forget(as_json: AsJson = False) -> None:
    """Ends an outage of a bus that is no longer read, for example after a failed et bus snapshot.

    While ET_NATS_URL is not set, such an outage pauses nothing. Until it ends, the table outages and the metrics
    show it.
    """
    from et_pipeline.publishing import bus_snapshot as bus

    present = terminal.settings()
    terminal.require(present.warehouse_path)
    outage = bus.forget_outage(present)
    if as_json:
        terminal.print_json({"ended": outage and outage._asdict()})
    elif outage is None:
        terminal.console().print("No outage of the bus is open.")
    else:
        since = f"{outage.since:%Y-%m-%d %H:%M} UTC"
        again = " The next reading that fails starts a new outage." if present.nats else ""
        terminal.console().print(
            f"Ended the outage that began at {since}: {terminal.plain(outage.reason)}.{again} Next: et tick",
            soft_wrap=True,
        )


@bus_app.command("snapshot")
def bus_snapshot(as_json: AsJson = False) -> None:
    """Reads all new messages of the report bus on NATS (ET_NATS_URL) into snapshot files in report_bus/."""
    from et_pipeline.publishing import bus_snapshot as bus
    from et_pipeline.publishing.destinations import UnavailableError

    present = terminal.settings()
    if present.nats is None:
        raise CommandError(
            "ET_NATS_URL is not set: give the address of the bus, for example nats://127.0.0.1:4222"
        )
    try:
        taken = bus.bus_snapshot(present)
    except (UnavailableError, OSError) as error:
        raise CommandError(str(error)) from error
    files = [str(item.path) for item in taken if item.path]
    messages = sum(item.messages for item in taken)
    if as_json:
        terminal.print_json({"messages": messages, "files": files})
    else:
        terminal.console().print(f"Wrote {messages:,} messages into {len(files)} snapshots. Next: et tick")
