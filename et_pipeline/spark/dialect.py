"""Translates the stages' queries to Spark's dialect: sqlglot does most of it, and this module the rest."""

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
"""The warehouse's column types in Spark. Spark has no unsigned numbers, so keys are signed numbers with the same
bits."""


@lru_cache(maxsize=512)
def to_spark(text: str) -> str:
    """One SELECT in the dialect of Spark and Sail.

    All times have Spark's type TIMESTAMP (with the session's time zone, UTC); literals and casts would
    otherwise have another type, TIMESTAMP_NTZ. A number with a decimal point becomes a DOUBLE, as in DuckDB when it is
    combined with a DOUBLE; Sail would use decimals for both.
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
