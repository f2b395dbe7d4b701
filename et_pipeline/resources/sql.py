"""SQL is kept in `.sql` files beside the module that runs it; this loads them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def load(package: str, name: str) -> str:
    """The text of `<package>/<name>.sql`.

    Raises:
        FileNotFoundError: The package has no such file.
    """
    return files(package).joinpath(f"{name}.sql").read_text(encoding="utf-8")
