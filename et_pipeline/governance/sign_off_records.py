"""The sign-offs of one evaluation: each file is judged once, recorded, and counted for the question that was asked."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import insert_row
from et_pipeline.common.times import naive_utc
from et_pipeline.common.untrusted import name_key
from et_pipeline.experiments.registered import registered_ids
from et_pipeline.governance import records
from et_pipeline.governance.sign_offs import Asked, SignOff, judge
from et_pipeline.warehouse import audit

if TYPE_CHECKING:
    import duckdb


class Answer(NamedTuple):
    """The answer of humans to one question, from their valid sign-offs.

    Attributes:
        approved: Whether enough different people approved, and nobody declined.
        approvals: Content hashes of the approvals.
        declines: Content hashes of the declines.
        signers: Who signed.
        approvers: How many different people approved.
    """

    approved: bool
    approvals: list[str]
    declines: list[str]
    signers: list[str]
    approvers: int


class SignOffJudge:
    """Judges sign-off files and writes the table `sign_offs`.

    A sign-off that counted once continues to count: a person's decision is not undone by a key that expires later, or
    by late reports that change the evidence a little. A sign-off that does not count is judged again each time.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, now: datetime, checked: list[SignOff]) -> None:
        self._connection = connection
        self._now = now
        self._counted = records.counted_sign_offs(connection)
        known = {item.content_hash for item in self._counted}
        self._open = [item for item in checked if item.content_hash not in known]

    def answer(self, asked: Asked) -> Answer:
        """Judges the files about a question and returns the answer that follows from them."""
        remaining = []
        for item in self._open:
            document = item.document
            if (
                item.refusal is not None
                or document is None
                or (document.experiment_id, document.purpose) != (asked.experiment_id, asked.purpose)
            ):
                remaining.append(item)
                continue
            judged = judge(item, asked, self._counted)
            if judged.refusal is None:
                self._count(judged)
            else:
                remaining.append(judged)
        self._open = remaining
        fitting = [
            (item.content_hash, item.document)
            for item in self._counted
            if item.document is not None
            and (item.document.experiment_id, item.document.purpose) == (asked.experiment_id, asked.purpose)
            and item.document.plan_hash == asked.plan_hash
            and (asked.purpose == "promotion" or item.document.evidence_hash in asked.evidence_hashes)
        ]
        approvers = {name_key(document.signer) for _, document in fitting if document.decision == "approve"}
        approvals = [digest for digest, document in fitting if document.decision == "approve"]
        declines = [digest for digest, document in fitting if document.decision == "decline"]
        return Answer(
            len(approvers) >= asked.approvers and not declines,
            approvals,
            declines,
            [document.signer for _, document in fitting],
            len(approvers),
        )

    def close(self, experiments: Collection[str]) -> list[tuple[str, str]]:
        """Records every file that does not count, with the reason.

        Args:
            experiments: The experiments that were evaluated; the records of files about other registered experiments
                stay as they are.

        Returns:
            Path and sentence of each refused file.
        """
        not_looked_at = set(registered_ids(self._connection)) - set(experiments)
        refused = []
        for item in self._open:
            about = item.document.experiment_id if item.document else None
            if about in not_looked_at:
                continue
            refused.append(item if item.refusal is not None else judge(item, None, ()))
        before = set(
            self._connection.execute("SELECT content_hash, refusal FROM sign_offs WHERE NOT valid").fetchall()
        )
        self._connection.execute(
            "DELETE FROM sign_offs WHERE NOT valid "
            "AND (experiment_id IS NULL OR NOT list_contains(?, experiment_id))",
            [sorted(not_looked_at)],
        )
        for item in refused:
            self._insert(item)
            if (item.content_hash, item.refusal) not in before:
                self._record("sign_off_refused", item)
        return [(item.path, item.sentence) for item in refused]

    def _count(self, item: SignOff) -> None:
        item = item._replace(
            sentence="The sign-off counts: the signature is valid for this plan and this evidence."
        )
        self._insert(item)
        self._record("sign_off_counted", item)
        self._counted.append(item)

    def _insert(self, item: SignOff) -> None:
        document = item.document
        row = {
            "path": item.path,
            "content_hash": item.content_hash,
            "valid": item.refusal is None,
            "refusal": item.refusal,
            "sentence": item.sentence,
            "checked_at": naive_utc(self._now),
            "key_fingerprint": item.key_fingerprint,
        }
        if document is not None:
            row |= document.model_dump(exclude={"format", "weakened"}) | {
                "signed_at": naive_utc(document.signed_at)
            }
        insert_row(self._connection, "sign_offs", row)

    def _record(self, action: str, item: SignOff) -> None:
        document = item.document
        audit.append(
            self._connection,
            self._now,
            None if document is None else document.experiment_id,
            action,
            detail={
                "path": item.path,
                "content_hash": item.content_hash,
                "key_fingerprint": item.key_fingerprint,
                "refusal": item.refusal,
                "sentence": item.sentence,
                "document": None if document is None else document.model_dump(mode="json", exclude_none=True),
            },
        )
