"""Reads a plan's YAML in such a way that each number, word or date means what people see in the file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from et_pipeline.common.untrusted import shown

MAX_DIGITS = 40
MAX_DEPTH = 20

_PREFIX = "tag:yaml.org,2002:"
_DECIMAL = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?(0|[1-9][0-9]*)?\.[0-9]*([eE][-+][0-9]+)?|[-+]?\.(inf|nan)", re.IGNORECASE),
}
"""Numbers that mean the same in YAML and to people. (In YAML `0100` is 64, `1:00:00` is 3600 and `0x10` is 16.)"""
_AS_TEXT = {"int": "a number", "float": "a number", "bool": "true or false", "timestamp": "a date"}
_PLAIN_SENTENCE = re.compile(r"^(title|hypothesis): ++(?![\"'|>&*!%@`])(?=.*: )(.*)$", re.MULTILINE)


class Scalar(NamedTuple):
    """A value that YAML does not read as text.

    Attributes:
        text: The value as it is written in the file.
        kind: As what YAML reads it, in words.
        misread: Whether YAML reads another number than a person would.
    """

    text: str
    kind: str
    misread: bool


class PlanText(NamedTuple):
    """A plan's content.

    Attributes:
        document: The values, as YAML reads them.
        scalars: The values that are not text, by dotted key.
    """

    document: Any
    scalars: dict[str, Scalar]


UNREADABLE = (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError)
"""The errors that `read_yaml` raises."""


def unreadable(content: bytes, error: BaseException) -> str:
    """Why a file cannot be read, in words of the file: its line, and what to change in it.

    Args:
        content: The file.
        error: One of `UNREADABLE`.
    """
    begins = "not readable as YAML"
    if isinstance(error, UnicodeDecodeError):
        line = content[: error.start].count(b"\n") + 1
        return f"{begins}: line {line} contains bytes that are not UTF-8 text; save the file as UTF-8"
    if isinstance(error, RecursionError):
        return f"{begins}: nested more than {MAX_DEPTH} deep"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{begins}: {' '.join(str(error).split())[:300]}"
    problem = str(getattr(error, "problem", ""))
    opened = getattr(error, "context_mark", None)
    if "\\t" in problem:
        return f"{begins}: line {mark.line + 1} begins with a tab; use spaces"
    if "flow" in str(getattr(error, "context", "")) and opened is not None:
        return f"{begins}: the bracket that opens in line {opened.line + 1} is not closed, or a comma is missing in it"
    if "quoted scalar" in str(getattr(error, "context", "")) and opened is not None:
        return f"{begins}: the quote that opens in line {opened.line + 1} is not closed"
    lines = content.decode("utf-8").splitlines()
    text = shown(lines[mark.line].strip()[:80]) if mark.line < len(lines) else "the end of the file"
    return (
        f"{begins}: line {mark.line + 1} ({text}); lines of one level must begin in the same column, and text with a "
        "colon or a # must stand in quotes"
    )


def read_yaml(content: bytes) -> PlanText:
    """Reads a plan's bytes.

    Raises:
        yaml.YAMLError: It is not YAML, or uses parts of YAML that a plan does not need.
        ValueError: It is not UTF-8, or has a value that cannot be converted (for instance an impossible date).
        RecursionError: It is nested too deeply.
    """
    loader = _PlanLoader(_PLAIN_SENTENCE.sub(_quoted, content.decode("utf-8")))
    try:
        node = loader.get_single_node()
        scalars = dict(_scalars(node, "")) if node is not None else {}
        return PlanText(None if node is None else loader.construct_document(node), scalars)
    finally:
        loader.dispose()


def _scalars(node: yaml.Node, key: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(value, f"{key}.{name.value}".lstrip("."))
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _scalars(value, f"{key}.{position}".lstrip("."))
    elif (kind := node.tag.removeprefix(_PREFIX)) in _AS_TEXT:
        decimal = _DECIMAL.get(kind)
        yield (
            key,
            Scalar(node.value, _AS_TEXT[kind], decimal is not None and not decimal.fullmatch(node.value)),
        )


class _PlanLoader(yaml.SafeLoader):
    """Safe YAML without the parts that a plan does not need.

    It refuses aliases (with which a small file can fill the memory), tags, merges, deep nesting and repeated keys.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a plan")
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            # A tag forces a type on a text that does not have it, and then the library's constructors raise errors.
            raise yaml.YAMLError("tags (!name) are not allowed in a plan")
        if self._depth == MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        if "<<" in keys:
            raise yaml.YAMLError("merges (<<) are not allowed in a plan")
        doubled = sorted(key for key, count in Counter(keys).items() if count > 1)
        if doubled:
            raise yaml.YAMLError(
                f"key {', '.join(doubled)} occurs more than once, near line {node.start_mark.line + 1}"
            )
        return super().construct_mapping(node, deep)


def _whole_number(loader: _PlanLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > MAX_DIGITS:
        raise yaml.YAMLError(f"a number of {len(node.value)} digits, near line {node.start_mark.line + 1}")
    return loader.construct_yaml_int(node)


_PlanLoader.add_constructor(f"{_PREFIX}int", _whole_number)


def _quoted(match: re.Match[str]) -> str:
    """Puts quotes around a sentence with a colon in it: YAML would refuse it, and people write such titles."""
    return f"{match[1]}: {json.dumps(match[2].rstrip(), ensure_ascii=False)}"
