"""The append-only audit log: every row contains the hash of the row before, so that manipulations are found.

A row's hash is the SHA-256 of the canonical JSON of `[seq, recorded_at, experiment_id, action, from_state, to_state,
detail, previous_hash]`. Edits, deletions, insertions and reorderings inside the log break the chain. The removal of its
last rows, or a whole new log, does not. These are found by a comparison with anchors: heads of the chain that were
stored elsewhere, in a file beside the warehouse and in the messages that were sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.common.files import write_atomically
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.messages import isoformat
from et_pipeline.contracts.plan import content_hash
from et_pipeline.warehouse.connection import AUDIT_HEAD

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings

GENESIS = "0" * 64
"""The previous hash of the first row."""


class Head(NamedTuple):
    """A row of the chain; with its hash, all rows up to it can be checked.

    Attributes:
        seq: The row's number; 0 for an empty log.
        hash: Its hash; `GENESIS` for an empty log.
        source: The place where this head was stored.
    """

    seq: int
    hash: str
    source: str = "audit_log"


class Fault(NamedTuple):
    """The first row of the log that is not as it was written.

    Attributes:
        seq: The row's number.
        kind: `edited`, `missing`, `inserted`, `broken` (does not follow the row before), or `unlike_anchor`.
        sentence: The fault in a sentence for people.
    """

    seq: int
    kind: str
    sentence: str


def _row_hash(seq: int, recorded_at: datetime, *rest: str | None) -> str:
    """The hash of one row; `rest` are all further columns except the hash itself, in the table's order."""
    return content_hash([seq, isoformat(recorded_at), *rest])


def head(connection: duckdb.DuckDBPyConnection) -> Head:
    """The newest row of the chain."""
    row = connection.execute("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    return Head(0, GENESIS) if row is None else Head(*row)


def append(
    connection: duckdb.DuckDBPyConnection,
    at: datetime,
    experiment_id: str | None,
    action: str,
    *,
    from_state: str | None = None,
    to_state: str | None = None,
    detail: dict[str, Any] | None = None,
) -> Head:
    """Adds one row to the log, in the caller's transaction.

    Args:
        connection: The warehouse.
        at: When it happened.
        experiment_id: The experiment that it is about; None for the pipeline as a whole.
        action: What happened, for example `transition` or `plan_refused`.
        from_state: State before, for a transition.
        to_state: State after, for a transition.
        detail: Further facts, as plain JSON data.

    Returns:
        The chain's new head.
    """
    previous = head(connection)
    moment = naive_utc(at)
    text = json.dumps(detail or {}, sort_keys=True, ensure_ascii=False, allow_nan=False)
    seq = previous.seq + 1
    digest = _row_hash(seq, moment, experiment_id, action, from_state, to_state, text, previous.hash)
    connection.execute(
        "INSERT INTO audit_log (seq, recorded_at, experiment_id, action, from_state, to_state, detail, "
        "previous_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [seq, moment, experiment_id, action, from_state, to_state, text, previous.hash, digest],
    )
    return Head(seq, digest)


def verify(connection: duckdb.DuckDBPyConnection, anchors: Iterable[Head] = ()) -> Fault | None:
    """Computes the chain again and compares it with heads that were stored elsewhere.

    Args:
        connection: The warehouse.
        anchors: Heads that were stored elsewhere (`read_anchor`, `event_anchors`).

    Returns:
        The first bad row; None if the log is as it was written.
    """
    rows = connection.execute(
        "SELECT seq, recorded_at, experiment_id, action, from_state, to_state, detail, previous_hash, hash "
        "FROM audit_log ORDER BY seq, rowid"
    ).fetchall()
    hashes = [GENESIS]
    fault = None
    for expected, (seq, recorded_at, *rest, digest) in enumerate(rows, start=1):
        if seq > expected:
            fault = Fault(expected, "missing", f"row {expected} is missing; the next one is row {seq}")
        elif seq < expected:
            fault = Fault(seq, "inserted", f"row {seq} appears more than once, or before the first row")
        elif _row_hash(seq, recorded_at, *rest) != digest:
            fault = Fault(seq, "edited", f"row {seq} was edited: its content does not give its hash")
        elif rest[-1] != hashes[-1]:
            fault = Fault(seq, "broken", f"row {seq} does not follow row {seq - 1} as it stands here")
        if fault is not None:
            break
        hashes.append(digest)
    reach = len(rows) if fault is None else fault.seq - 1
    for anchor in sorted(anchors, key=lambda noted: noted.seq):
        if anchor.seq > reach:
            if fault is None:
                return Fault(
                    reach + 1,
                    "missing",
                    f"row {reach + 1} is missing; {anchor.source} knows of {anchor.seq} rows",
                )
            break
        if hashes[anchor.seq] != anchor.hash:
            return Fault(
                anchor.seq,
                "unlike_anchor",
                f"row {anchor.seq} is not the one {anchor.source} noted: the log up to it was written anew",
            )
    return fault


def anchor_path(settings: Settings) -> Path:
    """The file beside the warehouse with the newest head."""
    return settings.warehouse_path.with_name(AUDIT_HEAD)


def write_anchor(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Head:
    """Writes the newest head into a file beside the warehouse; it must be called after the commit.

    After a crash between commit and this call, the file has an older head, which is still in the chain.
    If the head in the file is not in the present log, the file is not changed: it proves that rows were removed.

    Returns:
        The head that is now in the file.
    """
    newest = head(connection)
    noted = read_anchor(settings)
    if noted is not None and (noted.seq == newest.seq or not _contains(connection, noted)):
        return noted
    write_atomically(anchor_path(settings), json.dumps({"seq": newest.seq, "hash": newest.hash}).encode())
    return newest


def _contains(connection: duckdb.DuckDBPyConnection, noted: Head) -> bool:
    found = connection.execute("SELECT 1 FROM audit_log WHERE seq = ? AND hash = ?", [noted.seq, noted.hash])
    return noted.seq == 0 or found.fetchone() is not None


def read_anchor(settings: Settings) -> Head | None:
    """The head in the file beside the warehouse; None if there is no such file yet.

    Raises:
        ValueError: The file exists but is not a head.
    """
    path = anchor_path(settings)
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Head(int(document["seq"]), str(document["hash"]), path.name)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is damaged ({error}); it holds seq and hash") from error


def event_anchors(connection: duckdb.DuckDBPyConnection) -> list[Head]:
    """The heads in messages that were sent (`audit` in the payload of a reason code), the oldest first."""
    rows = connection.execute(
        "SELECT DISTINCT CAST(payload->'$.payload.audit.seq' AS BIGINT) AS seq, "
        "payload->>'$.payload.audit.hash' FROM events WHERE kind = 'reason_code' ORDER BY seq"
    ).fetchall()
    return [Head(seq, digest, "a message that was sent") for seq, digest in rows]
