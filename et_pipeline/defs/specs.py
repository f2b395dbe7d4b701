"""What every asset of a table has: owners, freshness, lineage, metadata, and how a check says what is wrong."""

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
"""Every UTC day makes a tick due, so what a tick publishes is never much older, unless ticks do not run."""


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
        deps: Assets it is computed from.
        description: What a row is, with an example (Markdown).
        kinds: What shows as its kind in the UI.
        lineage: For each column the (asset, column) pairs it comes from.
        fresh: Whether the UI warns and alarms when it was not made for longer than `DAILY` says.

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
"""By table, asked for once a process: every warehouse that it opens has the schema of the newest migration."""


def table_metadata(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Row count and column schema of a table as the UI understands them.

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
    """The result of an asset that is a table: its row count, column schema and what else is worth showing.

    Args:
        connection: The warehouse.
        table: Name of asset and table.
        engine: Where its rows are; without one, in the warehouse.
        version: Its data version; without one, each run makes a new one.
        metadata: What else to show.
    """
    shown = table_metadata(connection, table)
    if engine is not None:
        ((rows,),) = engine.rows(f"SELECT count(*) FROM {table}")
        shown["dagster/row_count"] = dg.MetadataValue.int(rows)
    return dg.MaterializeResult(asset_key=table, metadata={**shown, **metadata}, data_version=version)


def page_link(settings: Settings, page: str) -> dg.UrlMetadataValue | dg.PathMetadataValue:
    """Where people open a page: a link where `ET_PAGES_URL` says so, else the file, which no browser follows."""
    if settings.pages_url is not None:
        return dg.MetadataValue.url(f"{settings.pages_url}/{page}.html")
    return dg.MetadataValue.path(str(settings.pages_dir / f"{page}.html"))


_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>&:!#|~]")


def bullets(lines: Iterable[str], empty: str = "none") -> dg.MarkdownMetadataValue:
    """A list for the UI; what others wrote into a line stays text, never a link, an image or HTML."""
    return dg.MetadataValue.md("\n".join(f"- {_MARKDOWN.sub(_escaped, line)}" for line in lines) or empty)


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


SHOWN = 10
"""Problems that a check names; the rest is counted."""
EACH = "each"
"""Metadata of a check that did not pass: all its problems."""


def check_result(
    asset: str, name: str, problems: Sequence[str], fine: str, *, warn: bool = False
) -> dg.AssetCheckResult:
    """The result of a check that lists what is wrong.

    Args:
        asset: The asset it guards.
        name: Its name.
        problems: A sentence for each thing that is wrong.
        fine: What it says where nothing is.
        warn: Whether a failure is a warning, not an error.
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
