"""Says why a file that a person wrote is refused: key, value and what is allowed, in the words of the file.

The library that checks plans has messages of its own (`Input should be a valid string`); none of them is shown to
people.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from et_pipeline.common.untrusted import shown
from et_pipeline.contracts.breakdowns import DIMENSION_PATTERN
from et_pipeline.contracts.plan_yaml import Scalar


class Refusal(NamedTuple):
    """Why a file was refused.

    Attributes:
        path: The file, relative to the data folder.
        experiment_id: The experiment; None if it could not be read.
        key: Key at fault, dotted; empty for the whole file.
        value: The value found, shortened.
        sentence: What is wrong and what is allowed.
    """

    path: str
    experiment_id: str | None
    key: str
    value: str
    sentence: str

    def __str__(self) -> str:
        where = f"{self.path}: {self.key}" if self.key else self.path
        return f"{where}: {self.sentence}" + (f" (found {self.value})" if self.value else "")


A_TIME = "allowed: a time with an offset, for example 2026-11-01T00:00:00Z"
KINDS = {
    "string": "allowed: text",
    "int": "allowed: a whole number",
    "float": "allowed: a number",
    "finite_number": "allowed: a finite number",
    "decimal": "allowed: a number",
    "bool": "allowed: true or false",
    "datetime": A_TIME,
    "timezone_aware": f"it has no offset; {A_TIME}",
    "list": "allowed: a list",
    "tuple": "allowed: a list",
    "dict": "allowed: keys with their values",
    "model": "allowed: keys with their values",
}
"""What is allowed, by the prefix of the library's name for the fault."""
BOUNDS = {
    "greater_than": "allowed: above {gt:g}",
    "greater_than_equal": "allowed: {ge:g} or more",
    "less_than": "allowed: below {lt:g}",
    "less_than_equal": "allowed: at most {le:g}",
    "string_too_short": "allowed: at least {min_length} character(s)",
    "string_too_long": "allowed: at most {max_length} characters",
    "too_short": "allowed: a list with at least {min_length} entry",
    "too_long": "allowed: a list with at most {max_length} entries",
    "literal_error": "allowed: {expected}",
}
PATTERNS = {
    r"^[a-z0-9][a-z0-9._-]{0,63}$": "allowed: small letters, digits, '.', '_', '-'; up to 64 characters, beginning "
    "with a letter or digit",
    r"^[a-z0-9][a-z0-9_-]{0,39}$": "allowed: small letters, digits, '_', '-'; up to 40 characters, beginning with a "
    "letter or digit",
    DIMENSION_PATTERN: "allowed: side, outcome_id, hour, market (with market_groups), or label. and a name, for "
    "example label.desk",
    r"^[0-9a-f]{64}$": "allowed: 64 hexadecimal digits",
    r"^[A-Za-z0-9][A-Za-z0-9@._+-]{0,199}$": "allowed: a name without spaces as in allowed_signers, for example "
    "alice@desk",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "allowed: the name of an environment variable",
}


def shortened(value: object) -> str:
    """A value in the form for messages, with at most 120 characters."""
    text = value.isoformat() if isinstance(value, datetime | date) else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def explain(
    problem: Any, scalars: Mapping[str, Scalar], *, keys: str = "docs/write-a-plan.md"
) -> tuple[str, str, str]:
    """Key, value and sentence of one fault that pydantic found.

    Args:
        problem: The fault, as `ValidationError.errors` has it.
        scalars: The values that YAML does not read as text, by dotted key.
        keys: The document that describes the allowed keys.
    """
    key = shown(".".join(str(part) for part in problem["loc"]))[:200]
    kind = problem["type"]
    if kind == "extra_forbidden":
        return key, shortened(problem["input"]), f"unknown key; {keys} lists the allowed keys"
    if kind == "missing":
        return key, "", "missing"
    if kind == "value_error":
        message = str(problem["ctx"]["error"])
        own_key, separator, rest = message.partition(": ")
        if separator and own_key.isidentifier():
            value = problem["input"].get(own_key) if isinstance(problem["input"], dict) else None
            return f"{key}.{own_key}".lstrip("."), "" if value is None else shortened(value), rest
        return key, "", message
    scalar = scalars.get(".".join(map(str, problem["loc"])))
    if kind == "string_type" and scalar is not None:
        sentence = f'YAML takes it for {scalar.kind}; put it in quotes: "{scalar.text[:80]}"'
        return key, shortened(scalar.text), sentence
    value = problem["input"] if scalar is None or not kind.startswith("datetime") else scalar.text
    return key, shortened(value), _allowed(kind, problem.get("ctx", {}), keys)


def _allowed(kind: str, context: Mapping[str, Any], keys: str) -> str:
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"not allowed here; see {keys}")
    if kind in BOUNDS:
        return BOUNDS[kind].format(**context)
    known = [words for beginning, words in KINDS.items() if kind.startswith(beginning)]
    return known[0] if known else f"not allowed here; see {keys}"
