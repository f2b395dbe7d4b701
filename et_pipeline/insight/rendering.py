"""The templates of the review pages and of their charts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from et_pipeline.common import text

GLOSSARY_FILE = "_glossary.html"
"""The page of words; no experiment's id begins with an underscore."""
_HASH = re.compile(r"[0-9a-f]{40,}")


@cache
def environment() -> Environment:
    """The templates, compiled once a process, with the filters that write figures as people read them."""
    made = Environment(
        loader=PackageLoader("et_pipeline.insight"),
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
    """What one macro of a template makes of its arguments, as markup."""
    return str(getattr(environment().get_template(template).module, macro)(*values, **named))


def _difference(mean: float | None, point: Mapping[str, Any]) -> str:
    """A mean uplift with as many decimals as its interval shows."""
    return text.signed(mean, text.decimals_of(point.get("ci_lower"), point.get("ci_upper"), mean))


def _facts(detail: str) -> list[tuple[str, str]]:
    """The figures of an audit row as names and values: hashes by their beginning, nothing nested (a whole plan)."""
    return [
        (name.replace("_", " "), f"{value[:16]}…" if _HASH.fullmatch(str(value)) else str(value))
        for name, value in json.loads(detail or "{}").items()
        if not isinstance(value, dict | list)
    ]
