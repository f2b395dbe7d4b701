"""Duplicates and conflicts: decides which reports stay.

A report with the same id and the same content as another is a duplicate. If reports with the same id have different
contents, the content with the smallest (`emitted_at`, `content_hash`) stays, and every other content goes to quarantine
once. Of several copies of the content that stays, the one with the most digits below the microsecond is stored, since
other copies may have lost them. The result depends on the set of reports alone, never on the order in which they came.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import polars as pl

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import BELOW, FIELDS, KIND, PASSED
from et_pipeline.ingest.decode import RAW_CHARACTERS

CONFLICT_SENTENCE = (
    "the same report_id came with other content; of these the report with the earliest emitted_at stays"
)


class Resolution(NamedTuple):
    """What becomes of newly arrived reports.

    Attributes:
        kept: Arrivals that are stored as reports.
        duplicates: Arrivals that are dropped, since their content is known.
        conflicts: Arrivals that go to quarantine.
        displaced: Stored reports that go to quarantine, since an arrival takes their place.
        replaced: Stored reports that become duplicates, since an arrival has the same content and a more precise time.
    """

    kept: pl.DataFrame
    duplicates: pl.DataFrame
    conflicts: pl.DataFrame
    displaced: pl.DataFrame
    replaced: pl.DataFrame


_STORED, _QUARANTINED, _ARRIVED = 0, 1, 2


def resolve(arrivals: pl.DataFrame, stored: pl.DataFrame, quarantined: pl.DataFrame) -> Resolution:
    """Decides what becomes of arrivals.

    Args:
        arrivals: Reports with `report_id`, `report_key`, `emitted_at`, `emitted_below_us`, `content_hash`, and any
            other columns.
        stored: The stored reports with the `report_key` of an arrival; the same columns.
        quarantined: `report_id` and `content_hash` of the conflicts in quarantine that have the id of an arrival.
    """
    keys = arrivals["report_key"]
    doubtful = keys.is_duplicated() | keys.is_in(stored["report_key"].implode())
    if not doubtful.any():
        return Resolution(arrivals, arrivals.clear(), arrivals.clear(), stored.clear(), stored.clear())
    finest_first = arrivals.filter(doubtful).sort(BELOW, descending=True, maintain_order=True)
    suspects, stored = finest_first.with_row_index("row"), stored.with_row_index("row")

    columns = ("report_id", "content_hash", "emitted_at", "source", "row")
    none = pl.lit(None)
    candidates = pl.concat(
        [
            stored.with_columns(source=pl.lit(_STORED)).select(columns),
            quarantined.with_columns(
                source=pl.lit(_QUARANTINED), row=none.cast(pl.UInt32), emitted_at=none.cast(pl.Datetime("us"))
            ).select(columns),
            suspects.with_columns(source=pl.lit(_ARRIVED)).select(columns),
        ]
    )
    contents = candidates.sort("source", "row").unique(["report_id", "content_hash"], keep="first")
    # A content in quarantine has lost against a stored one already, so it cannot win and its time is not needed.
    winners = (
        contents.filter(pl.col("source") != _QUARANTINED)
        .sort("emitted_at", "content_hash")
        .unique("report_id", keep="first")
        .select("source", "row")
    )
    stays = winners.filter(source=_STORED)
    finer = _finer(suspects, stored.join(stays, on="row", how="semi"))
    fresh = pl.concat([contents.filter(source=_ARRIVED).select("row"), finer.select("row")])
    kept = pl.concat([winners.filter(source=_ARRIVED).select("row"), finer.select("row")])
    return Resolution(
        pl.concat([arrivals.filter(~doubtful), suspects.join(kept, on="row", how="semi").drop("row")]),
        suspects.join(fresh, on="row", how="anti").drop("row"),
        suspects.join(fresh, on="row", how="semi").join(kept, on="row", how="anti").drop("row"),
        stored.join(stays, on="row", how="anti").drop("row"),
        stored.join(finer.select("replaced"), left_on="row", right_on="replaced", how="semi").drop("row"),
    )


def _finer(suspects: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Duplicates whose time is more precise than that of the stored report.

    Returns:
        Their rows in `suspects` (`row`), and the rows of these reports in `stored` (`replaced`).
    """
    own = ["report_id", "content_hash"]
    # It is null in files of a cluster that were written before this column existed.
    known = stored.select(*own, replaced="row", known=pl.col(BELOW).fill_null(0))
    finer = suspects.select(*own, "row", BELOW).join(known, on=own).filter(pl.col(BELOW) > pl.col("known"))
    return finer.sort("row").unique("replaced", keep="first").select("row", "replaced")


def rebuilt_raw(report: dict[str, object]) -> str:
    """The JSON text of a report, made from its columns, so that it does not depend on the text that was read."""
    document = {name: report[name] for name in FIELDS if name not in ("kind", "metrics", "emitted_at")}
    document["kind"] = KIND
    document["emitted_at"] = f"{report['emitted_at'].isoformat(timespec='microseconds')}Z"  # type: ignore[attr-defined]
    metrics = {name: report[name] for name in REPORT_METRICS if report[name] is not None}
    extra = json.loads(str(report["extra"])) if report["extra"] is not None else {}
    document["metrics"] = metrics | extra.pop("metrics", {})
    if report["decision"] == PASSED:
        extra = {"decision": PASSED} | extra
    text = json.dumps({name: document[name] for name in FIELDS} | extra, ensure_ascii=False)
    return text if len(text) <= RAW_CHARACTERS else text[:RAW_CHARACTERS] + "…"
