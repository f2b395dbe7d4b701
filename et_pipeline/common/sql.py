"""SQL: the loader of `.sql` files, which stand beside the module that runs them, and columns into DuckDB."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


@cache
def load(package: str, name: str) -> str:
    """The text of `<package>/<name>.sql`.

    Raises:
        FileNotFoundError: The package has no such file.
    """
    return files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def among(experiments: Iterable[str]) -> str:
    """The condition that a row is of one of the experiments; ids are plain (see `Plan`), so they need no quoting."""
    names = ", ".join(f"'{name}'" for name in experiments)
    return f"experiment_id IN ({names})" if names else "false"


class ArrowStream:
    """Shows only a frame's Arrow stream, so that DuckDB scans it by its variable's name, without pyarrow.

    DuckDB recognises a polars frame and then asks for pyarrow; it needs no more than this.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)
