"""Columns between polars and DuckDB without pyarrow, through the Arrow C stream interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


class ArrowStream:
    """Shows only a frame's Arrow stream, so that DuckDB scans it by its variable's name.

    DuckDB recognises a polars frame and then asks for pyarrow; it needs no more than this.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)
