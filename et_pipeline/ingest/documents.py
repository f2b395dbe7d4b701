"""The exact reader: it reads one line strictly, which is slow; for lines that the fast reader cannot read with
certainty.

It uses the decoder of the standard library, which can find repeated keys and keeps whole numbers exact. What this
decoder allows although it is not valid here (NaN, Infinity, numbers that are too large, lone surrogates, NUL) is
refused by its hooks.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from et_pipeline.common.untrusted import CONTROL_CHARACTERS
from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import (
    ALLOWED,
    FIELDS,
    KIND,
    LABEL_NAME,
    LABELS,
    MAX_IDENTIFIER,
    MAX_LABEL,
    MAX_LABELS,
    OPTIONAL,
    OWN_BOT_ID,
    PASSED,
    STRINGS,
    TRADED,
    VERSION_PATTERN,
    Fault,
    shortened,
)
from et_pipeline.ingest.sources import MAX_LINE_BYTES

TEXTS = (*STRINGS, "emitted_at")
"""The text fields of a report, in the order of the reader's columns."""
OWN_KIND = f"{KIND} (own)"
"""The kind under which the pipeline's own emitted reports are counted when they come back on the bus."""

_KNOWN = frozenset((*FIELDS, *OPTIONAL))
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TYPE_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


class Skipped(NamedTuple):
    """A message of another kind, which is not read."""

    kind: str


class Document(NamedTuple):
    """A report whose types are valid; its values are checked later by the schema.

    Attributes:
        texts: `STRINGS` and `emitted_at`, null where missing.
        decision: What the strategy did with the opportunity; `traded` if the report does not say.
        metrics: The metrics in catalogue order, null where missing.
        extra: Labels and unknown fields as canonical JSON.
    """

    texts: dict[str, str | None]
    decision: str
    metrics: dict[str, float | None]
    extra: str | None


class _RefusedError(ValueError):
    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = Fault(reason, sentence)


def parse_line(line: bytes) -> Document | Skipped | Fault:
    """Reads one line (without its end)."""
    if len(line) > MAX_LINE_BYTES:
        return too_long(len(line))
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault("not_utf8", f"byte {error.start + 1} of the line is not UTF-8")
    if not text.strip(" \t\r\n"):
        return Fault("blank_line", "the line is empty")
    try:
        return judge(_loads(text))
    except _RefusedError as error:
        return error.fault


def too_long(length: int) -> Fault:
    """The fault of a line that is longer than allowed."""
    return Fault("line_too_long", f"the line has {length} bytes; allowed: {MAX_LINE_BYTES}")


def _loads(text: str) -> Any:
    if _ESCAPED_NUL.search(text):
        raise _RefusedError("malformed_json", "the line contains an escaped NUL (\\u0000)")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
        if _ESCAPED_SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        said = "A second document" if error.msg == "Extra data" else error.msg.removesuffix(" at")
        what = said[0].lower() + said[1:]
        raise _RefusedError("malformed_json", f"not JSON: {what} at character {error.pos + 1}") from error
    except UnicodeEncodeError as error:
        raise _RefusedError(
            "malformed_json", "the line contains half of a surrogate pair (\\ud800 to \\udfff)"
        ) from error
    except RecursionError as error:
        raise _RefusedError("malformed_json", "the line is nested too deeply") from error
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _RefusedError("repeated_key", f"the key {shortened(repeated)} appears more than once")
    return found


def _no_constant(text: str) -> float:
    raise _RefusedError("malformed_json", f"{text} is not JSON; numbers are finite")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _RefusedError("malformed_json", f"the number {shortened(text)} is too large for a double")
    return value


def _whole(text: str) -> int:
    if len(text) > 310:
        raise _RefusedError("malformed_json", f"the number {shortened(text)} is too large for a double")
    return int(text)


def judge(document: Any) -> Document | Skipped | Fault:
    """Classifies a decoded document: a report with valid types, a message of another kind, or a fault."""
    if not isinstance(document, dict):
        return Fault("not_an_object", f"the line is {_type_name(document)}; allowed: one JSON object")
    kind = document.get("kind")
    if (
        not isinstance(kind, str)
        or not 1 <= len(kind) <= MAX_IDENTIFIER
        or re.search(CONTROL_CHARACTERS, kind)
    ):
        return Fault("bad_kind", f"kind is {shortened(kind)}; allowed: text of {ALLOWED['bad_identifier']}")
    if kind != KIND:
        return Skipped(kind)
    if document.get("bot_id") == OWN_BOT_ID:
        return Skipped(OWN_KIND)
    version = document.get("schema_version")
    if isinstance(version, str) and not re.fullmatch(VERSION_PATTERN, version):
        allowed = ALLOWED["unsupported_version"]
        return Fault("unsupported_version", f"schema_version is {shortened(version)}; allowed: {allowed}")
    fault = _fault_of_texts(document) or _fault_of_labels(document.get(LABELS))
    if fault is not None:
        return fault
    decision = document.get("decision")
    decision = TRADED if decision is None else decision
    metrics = document.get("metrics")
    if metrics is None and decision == PASSED:
        metrics = {}
    if metrics is None:
        return Fault("missing_field", "metrics is missing or null; every report must have it")
    if not isinstance(metrics, dict):
        return _wrong_type("metrics", metrics, "an object")
    for name in REPORT_METRICS:
        if isinstance(metrics.get(name), bool) or not isinstance(metrics.get(name), int | float | None):
            return _wrong_type(f"metrics.{name}", metrics[name], "a number")
    return Document(
        {name: document.get(name) for name in TEXTS},
        decision,
        {name: _double(metrics.get(name)) for name in REPORT_METRICS},
        canonical_extra(document | {"metrics": metrics}),
    )


def _fault_of_texts(document: dict[str, Any]) -> Fault | None:
    """The fault of the first field that should be a text but is not; None if there is no such field."""
    for name in (*TEXTS, *OPTIONAL):
        if not isinstance(document.get(name), str | None):
            return _wrong_type(name, document[name], "text")
    return None


def _fault_of_labels(labels: Any) -> Fault | None:
    """The fault of a report's labels; None if they are valid or null."""
    if labels is None:
        return None
    if not isinstance(labels, dict):
        return _wrong_type(LABELS, labels, "an object")
    allowed = ALLOWED["bad_labels"]
    if len(labels) > MAX_LABELS:
        return Fault("bad_labels", f"{LABELS} has {len(labels)} names; allowed: {allowed}")
    for name, value in labels.items():
        if not re.fullmatch(LABEL_NAME, name):
            return Fault("bad_labels", f"{LABELS} has the name {shortened(name)}; allowed: {allowed}")
        if not isinstance(value, str | None):
            return _wrong_type(f"{LABELS}.{name}", value, "text")
        if value is not None and (not 1 <= len(value) <= MAX_LABEL or re.search(CONTROL_CHARACTERS, value)):
            return Fault("bad_labels", f"{LABELS}.{name} is {shortened(value)}; allowed: {allowed}")
    return None


def canonical_extra(document: dict[str, Any]) -> str | None:
    """Labels and the fields that this version does not know, as JSON with sorted keys; fields that are null are left
    out."""
    extra = {name: value for name, value in document.items() if name not in _KNOWN and value is not None}
    labels = {name: value for name, value in (extra.pop(LABELS, None) or {}).items() if value is not None}
    if labels:
        extra[LABELS] = labels
    unknown = {
        name: value
        for name, value in document["metrics"].items()
        if name not in REPORT_METRICS and value is not None
    }
    if unknown:
        extra["metrics"] = unknown
    if not extra:
        return None
    return json.dumps(extra, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _double(value: float | None) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _wrong_type(name: str, value: Any, allowed: str) -> Fault:
    return Fault("wrong_type", f"{name} is {_type_name(value)} ({shortened(value)}); allowed: {allowed}")


def _type_name(value: Any) -> str:
    return "null" if value is None else _TYPE_NAMES.get(type(value), type(value).__name__)
