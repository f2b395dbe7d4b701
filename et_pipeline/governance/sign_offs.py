"""Sign-offs: a human's decision as a small JSON file with a detached SSH signature.

`NAME.json` contains the decision, `NAME.json.sig` the signature that `ssh-keygen -Y sign -n et-sign-off NAME.json`
writes. The signature covers the exact bytes of the file. `ssh-keygen -Y verify` checks it against
`data/allowed_signers`; this module has no cryptography of its own. For a sign-off that does not count, the reason is
recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from et_pipeline.common.untrusted import in_utc, name_key, printable, shown
from et_pipeline.contracts.messages import isoformat
from et_pipeline.contracts.plan import content_hash
from et_pipeline.contracts.refusals import explain

if TYPE_CHECKING:
    from et_pipeline.settings import Settings

NAMESPACE = "et-sign-off"
MAX_BYTES = 16 * 1024
"""Largest size of a sign-off, and of its signature, in bytes."""
TIMEOUT_S = 20
_FINGERPRINT = re.compile(r"key (SHA256:\S+)")
_PRINCIPALS = re.compile(r'^([ \t]*)("[^"\r\n]*"|[^ \t\r\n#"][^ \t\r\n]*)', re.MULTILINE)
"""The names at the start of a line of `allowed_signers`, separated by commas, with or without quotation marks."""

REFUSALS: dict[str, str] = {
    "not_a_file": "The sign-off is not a plain file; links and folders are not read.",
    "too_large": f"The sign-off or its signature is larger than {MAX_BYTES} bytes.",
    "unreadable": "The file cannot be read.",
    "malformed": "The file is not a sign-off.",
    "unsigned": "There is no signature beside it.",
    "no_allowed_signers": "The file allowed_signers does not exist, so nobody may sign.",
    "cannot_check": "The signature could not be checked.",
    "bad_signature": "The signature does not belong to this file: it was forged, or the file was altered after "
    "signing.",
    "wrong_namespace": f"The signature was made for another namespace than {NAMESPACE}.",
    "key_not_valid": "The key has expired or is not valid yet.",
    "unknown_signer": "The key is not in allowed_signers.",
    "not_the_signer": "The key belongs to another person than the signer whom the file names.",
    "signed_in_future": "The time of signing lies in the future.",
    "unknown_experiment": "There is no such experiment.",
    "other_plan": "The sign-off was given for another plan than the one in force.",
    "other_evidence": "The sign-off was given for other evidence than the evidence that has to be decided.",
    "weakened": "The present interval no longer supports the verdict, and the sign-off does not say that its signer "
    "knows this.",
    "self_approval": "The owner of a plan may not approve it.",
    "same_person": "The same person has signed this already.",
}
"""Every reason for which a sign-off does not count."""


class SignOffError(RuntimeError):
    """A sign-off could not be written; the message says why."""


class Document(BaseModel):
    """A human's decision: the content of a sign-off file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["et-sign-off/1"] = "et-sign-off/1"
    experiment_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    plan_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    evidence_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    purpose: Literal["split", "promotion"]
    decision: Literal["approve", "decline"]
    reason: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(printable)]
    signer: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._+-]{0,199}$")]
    signed_at: Annotated[AwareDatetime, AfterValidator(in_utc)]
    weakened: Literal[True] | None = None

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Reads a sign-off.

        Raises:
            ValueError: It is not a sign-off; the message says why.
        """
        try:
            return cls.model_validate(json.loads(content.decode("utf-8"), object_pairs_hook=_unrepeated))
        except ValidationError as error:
            faults = (explain(item, {}, keys="docs/sign-off.md") for item in error.errors())
            problems = (f"{key}: {sentence}" for key, _, sentence in faults)
            raise ValueError("; ".join(problems)) from error
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def content(self) -> bytes:
        """The file's bytes."""
        document = {**self.model_dump(exclude_none=True), "signed_at": isoformat(self.signed_at)}
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


class SignOff(NamedTuple):
    """One sign-off file and whether it counts.

    Attributes:
        path: File name within the folder of sign-offs.
        content_hash: Hash of the file and its signature.
        document: Its content; None if it cannot be read.
        key_fingerprint: Fingerprint of the key that made the signature; None if the signature is not valid.
        by_owner: Whether the key belongs to a present or former owner of the plan.
        refusal: Why it does not count, a key of `REFUSALS`; None if it counts.
        sentence: The result in a sentence for people.
        basis: Hash of all that the check of its signature depends on: the file, its signature, `allowed_signers`, the
            owners of the plan and the UTC day. None if no check came to a result.
    """

    path: str
    content_hash: str
    document: Document | None
    key_fingerprint: str | None
    by_owner: bool
    refusal: str | None
    sentence: str
    basis: str | None = None

    def refused(self, refusal: str, detail: str = "") -> SignOff:
        """A copy of this sign-off that does not count, with the reason."""
        return self._replace(refusal=refusal, sentence=f"{REFUSALS[refusal]} {detail}".strip())


class Check(NamedTuple):
    """The result of a signature check: the fields of `SignOff` that `ssh-keygen` decides."""

    key_fingerprint: str | None
    by_owner: bool
    refusal: str | None
    sentence: str

    @classmethod
    def of(cls, sign_off: SignOff) -> Self:
        """The result with which a sign-off was read."""
        return cls(*(getattr(sign_off, name) for name in cls._fields))


class Asked(NamedTuple):
    """What humans are asked to decide about one experiment.

    Attributes:
        experiment_id: The experiment.
        purpose: `split` or `promotion`.
        plan_hash: The plan in force.
        evidence_hashes: Hashes of evidence for which a sign-off counts; the first is the announced one.
        allow_self_approval: Whether the plan's owner may approve.
        approvers: How many different people have to approve.
        weakened: Whether the present interval no longer supports the verdict: an approval has to say so.
    """

    experiment_id: str
    purpose: Literal["split", "promotion"]
    plan_hash: str
    evidence_hashes: tuple[str, ...]
    allow_self_approval: bool
    approvers: int
    weakened: bool = False


def split_evidence(experiment_id: str, traffic_split_pct: float) -> str:
    """The evidence hash of a sign-off for a large split; it depends on the split, so approving 60 % approves no
    other."""
    return content_hash({"experiment_id": experiment_id, "traffic_split_pct": float(traffic_split_pct)})


def read_sign_offs(
    settings: Settings,
    now: datetime,
    owners: Mapping[str, Collection[str]],
    counted: Collection[str],
    remembered: Mapping[str, Check],
) -> list[SignOff]:
    """Reads every sign-off in the folder that does not count yet and checks its signature.

    Args:
        settings: The places of sign-offs and allowed signers.
        now: The time at which keys have to be valid.
        owners: All present and former owners of the plans, by experiment.
        counted: Content hashes of sign-offs that count already; these files are left out.
        remembered: Results of earlier checks by `SignOff.basis`; a check with the same basis is not made again.

    Returns:
        One entry per file, in order of signing. Those with a `refusal` do not count; whether the others answer the
        question that is asked is decided by `judge`.
    """
    folder = settings.sign_offs_dir
    if not folder.is_dir():
        return []
    reader = _Reader(settings, now, owners, counted, remembered)
    read = [reader.read(path) for path in sorted(folder.glob("*.json"))]
    found = [item for item in read if item.content_hash not in reader.counted]
    return sorted(found, key=lambda item: (item.document.signed_at if item.document else now, item.path))


def read_sign_off(
    settings: Settings, path: Path, now: datetime, owners: Mapping[str, Collection[str]]
) -> SignOff:
    """Reads one sign-off and checks its signature, see `read_sign_offs`."""
    return _Reader(settings, now, owners, (), {}).read(path)


def judge(sign_off: SignOff, asked: Asked | None, counted: Iterable[SignOff]) -> SignOff:
    """Decides whether a sign-off with a valid signature counts for a question.

    Args:
        sign_off: The sign-off.
        asked: The question about its experiment and purpose; None if there is no such experiment.
        counted: The sign-offs that count already.
    """
    document = sign_off.document
    if sign_off.refusal is not None or document is None:
        return sign_off
    if asked is None:
        return sign_off.refused("unknown_experiment")
    misfit = _misfit(sign_off, document, asked)
    if misfit is not None:
        return sign_off.refused(misfit)
    for other in counted:
        if _same_person(sign_off, other, asked):
            return sign_off.refused("same_person", f"See {other.path}.")
    return sign_off


def _misfit(sign_off: SignOff, document: Document, asked: Asked) -> str | None:
    if document.plan_hash != asked.plan_hash:
        return "other_plan"
    if document.evidence_hash not in asked.evidence_hashes:
        return "other_evidence"
    if document.decision == "approve" and sign_off.by_owner and not asked.allow_self_approval:
        return "self_approval"
    if document.decision == "approve" and asked.weakened and not document.weakened:
        return "weakened"
    return None


def _same_person(sign_off: SignOff, other: SignOff, asked: Asked) -> bool:
    """Whether two sign-offs are the same decision on the same question by the same person (same name, or same key)."""
    ours, theirs = sign_off.document, other.document
    return (
        ours is not None
        and theirs is not None
        and (ours.experiment_id, ours.purpose, ours.decision)
        == (theirs.experiment_id, theirs.purpose, theirs.decision)
        and theirs.evidence_hash in asked.evidence_hashes
        and (
            name_key(ours.signer) == name_key(theirs.signer)
            or sign_off.key_fingerprint == other.key_fingerprint
        )
    )


def write_sign_off(
    settings: Settings,
    document: Document,
    key: Path,
    counts: Callable[[Path], SignOff] | None = None,
) -> Path:
    """Signs a decision with the person's own key and puts it among the sign-offs.

    Args:
        settings: The place of sign-offs.
        document: The decision.
        key: A private key file, or a public key whose private key an SSH agent has.
        counts: Called with the signed draft to find out whether it would count; without it, the next tick finds out.

    Returns:
        The path of the file; its signature is beside it.

    Raises:
        SignOffError: The key cannot be used, the sign-off would not count, or such a file is there already.
    """
    folder = settings.sign_offs_dir
    folder.mkdir(parents=True, exist_ok=True)
    stamp = document.signed_at.strftime("%Y%m%dT%H%M%S%fZ")
    path = folder / f"{document.experiment_id}.{document.purpose}.{document.signer}.{stamp}.json"
    signature = path.with_name(f"{path.name}.sig")
    if path.exists() or signature.exists():
        raise SignOffError(f"{path.name} exists already; nothing was written")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".signing-") as scratch:
        draft = Path(scratch) / "sign-off"
        draft.write_bytes(document.content())
        try:
            result = subprocess.run(
                ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(draft)],
                capture_output=True,
                timeout=300,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SignOffError(f"ssh-keygen could not sign: {error}") from error
        made = draft.with_suffix(".sig")
        if result.returncode != 0 or not made.exists():
            complaint = result.stderr.decode(errors="replace").strip()
            raise SignOffError(f"ssh-keygen could not sign with {key}: {complaint or 'no reason given'}")
        found = None if counts is None else counts(draft)
        if found is not None and found.refusal is not None:
            raise SignOffError(f"nothing was written, because the sign-off would not count: {found.sentence}")
        made.replace(signature)
        draft.replace(path)
    return path


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key occurs more than once")
    return document


@dataclass(frozen=True)
class _Reader:
    """Reads sign-off files and checks everything that can be checked without knowing the experiment."""

    settings: Settings
    now: datetime
    owners: Mapping[str, Collection[str]]
    counted: Collection[str]
    remembered: Mapping[str, Check]

    @cached_property
    def allowed_signers(self) -> bytes:
        """The content of `allowed_signers`, with the names as `with_name_keys` writes them."""
        if not self.settings.allowed_signers_path.is_file():
            raise _RefusedError("no_allowed_signers")
        return with_name_keys(self.settings.allowed_signers_path.read_bytes())

    def read(self, path: Path) -> SignOff:
        """Reads one file, with the reason if it does not count; one that counts already is not checked again."""
        name = shown(path.name)
        found = SignOff(name, content_hash([name]), None, None, False, None, "The signature is valid.")
        try:
            content, signature = _both_files(path)
            digests = [hashlib.sha256(part).hexdigest() for part in (content, signature)]
            found = found._replace(content_hash=content_hash(digests))
            if found.content_hash in self.counted:
                return found
            document = Document.parse(content)
            found = found._replace(document=document)
            return self._checked(found, document, content, signature)
        except _RefusedError as refused:
            return found.refused(refused.refusal, refused.detail)
        except ValueError as error:
            return found.refused("malformed", shown(str(error)[:500]))
        except OSError as error:
            return found.refused("unreadable", error.strerror or str(error))

    def _checked(self, found: SignOff, document: Document, content: bytes, signature: bytes) -> SignOff:
        if not signature:
            raise _RefusedError("unsigned")
        if document.signed_at > self.now + timedelta(microseconds=self.settings.max_clock_skew_us):
            raise _RefusedError("signed_in_future")
        owners = sorted(self.owners.get(document.experiment_id, ()))
        digest = hashlib.sha256(self.allowed_signers).hexdigest()
        day = self.now.astimezone(UTC).date().isoformat()  # a key may begin or cease to be valid
        basis = content_hash([found.content_hash, digest, owners, day])
        found = found._replace(basis=basis)
        if basis in self.remembered:
            return found._replace(**self.remembered[basis]._asdict())
        with tempfile.TemporaryDirectory(prefix="et-sign-off-") as scratch:
            copy, signers = Path(scratch) / "signature", Path(scratch) / "allowed_signers"
            copy.write_bytes(signature)
            signers.write_bytes(self.allowed_signers)
            return _Verifier(content, copy, signers, self.now).check(found, document, owners)


def with_name_keys(allowed_signers: bytes) -> bytes:
    """The content of `allowed_signers` with every person's name in the form of `name_key`.

    `ssh-keygen` treats `Anna` and `anna` as different names. With this copy and a name in the same form, it does not.
    Patterns (`*@desk`) and exclusions (`!eve@desk`) keep their meaning.
    """
    text = allowed_signers.decode("utf-8", "surrogateescape")
    folded = _PRINCIPALS.sub(lambda found: found[1] + ",".join(map(_pattern_key, found[2].split(","))), text)
    return folded.encode("utf-8", "surrogateescape")


def _pattern_key(pattern: str) -> str:
    """One pattern in the form of `name_key`, unless that would add wildcards: a full-width asterisk is not one."""
    key = name_key(pattern)
    return pattern if any(key.count(sign) > pattern.count(sign) for sign in ',*?!" ') else key


def _unchecked(found: SignOff, why: str) -> SignOff:
    """The sign-off without a result that could be remembered: the next tick tries again."""
    return found._replace(basis=None).refused("cannot_check", why)


class _RefusedError(Exception):
    def __init__(self, refusal: str, detail: str = "") -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.detail = detail


def _both_files(path: Path) -> tuple[bytes, bytes]:
    """Content and signature (empty if there is none); links are not followed."""
    signature = path.with_name(f"{path.name}.sig")
    if any(item.is_symlink() or (item.exists() and not item.is_file()) for item in (path, signature)):
        raise _RefusedError("not_a_file")
    return _bounded_bytes(path), _bounded_bytes(signature) if signature.exists() else b""


def _bounded_bytes(path: Path) -> bytes:
    # These flags refuse a link, and do not wait for a pipe, that somebody put there after the file was checked.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _RefusedError("too_large")
    return content


class _Verifier(NamedTuple):
    """Calls `ssh-keygen` to check one file's bytes against its signature."""

    content: bytes
    signature: Path
    allowed_signers: Path
    now: datetime

    def check(self, found: SignOff, document: Document, owners: Collection[str]) -> SignOff:
        """The sign-off with the key that signed it, or with the reason why the signature is not valid."""
        try:
            verified = self._verify(document.signer)
            if verified.returncode != 0:
                return self._refusal(found, verified.stderr)
            fingerprint = _FINGERPRINT.search(verified.stdout)
            if fingerprint is None:
                return _unchecked(found, "ssh-keygen named no key.")
            by_owner = any(
                name_key(owner) == name_key(document.signer) or self._verify(owner).returncode == 0
                for owner in owners
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return _unchecked(found, str(error))
        return found._replace(key_fingerprint=fingerprint[1], by_owner=by_owner)

    def _refusal(self, found: SignOff, complaint: str) -> SignOff:
        if "namespace does not match" in complaint:
            return found.refused("wrong_namespace")
        if self._run("check-novalidate", "-n", NAMESPACE).returncode != 0:
            return found.refused("bad_signature")
        if "has expired" in complaint or "not yet valid" in complaint:
            return found.refused("key_not_valid")
        known = self._run("find-principals", "-f", str(self.allowed_signers), *self._time())
        return found.refused("not_the_signer" if known.returncode == 0 else "unknown_signer")

    def _verify(self, identity: str) -> subprocess.CompletedProcess[str]:
        signers = str(self.allowed_signers)
        return self._run("verify", "-f", signers, "-I", name_key(identity), "-n", NAMESPACE, *self._time())

    def _time(self) -> tuple[str, str]:
        return "-O", f"verify-time={self.now.astimezone(UTC):%Y%m%d%H%M%SZ}"

    def _run(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            ["ssh-keygen", "-Y", action, *arguments, "-s", str(self.signature)],
            input=self.content,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env={"PATH": _search_path(), "LC_ALL": "C"},
        )
        return subprocess.CompletedProcess(
            result.args,
            result.returncode,
            result.stdout.decode(errors="replace"),
            result.stderr.decode(errors="replace"),
        )


def _search_path() -> str:
    """The search path of this process, the only variable of its environment that `ssh-keygen` gets."""
    return os.environ.get("PATH", os.defpath)
