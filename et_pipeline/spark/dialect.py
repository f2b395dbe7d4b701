"""The stages' queries in Spark's words: sqlglot transpiles, and what it leaves open is decided here."""

from __future__ import annotations

from functools import lru_cache

from sqlglot import exp, parse_one

KINDS = {
    "VARCHAR": "STRING",
    "TIMESTAMP": "TIMESTAMP",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "BIGINT": "BIGINT",
    "INTEGER": "INT",
    "UBIGINT": "BIGINT",
}
"""The warehouse's column types in Spark, which has no unsigned numbers: keys keep their 64 bits."""


@lru_cache(maxsize=512)
def to_spark(text: str) -> str:
    """One SELECT as Spark and Sail read it.

    Times are Spark's TIMESTAMP (with the session's zone, UTC) throughout: its literals and casts would
    otherwise be TIMESTAMP_NTZ, which is another type. A number with a decimal point is a DOUBLE, as it becomes
    in DuckDB beside one; Sail would make a decimal of both.
    """
    return parse_one(text, read="duckdb").transform(_ported).sql(dialect="spark", comments=False)


def _ported(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.DataType) and node.this in (
        exp.DataType.Type.TIMESTAMP,
        exp.DataType.Type.TIMESTAMPNTZ,
    ):
        return exp.DataType.build("timestamptz")
    if isinstance(node, exp.Anonymous) and node.name.lower() == "epoch_us":
        return exp.Anonymous(this="unix_micros", expressions=node.expressions)
    if isinstance(node, exp.Literal) and node.is_number and "." in node.this and "e" not in node.this.lower():
        return exp.Literal.number(f"{node.this}e0")
    return node
