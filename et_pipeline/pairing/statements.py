"""The stage's queries: each `.sql` file is one SELECT, so that every engine can run it."""

from __future__ import annotations

from collections.abc import Iterable

from et_pipeline.resources import sql


def query(name: str, **fragments: object) -> str:
    """The text of `<name>.sql` with its placeholders filled in."""
    return sql.load(__package__, name).format(**fragments)


def among(experiments: Iterable[str]) -> str:
    """The condition that a row is of one of the experiments; ids are plain (see `Plan`), so they need no quoting."""
    names = ", ".join(f"'{name}'" for name in experiments)
    return f"experiment_id IN ({names})" if names else "false"
