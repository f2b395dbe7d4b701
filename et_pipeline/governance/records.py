"""What governance reads from the warehouse, as plain values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.common.sql import insert_row, load, row_dicts
from et_pipeline.contracts.plan import MAX_UNMATCHED
from et_pipeline.experiments.registered import split_approved
from et_pipeline.governance.sign_offs import Check, Document, SignOff
from et_pipeline.governance.terms import Drift, Gap, Point, Replays
from et_pipeline.warehouse.connection import transaction

if TYPE_CHECKING:
    import duckdb


class Announced(NamedTuple):
    """The announced verdict. It is read from the audit log, so it never changes.

    Attributes:
        verdict: The verdict.
        decided_as_of: End of the block at which it was decided, as text (ISO-8601, UTC).
        evidence_hash: Hash of its evidence.
        trigger: The transition that concluded the experiment: `verdict`, or `ended` if sampling never began.
    """

    verdict: str
    decided_as_of: str
    evidence_hash: str
    trigger: str


class SampleRatio(NamedTuple):
    """The arms' shares of the opportunities.

    Attributes:
        observed: The variant's share up to the newest block.
        planned: The planned share.
        alarm_since: Since when there is an alarm, for the whole or within groups; None without an alarm.
        within: The groups in which there is an alarm, in words: markets, hours of the day, or both; empty without one.
    """

    observed: float | None
    planned: float
    alarm_since: datetime | None
    within: str = ""


class Facts(NamedTuple):
    """All facts from which one experiment is judged.

    Attributes:
        path: Every series' interval path, in order of time.
        gaps: Numbers of pairs without a value, in order of time.
        replays: How many of the control's opportunities the variant replayed or passed on, in order of time.
        sample_ratio: The arms' newest shares of the opportunities; None where they are not compared.
        drifts: Alarms of the change detector, in order of time.
        split_approved: Whether a human approved a large split.
        failing: Checks that fail for this experiment, see the query `failing`.
    """

    path: list[Point]
    gaps: list[Gap]
    replays: list[Replays]
    sample_ratio: SampleRatio | None
    drifts: list[Drift]
    split_approved: bool
    failing: set[str]


def facts(connection: duckdb.DuckDBPyConnection, identifiers: Sequence[str]) -> dict[str, Facts]:
    """The facts of every experiment; each kind of fact is read by one query for all of them."""
    paths, lacking = points(connection, identifiers), gaps(connection, identifiers)
    replayed = replays(connection, identifiers)
    ratios, alarms = sample_ratios(connection), drift_alarms(connection)
    approved, wrong = split_approved(connection), failing(connection, identifiers)
    return {
        name: Facts(
            paths[name],
            lacking[name],
            replayed[name],
            ratios.get(name),
            alarms.get(name, []),
            name in approved,
            wrong.get(name, set()),
        )
        for name in identifiers
    }


def points(connection: duckdb.DuckDBPyConnection, identifiers: Sequence[str]) -> dict[str, list[Point]]:
    """Every experiment's interval paths, in order of time."""
    found: dict[str, list[Point]] = {identifier: [] for identifier in identifiers}
    rows = connection.execute(load(__package__, "interval_points"), [list(identifiers)]).fetchall()
    for identifier, *row in rows:
        found[identifier].append(Point(*row))
    return found


def gaps(connection: duckdb.DuckDBPyConnection, identifiers: Sequence[str]) -> dict[str, list[Gap]]:
    """Every experiment's numbers of pairs without a value, by metric and block, in order of time."""
    found: dict[str, list[Gap]] = {identifier: [] for identifier in identifiers}
    for identifier, *row in connection.execute(load(__package__, "gaps"), [list(identifiers)]).fetchall():
        found[identifier].append(Gap(*row))
    return found


def replays(connection: duckdb.DuckDBPyConnection, identifiers: Sequence[str]) -> dict[str, list[Replays]]:
    """For each shadow experiment, how many of the control's opportunities the variant reported, up to each block's
    end."""
    found: dict[str, list[Replays]] = {identifier: [] for identifier in identifiers}
    for identifier, *row in connection.execute(load(__package__, "replays"), [list(identifiers)]).fetchall():
        found[identifier].append(Replays(*row))
    return found


def sample_ratios(connection: duckdb.DuckDBPyConnection) -> dict[str, SampleRatio]:
    """The arms' newest shares of the opportunities, for the experiments in which these are compared."""
    rows = connection.execute(load(__package__, "sample_ratios")).fetchall()
    return {identifier: SampleRatio(*row) for identifier, *row in rows}


def failing(connection: duckdb.DuckDBPyConnection, identifiers: Sequence[str]) -> dict[str, set[str]]:
    """The failing checks of each experiment that has any, see the query `failing`."""
    found: dict[str, set[str]] = {}
    for identifier, condition in connection.execute(
        load(__package__, "failing"), {"experiments": list(identifiers), "most_unmatched": MAX_UNMATCHED}
    ).fetchall():
        found.setdefault(identifier, set()).add(condition)
    return found


def changed_since_announced(
    connection: duckdb.DuckDBPyConnection, experiment_id: str
) -> tuple[bool, list[str]]:
    """What changed since a verdict was announced, see the query `changed_since`.

    Returns:
        Whether new reports of its arms came, and the amended keys of its plan that can change the evidence.
    """
    ((reports, keys),) = connection.execute(
        load(__package__, "changed_since"), {"id": experiment_id}
    ).fetchall()
    return reports, keys


def newest_batch(connection: duckdb.DuckDBPyConnection) -> int:
    """Number of the newest ingest transaction."""
    row = connection.execute("SELECT max(batch) FROM snapshots").fetchone()
    return (row and row[0]) or 0


def drift_alarms(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Drift]]:
    """The detector's alarms at the ends of closed blocks, in order of time, for every experiment with one."""
    found: dict[str, list[Drift]] = {}
    for identifier, *row in connection.execute(
        "SELECT experiment_id, metric, as_of, log_evidence, since, comparison "
        "FROM series_drift JOIN series_interval_path USING (experiment_id, comparison, metric, as_of) "
        "WHERE alarm AND closed ORDER BY experiment_id, metric, as_of, comparison"
    ).fetchall():
        found.setdefault(identifier, []).append(Drift(*row))
    return found


def closed_until(connection: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """The end of the newest closed block of each experiment that has one."""
    return dict(connection.execute(load("et_pipeline.evidence", "closed_until")).fetchall())


def announced(connection: duckdb.DuckDBPyConnection) -> dict[str, Announced]:
    """The announced verdicts, by experiment."""
    rows = connection.execute(
        "SELECT experiment_id, arg_max(detail, seq) FROM audit_log "
        "WHERE action = 'transition' AND to_state = 'concluded' GROUP BY experiment_id"
    ).fetchall()
    details = {identifier: json.loads(detail) for identifier, detail in rows}
    return {
        identifier: Announced(*(detail[name] for name in Announced._fields))
        for identifier, detail in details.items()
    }


def verdicts(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """The rows of `verdicts`, by experiment."""
    return {row["experiment_id"]: row for row in row_dicts(connection, "SELECT * FROM verdicts")}


def owners(connection: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """All present and former owners of each experiment's plan; a former owner still counts as an owner for
    sign-offs."""
    found: dict[str, set[str]] = {}
    for identifier, *names in connection.execute(
        "SELECT experiment_id, owner, NULL FROM experiments UNION ALL "
        "SELECT experiment_id, coalesce(detail->>'$.plan.owner', detail->>'$.changes.owner[0]'), "
        "detail->>'$.changes.owner[1]' FROM audit_log WHERE action IN ('plan_registered', 'plan_amended')"
    ).fetchall():
        found.setdefault(identifier, set()).update(name for name in names if name)
    return found


def counted_sign_offs(connection: duckdb.DuckDBPyConnection) -> list[SignOff]:
    """The sign-offs that counted when they were checked; they go on counting."""
    rows = connection.execute(
        "SELECT path, content_hash, key_fingerprint, sentence, experiment_id, plan_hash, evidence_hash, "
        "purpose, decision, reason, signer, signed_at FROM sign_offs WHERE valid ORDER BY signed_at, path"
    ).fetchall()
    names = ("experiment_id", "plan_hash", "evidence_hash", "purpose", "decision", "reason", "signer")
    return [
        SignOff(
            path,
            digest,
            Document.model_validate(
                {**dict(zip(names, said, strict=True)), "signed_at": f"{signed_at}+00:00"}
            ),
            fingerprint,
            False,
            None,
            sentence,
        )
        for path, digest, fingerprint, sentence, *said, signed_at in rows
    ]


def remembered_checks(connection: duckdb.DuckDBPyConnection) -> dict[str, Check]:
    """The remembered results of signature checks, by `SignOff.basis`."""
    query = "SELECT basis, key_fingerprint, by_owner, refusal, sentence FROM signature_checks"
    rows = connection.execute(query).fetchall()
    return {basis: Check(*outcome) for basis, *outcome in rows}


def remember_checks(
    connection: duckdb.DuckDBPyConnection, before: dict[str, Check], sign_offs: list[SignOff]
) -> None:
    """Remembers the check results of these sign-offs and forgets all others; `before` is what is remembered now."""
    checks = {item.basis: Check.of(item) for item in sign_offs if item.basis is not None}
    if checks == before:
        return
    with transaction(connection):
        connection.execute("DELETE FROM signature_checks")
        for basis, check in checks.items():
            insert_row(connection, "signature_checks", {"basis": basis} | check._asdict())


def counted_hashes(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Content hashes of the sign-offs that count."""
    return {row[0] for row in connection.execute("SELECT content_hash FROM sign_offs WHERE valid").fetchall()}
