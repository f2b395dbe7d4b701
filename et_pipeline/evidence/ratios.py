"""The sequential sample-ratio check of limited-live experiments, as a whole and within markets and hours of the day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from et_pipeline.common.sql import among, append, load
from et_pipeline.evidence.paths import finite
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.inference.arms import DAY, HOUR
from et_pipeline.inference.cells import Ints
from et_pipeline.inference.ebh import e_bh
from et_pipeline.inference.sample_ratio import (
    ALPHA,
    GroupRatios,
    SplitChange,
    ratios_within,
    sample_ratio_path,
)
from et_pipeline.warehouse.engine import Engine

if TYPE_CHECKING:
    import duckdb

FALSE_GROUPS = 0.05
"""Largest expected share of false discoveries among the groups that are reported to deviate. If the mean of all
e-values has reached the alarm, at least one group is reported; otherwise the mean would be below 20·(1 + ln K)."""

WITHIN = pl.DataFrame(
    schema={"dimension": pl.String, "as_of": pl.Datetime("us"), "e_value": pl.Float64, "alarm": pl.Boolean}
)
GROUPS = pl.DataFrame(
    schema={"dimension": pl.String, "value": pl.String, "n_control": pl.Int64, "n_variant": pl.Int64}
    | {"planned_share": pl.Float64, "observed_share": pl.Float64, "e_value": pl.Float64, "stands": pl.Boolean}
)


def write_sample_ratios(engine: Engine, live: Sequence[RegisteredExperiment]) -> None:
    """Updates `sample_ratio`, `sample_ratio_within` and `sample_ratio_groups` from all blocks, since they are sums."""
    connection = engine.connection
    inside = among(item.experiment_id for item in live)
    splits = pl.DataFrame(connection.sql(load(__package__, "splits", inside=inside)))
    counts = engine.frame(load(__package__, "opportunities", inside=inside))
    stored = {
        table: pl.DataFrame(connection.sql(f"SELECT * FROM {table} WHERE {inside} ORDER BY ALL"))
        for table in ("sample_ratio", "sample_ratio_within", "sample_ratio_groups")
    }
    for item in live:
        of_it = pl.col("experiment_id") == item.experiment_id
        made = _of_one(item, counts.filter(of_it), splits.filter(of_it))
        for (table, rows), found in zip(stored.items(), made, strict=True):
            _replace(connection, table, item.experiment_id, found, rows.filter(of_it))


def _replace(
    connection: duckdb.DuckDBPyConnection, table: str, name: str, rows: pl.DataFrame, stored: pl.DataFrame
) -> None:
    """Replaces an experiment's rows if they differ from the stored ones."""
    rows = rows.with_columns(experiment_id=pl.lit(name)).select(stored.columns)
    if not rows.equals(stored):
        connection.execute(f"DELETE FROM {table} WHERE experiment_id = ?", [name])
        append(connection, table, rows)


def _of_one(
    item: RegisteredExperiment, counts: pl.DataFrame, splits: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The rows of one experiment in the three tables.

    A change of the split happened after the tick that last read the old split and before the tick that recorded the
    change, so it lies in one of the blocks between these two.

    Args:
        item: The experiment.
        counts: Its opportunities per block and market.
        splits: Its splits, see the query `splits`.
    """
    of_blocks = counts.group_by("block", maintain_order=True).agg(pl.sum("control", "variant"))
    blocks = of_blocks["block"].to_numpy()
    changes = [
        SplitChange(
            int(np.searchsorted(blocks + item.time_block_us, after, side="right")),
            int(np.searchsorted(blocks, until, side="left")) - 1,
            split,
        )
        for after, until, split in splits.select("after", "until", "split").rows()[1:]
    ]
    first = splits["split"][0]
    path = sample_ratio_path(
        of_blocks["variant"].to_numpy(), of_blocks["control"].to_numpy(), split=first, changes=changes
    )
    ends = (of_blocks["block"] + item.time_block_us).cast(pl.Datetime("us"))
    rows = pl.DataFrame(
        {
            "as_of": ends,
            "n_control": path.control,
            "n_variant": path.variant,
            "planned_share": path.split,
            "observed_share": path.share,
            "e_value": path.e_value,
            "p_value": path.p_value,
            "alarm": path.alarm,
        }
    )
    by = {
        "hour": (pl.col("block") % DAY // HOUR).cast(pl.String),
        "market": pl.col("market_id"),
    }
    dimensions = {} if item.paired else by
    within, groups = [WITHIN.clear()], [GROUPS.clear()]
    for dimension, value in dimensions.items():
        found, names = _within(counts, value, blocks, first, changes)
        within.append(_path(dimension, found, ends))
        groups.append(_groups(dimension, found, names))
    return finite(rows), pl.concat(within), pl.concat(groups)


def _within(
    counts: pl.DataFrame, value: pl.Expr, blocks: Ints, split: float, changes: Sequence[SplitChange]
) -> tuple[GroupRatios, pl.Series]:
    """The split within groups, and their names in order; blocks in which the split may have changed are left out."""
    planned = np.full(len(blocks), float(split))
    for change in changes:
        planned[max(change.first, 0) :] = change.split
        planned[max(change.first, 0) : change.last + 1] = np.nan
    rows = counts.group_by("block", value.alias("value")).agg(pl.sum("control", "variant"))
    names = rows["value"].unique().sort()
    found = ratios_within(
        np.searchsorted(blocks, rows["block"].to_numpy()),
        np.searchsorted(names.to_numpy(), rows["value"].to_numpy()),
        rows["variant"].to_numpy(),
        rows["control"].to_numpy(),
        split=planned,
        blocks=len(blocks),
    )
    return found, names.gather(found.group)


def _path(dimension: str, found: GroupRatios, ends: pl.Series) -> pl.DataFrame:
    """The rows of `sample_ratio_within` for one dimension."""
    path = pl.DataFrame({"as_of": ends, "e_value": found.mean_e_value})
    alarm = pl.col("e_value").cum_max() >= 1 / ALPHA
    return path.with_columns(dimension=pl.lit(dimension), alarm=alarm).select(WITHIN.columns)


def _groups(dimension: str, found: GroupRatios, names: pl.Series) -> pl.DataFrame:
    """The rows of `sample_ratio_groups` for one dimension."""
    return pl.DataFrame(
        {
            "dimension": [dimension] * len(names),
            "value": names,
            "n_control": found.control,
            "n_variant": found.variant,
            "planned_share": found.split,
            "observed_share": found.variant / np.maximum(found.variant + found.control, 1),
            "e_value": found.e_value,
            "stands": e_bh(found.e_value, delta=FALSE_GROUPS, total=len(names)).stands,
        },
        schema=GROUPS.schema,
    ).sort("value")
