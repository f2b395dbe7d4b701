"""What all assets of tables have in common: owners, freshness, lineage and metadata, and the results of checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.settings import Settings
from et_pipeline.warehouse.engine import Engine

if TYPE_CHECKING:
    import duckdb

OWNERS = ["team:strategy-governance"]
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=25))
"""A tick is due on every UTC day, so what it publishes is never much older than a day, unless ticks do not run."""


def spec(
    table: str,
    *,
    group: str,
    deps: Sequence[str] = (),
    description: str,
    kinds: Iterable[str] = ("duckdb",),
    lineage: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    fresh: bool = False,
) -> dg.AssetSpec:
    """The specification of an asset that is a table of the warehouse.

    Args:
        table: Name of asset and table.
        group: The stage, as the diagram names it.
        deps: Assets from which it is computed.
        description: What a row is, with an example (Markdown).
        kinds: The kinds that the UI shows.
        lineage: For each column the (asset, column) pairs from which it comes.
        fresh: Whether the UI warns if it was not made for longer than `DAILY` allows.

    Returns:
        The specification, with owners and column lineage.
    """
    metadata: dict[str, Any] = {}
    if lineage:
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(dg.AssetKey(asset), source) for asset, source in sources]
                for column, sources in lineage.items()
            }
        )
    return dg.AssetSpec(
        table,
        group_name=group,
        deps=list(deps),
        description=description,
        kinds=set(kinds),
        owners=OWNERS,
        metadata=metadata,
        freshness_policy=DAILY if fresh else None,
    )


_SCHEMAS: dict[str, dg.TableSchema] = {}
"""The schema of each table. It is read once per process, since every open warehouse has the newest schema."""


def table_metadata(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Row count and column schema of a table, in the form for the UI.

    Args:
        connection: The warehouse.
        table: Name of a table.

    Returns:
        Metadata with `dagster/row_count` and `dagster/column_schema`; descriptions are the table's comments.
    """
    if not _SCHEMAS:
        _SCHEMAS.update(_schemas(connection))
    count = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
    return {
        "dagster/row_count": dg.MetadataValue.int(count[0] if count else 0),
        "dagster/column_schema": _SCHEMAS[table],
    }


def _schemas(connection: duckdb.DuckDBPyConnection) -> dict[str, dg.TableSchema]:
    rows = connection.execute(
        "SELECT table_name, column_name, data_type, comment, is_nullable FROM duckdb_columns() "
        "WHERE NOT internal AND database_name = current_database() ORDER BY table_name, column_index"
    ).fetchall()
    return {
        table: dg.TableSchema(
            columns=[
                dg.TableColumn(
                    name=name,
                    type=kind,
                    description=comment,
                    constraints=dg.TableColumnConstraints(nullable=nullable),
                )
                for _, name, kind, comment, nullable in columns
            ]
        )
        for table, columns in groupby(rows, key=itemgetter(0))
    }


def materialized(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    *,
    engine: Engine | None = None,
    version: dg.DataVersion | None = None,
    **metadata: Any,
) -> dg.MaterializeResult[Any]:
    """The result of an asset that is a table: its row count, its column schema and further metadata.

    Args:
        connection: The warehouse.
        table: Name of asset and table.
        engine: Where its rows are; by default in the warehouse.
        version: Its data version; by default each run makes a new one.
        metadata: Further metadata for the UI.
    """
    shown = table_metadata(connection, table)
    if engine is not None:
        ((rows,),) = engine.rows(f"SELECT count(*) FROM {table}")
        shown["dagster/row_count"] = dg.MetadataValue.int(rows)
    return dg.MaterializeResult(asset_key=table, metadata={**shown, **metadata}, data_version=version)


def page_link(settings: Settings, page: str) -> dg.UrlMetadataValue | dg.PathMetadataValue:
    """The link to a page if `ET_PAGES_URL` is set, else the path of its file, which the UI shows as text."""
    if settings.pages_url is not None:
        return dg.MetadataValue.url(f"{settings.pages_url}/{page}.html")
    return dg.MetadataValue.path(str(settings.pages_dir / f"{page}.html"))


_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>&:!#|~]")


def bullets(lines: Iterable[str], empty: str = "none") -> dg.MarkdownMetadataValue:
    """A list for the UI. Text that others wrote is escaped, so that it never becomes a link, an image or HTML."""
    return dg.MetadataValue.md("\n".join(f"- {_MARKDOWN.sub(_escaped, line)}" for line in lines) or empty)


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


SHOWN = 10
"""Largest number of problems that a check lists; further ones are only counted."""
EACH = "each"
"""Key in the metadata of a check that did not pass, with all its problems."""


def check_result(
    asset: str, name: str, problems: Sequence[str], fine: str, *, warn: bool = False
) -> dg.AssetCheckResult:
    """The result of a check that lists problems.

    Args:
        asset: The asset that it checks.
        name: Its name.
        problems: A sentence for each problem.
        fine: The sentence if there is no problem.
        warn: Whether a failure is only a warning.
    """
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR,
        description="; ".join(problems[:SHOWN]) + more if problems else fine,
        metadata={"problems": len(problems), **({EACH: list(problems)} if problems else {})},
    )
