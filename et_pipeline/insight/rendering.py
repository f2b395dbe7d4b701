"""The templates of the review pages and of their charts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from et_pipeline.common import text

GLOSSARY_FILE = "_glossary.html"
"""The page with the meanings of terms. Its name begins with an underscore, which no experiment's id does."""
_HASH = re.compile(r"[0-9a-f]{40,}")


KEPT = Path(__file__).parent / "__pycache__"
"""Where compiled templates are kept: beside compiled modules."""


class _Compiled(FileSystemBytecodeCache):
    """Keeps compiled templates, as far as `KEPT` may be written: compiling them takes 0.1 s of processor time."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)


@cache
def environment() -> Environment:
    """The templates, compiled, with the filters that format figures for people."""
    made = Environment(
        loader=PackageLoader("et_pipeline.insight"),
        bytecode_cache=None if sys.dont_write_bytecode else _Compiled(str(KEPT), "%s.jinja"),
        optimized=False,  # else what a filter made of a constant would be kept, and outlive a change of the filter
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": text.number,
        "interval": text.interval,
        "percent": text.percent,
        "moment": text.moment,
        "duration": text.duration,
        "difference": _difference,
        "facts": _facts,
    }
    made.globals["glossary_file"] = GLOSSARY_FILE
    made.globals["css"] = Markup(made.get_template("page.css").render())
    return made


def part(template: str, macro: str, *values: object, **named: object) -> str:
    """The markup that one macro of a template makes from its arguments."""
    return str(getattr(environment().get_template(template).module, macro)(*values, **named))


def _difference(mean: float | None, point: Mapping[str, Any]) -> str:
    """A mean uplift with as many decimals as its interval shows."""
    return text.signed(mean, text.decimals_of(point.get("ci_lower"), point.get("ci_upper"), mean))


def _facts(detail: str) -> list[tuple[str, str]]:
    """The facts of an audit row as names and values; hashes are shortened, nested values (a whole plan) left out."""
    return [
        (name.replace("_", " "), f"{value[:16]}…" if _HASH.fullmatch(str(value)) else str(value))
        for name, value in json.loads(detail or "{}").items()
        if not isinstance(value, dict | list)
    ]
