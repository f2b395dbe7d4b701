"""The assets of the insight stage: the analyst database and the review pages."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from et_pipeline.defs.each_experiment import EVERY_EXPERIMENT_WORKS, every_experiment_works, log_failures
from et_pipeline.defs.partitions import SHARED
from et_pipeline.defs.resource import POOL, Warehouse
from et_pipeline.defs.specs import bullets, page_link, spec

GROUP = "insight"

ANALYST_DATABASE = """`published/experiments.duckdb`: the copy of the warehouse that analysts read. Each tick replaces
the whole copy.

Readers never wait for a lock, and they keep the file that they opened until they open it again. Every table and
column has a comment (`docs/data-dictionary.md`).
"""
REVIEW_PAGES = """`published/pages/<experiment>.html`: one self-contained page per experiment, drawn from the analyst
database alone. A reviewer can decide with this page. An index lists all pages.
"""


@dg.multi_asset(
    name="analyst_database",
    specs=[
        spec(
            "analyst_database",
            group=GROUP,
            deps=[
                "verdicts",
                "events",
                "deliveries",
                "drift_signals",
                "audit_log",
                "portfolio",
                "families",
                "promises",
                "strategy_usage",
                "diagnostics",
                "quarantine",
            ],
            description=ANALYST_DATABASE,
            fresh=True,
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "published_copy_is_fresh",
            asset="analyst_database",
            description="The published copy can be read, and its content is that of the warehouse.",
        )
    ],
    pool=POOL,
)
def analyst_database(
    warehouse: Warehouse,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Publishes the copy, and checks that it is equal to the warehouse."""
    from et_pipeline.insight.publish import publish_analyst_database

    publication = publish_analyst_database(warehouse.settings)
    yield dg.MaterializeResult(
        asset_key="analyst_database",
        metadata={
            "path": dg.MetadataValue.path(str(publication.path)),
            "replaced": publication.replaced,
            "bytes": publication.size,
            "bytes_written": publication.written,
        },
    )
    yield dg.AssetCheckResult(
        asset_key="analyst_database",
        check_name="published_copy_is_fresh",
        passed=publication.current,
        description="the copy equals the warehouse"
        if publication.current
        else "the copy differs from the warehouse",
    )


@dg.op(
    ins={"measured": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description="Publishes the analyst database and the pages again, with the results of the deliveries.",
    pool=POOL,
)
def publish_deliveries(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    """Publishes deliveries at once, so that analysts and reviewers see them before the next tick."""
    from et_pipeline.insight.pages import publish_pages
    from et_pipeline.insight.publish import publish_analyst_database
    from et_pipeline.insight.published import pages_follow

    settings = warehouse.settings
    publication = publish_analyst_database(settings)
    pages = None if pages_follow(settings) else publish_pages(settings)
    log_failures(context.log, warehouse, [] if pages is None else pages.failures)
    drawn = 0 if pages is None else len(pages.drawn)
    context.add_output_metadata({"bytes_written": publication.written, "pages_drawn": drawn})


@dg.multi_asset(
    name="review_pages",
    specs=[
        spec(
            "review_pages",
            group=GROUP,
            deps=["analyst_database"],
            description=REVIEW_PAGES,
            fresh=True,
            kinds=("html",),
        )
    ],
    check_specs=[EVERY_EXPERIMENT_WORKS],
    pool=POOL,
)
def review_pages(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Draws the pages of experiments that changed."""
    from et_pipeline.insight.pages import publish_pages

    pages = publish_pages(warehouse.settings, run_id=context.run.run_id)
    log_failures(context.log, warehouse, pages.failures)
    yield dg.MaterializeResult(
        asset_key="review_pages",
        metadata={
            "index": page_link(warehouse.settings, "index"),
            "drawn": len(pages.drawn),
            "of_these_only_messages": len(pages.refreshed),
            "kept": len(pages.kept),
            "pages": bullets(pages.drawn, "no page changed"),
            "failures": bullets(pages.failing),
        },
        data_version=SHARED,
    )
    yield every_experiment_works(pages.failing)
