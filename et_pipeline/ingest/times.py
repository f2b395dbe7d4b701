"""ISO-8601 texts to UTC microseconds, vectorised."""

from __future__ import annotations

import polars as pl

from et_pipeline.contracts.report import TIME_PATTERN


def parse_times(texts: pl.Series) -> pl.Series:
    """Moments of ISO-8601 texts with an offset.

    Args:
        texts: Texts, null where missing.

    Returns:
        Naive UTC datetimes in microseconds; null where the text names no moment (a wrong form, no offset,
        an impossible day). Digits beyond microseconds are cut.
    """
    frame = texts.alias("text").to_frame()
    text = pl.col("text")
    moment = (
        pl.when(text.str.contains(TIME_PATTERN))
        .then(text)
        .str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC")
        .dt.replace_time_zone(None)
    )
    return frame.select(moment.alias(texts.name)).to_series()
