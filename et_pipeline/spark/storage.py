"""The data set's folder, on a disk that all workers see or in an object store."""

from __future__ import annotations

import fsspec
from pyarrow.dataset import dataset


class Storage:
    """Paths below one address, as the engine writes them, and what only the driver does there.

    Attributes:
        url: The address, with its scheme.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # the workers write what a remembered listing would not know
        self._files, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False)

    def path(self, *parts: str) -> str:
        """The address of something below."""
        return "/".join((self.url, *parts))

    def names(self, *parts: str) -> list[str]:
        """The names of what lies in a folder below; none where there is no such folder."""
        try:
            found = self._files.ls("/".join((self._root, *parts)), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def rows(self, *parts: str) -> int:
        """The rows of all Parquet files in a folder below, as their footers say: no job of the cluster."""
        found = [
            name for name in self._files.find("/".join((self._root, *parts))) if name.endswith(".parquet")
        ]
        return int(dataset(found, filesystem=self._files).count_rows()) if found else 0

    def remove(self, *parts: str) -> None:
        """Takes away a file or folder below, with all that is in it."""
        path = "/".join((self._root, *parts))
        if self._files.exists(path):
            self._files.rm(path, recursive=True)
