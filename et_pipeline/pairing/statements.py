"""The stage's queries: each `.sql` file is one SELECT, so that every engine can run it."""

from __future__ import annotations

from et_pipeline.common import sql


def query(name: str, **fragments: object) -> str:
    """The text of `<name>.sql` with its placeholders filled in."""
    return sql.load(__package__, name).format(**fragments)
