"""Copies a DuckDB file by writing only the blocks that differ from an earlier copy.

A DuckDB file has a header of three pages and then blocks of equal size; each block begins with the checksum of its
content. Two files have the same content in a block if these eight bytes are the same. So only eight bytes per block are
read to find what changed, and a tick that adds little copies little, however large the file is. Nothing else is assumed
about the format; a test checks that the copy is equal to the original byte for byte.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

HEAD = 3 * 4096
_CHECKSUM = 8


def copy_whole(source: Path, target: Path) -> int:
    """Copies a file and syncs it; where the file system can, the copy shares its blocks (`copy_file_range`).

    Returns:
        Bytes copied.
    """
    with source.open("rb") as reader, target.open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        done = 0
        while done < size:
            done += _copy_some(reader.fileno(), writer.fileno(), size - done)
        os.fsync(writer.fileno())
    return size


def _copy_some(reader: int, writer: int, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(reader, writer, count)
        except OSError as error:
            if error.errno != errno.EXDEV:  # EXDEV: the files are on different disks
                raise
    return os.write(writer, os.read(reader, min(count, 1 << 20)))


def copy_difference(source: Path, target: Path, block_size: int) -> int:
    """Makes `target`, an earlier copy, equal to `source`, and syncs it.

    Args:
        source: A DuckDB file that no one writes to, without a write-ahead log.
        target: An earlier copy of it that no one has open.
        block_size: Size of a block in bytes (`PRAGMA database_size`).

    Returns:
        Bytes written.
    """
    with source.open("rb") as reader, target.open("r+b") as writer:
        size = os.fstat(reader.fileno()).st_size
        written = 0
        for offset, length in _different(reader.fileno(), writer.fileno(), size, block_size):
            os.pwrite(writer.fileno(), os.pread(reader.fileno(), length, offset), offset)
            written += length
        os.ftruncate(writer.fileno(), size)
        os.fsync(writer.fileno())
    return written


def same(source: Path, target: Path, block_size: int) -> bool:
    """Whether two DuckDB files have the same content, by their headers and the checksums of their blocks."""
    with source.open("rb") as one, target.open("rb") as other:
        size = os.fstat(one.fileno()).st_size
        return size == os.fstat(other.fileno()).st_size and not any(
            _different(one.fileno(), other.fileno(), size, block_size)
        )


def _different(one: int, other: int, size: int, block_size: int) -> Iterator[tuple[int, int]]:
    """The places where two files differ, in order: the offset and the length of the header and of blocks."""
    if os.pread(one, HEAD, 0) != os.pread(other, HEAD, 0):
        yield 0, min(HEAD, size)
    for offset in range(HEAD, size, block_size):
        if os.pread(one, _CHECKSUM, offset) != os.pread(other, _CHECKSUM, offset):
            yield offset, min(block_size, size - offset)
