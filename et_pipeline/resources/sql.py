"""SQL is kept in `.sql` files beside the module that runs it; this loads them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files


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
