"""The data set's folder, on a disk that all workers see or in an object store."""

from __future__ import annotations

import fsspec
from pyarrow.dataset import dataset


class Storage:
    """Paths below one address for the engine, and operations on them that only the driver does.

    Attributes:
        url: The address, with its scheme.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # Without a cache of listings, since the workers write files that a cached listing would not have.
        self._files, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False)

    def path(self, *parts: str) -> str:
        """The address of a file or folder below."""
        return "/".join((self.url, *parts))

    def names(self, *parts: str) -> list[str]:
        """The names in a folder below; empty if there is no such folder."""
        try:
            found = self._files.ls("/".join((self._root, *parts)), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def rows(self, *parts: str) -> int:
        """The number of rows of all Parquet files in a folder below, read from their footers without the cluster."""
        found = [
            name for name in self._files.find("/".join((self._root, *parts))) if name.endswith(".parquet")
        ]
        return int(dataset(found, filesystem=self._files).count_rows()) if found else 0

    def remove(self, *parts: str) -> None:
        """Removes a file or folder below, with all its content."""
        path = "/".join((self._root, *parts))
        if self._files.exists(path):
            self._files.rm(path, recursive=True)
