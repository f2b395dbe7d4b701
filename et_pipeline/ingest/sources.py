"""Reads snapshot files as blocks of whole lines of limited size, whatever their compression."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from et_pipeline.common.untrusted import shown

BLOCK_BYTES = 4 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
"""Largest length of a line; a longer one goes to quarantine and is not kept in memory."""
BOMB_BYTES = 256 * 1024 * 1024
BOMB_RATIO = 200
"""Largest factor by which a file may grow when it is unpacked, once it is above `BOMB_BYTES`. Reports have unique ids,
so a real snapshot does not grow more."""
BOMB_LINES = 100_000
"""A packed file with more lines than this, and with more lines than bytes, is not a snapshot for the same reason."""

_ZSTD_FEED = 2048
"""Compressed bytes that are unpacked at a time; even in a malicious file they give at most 64 MiB."""
_ZSTD_WINDOW = 128 * 1024 * 1024

_COUNTED = 256 * 1024
"""Bytes that are counted at a time: what that takes stays in the processor's cache."""

Read = Callable[[int], bytes]


class UnreadableError(Exception):
    """A file cannot be read as a snapshot.

    Attributes:
        reason: Machine-readable reason: `not_readable`, `vanished`, `broken_stream`, `compression_bomb`,
            `changed_while_reading`, `broken_parquet`.
        sentence: The reason for people.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        sentence = shown(sentence)  # the message of a library may contain bytes of the file
        super().__init__(reason, sentence)
        self.reason = reason
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class LongLine(NamedTuple):
    """A line beyond `MAX_LINE_BYTES`: its beginning and its length in bytes."""

    head: bytes
    length: int


def blocks(read: Read) -> Iterator[bytes | LongLine]:
    """Divides a stream into blocks of whole lines.

    Args:
        read: Returns up to the given number of bytes, and none at the end.

    Yields:
        Blocks that end with a line end (the last one may not), shorter than
        `MAX_LINE_BYTES + BLOCK_BYTES`; or a line that is too long, without its text.
    """
    rest = b""
    while data := read(BLOCK_BYTES):
        cut = data.rfind(b"\n") + 1
        if cut:
            yield b"".join((rest, memoryview(data)[:cut]))  # copied once
        rest = data[cut:] if cut else rest + data
        if len(rest) > MAX_LINE_BYTES:
            line, rest = _skip_line(rest, read)
            yield line
    if rest:
        yield rest


def line_ends(block: bytes) -> int:
    """How many line ends a block has. Where they are frequent, `bytes.count` takes five times as long."""
    return _count(block, lambda piece: piece == ord("\n"))


def controls(block: bytes) -> int:
    """How many control characters of ASCII a block has, line ends included."""
    return _count(block, lambda piece: piece < ord(" "))


def _count(block: bytes, test: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> int:
    data = np.frombuffer(block, np.uint8)
    pieces = (data[start : start + _COUNTED] for start in range(0, len(data), _COUNTED))
    return sum(int(np.count_nonzero(test(piece))) for piece in pieces)


def _skip_line(head: bytes, read: Read) -> tuple[LongLine, bytes]:
    length = len(head)
    while data := read(BLOCK_BYTES):
        end = data.find(b"\n")
        if end >= 0:
            return LongLine(head, length + end), data[end + 1 :]
        length += len(data)
    return LongLine(head, length), b""


class Section(NamedTuple):
    """A part of a file: the lines whose first byte is at a position from `start` to `end` − 1."""

    start: int
    end: int


@contextmanager
def opened(path: Path, section: Section | None = None) -> Iterator[Read]:
    """Opens an NDJSON snapshot; the ending of its name says how it is decompressed while it is read.

    Args:
        path: The file.
        section: Reads only these lines; for files that are not compressed.

    Raises:
        UnreadableError: It does not exist any more, may not be read, is damaged, or becomes too large when unpacked.
    """
    with unreadable(path), path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if path.name.endswith(".gz"):
            with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
                yield _guarded(path, size, unzipped.read)
        elif path.name.endswith(".zst"):
            yield _guarded(path, size, _zstd(file))
        else:
            _refuse_packed(path, file)
            yield file.read if section is None else _section(file, section)


def _refuse_packed(path: Path, file: BinaryIO) -> None:
    """Raises `UnreadableError` if a file that should be plain text is packed, instead of a fault for each of its
    lines."""
    head = file.read(_ZSTD_FEED)
    file.seek(-min(4, len(head)), os.SEEK_END)
    kind = "Parquet" if head.startswith(b"PAR1") and file.read() == b"PAR1" else _packing(head)
    file.seek(0)
    if kind is not None:
        raise UnreadableError(
            "broken_stream",
            f"{path.name} contains {kind} data, but has the name of a plain file; allowed: .ndjson for plain text, "
            ".ndjson.gz, .ndjson.zst, .parquet",
        )


def _packing(head: bytes) -> str | None:
    """How a file is packed: its first bytes name a format and can be unpacked by it; None if it is not packed."""
    try:
        if head.startswith(b"\x1f\x8b") and zlib.decompressobj(wbits=31).decompress(head):
            return "gzip"
        if head.startswith(zstandard.FRAME_HEADER) and zstandard.get_frame_parameters(head).window_size:
            return "zstd"
    except (zlib.error, zstandard.ZstdError):
        return None
    return None


def _section(file: BinaryIO, section: Section) -> Read:
    """A reader of the lines that begin within a section; the last one is read to its end, even beyond the section."""
    position = _first_line(file, section)
    file.seek(position)
    done = position >= section.end

    def read(count: int) -> bytes:
        nonlocal position, done
        if done:
            return b""
        if position < section.end:
            data = file.read(min(count, section.end - position))
            done = not data or (position + len(data) == section.end and data.endswith(b"\n"))
        else:
            data = file.read(count)
            cut = data.find(b"\n") + 1
            done = not data or cut > 0
            data = data[:cut] if cut else data
        position += len(data)
        return data

    return read


def _first_line(file: BinaryIO, section: Section) -> int:
    """The position at which the first line of a section begins; the section's end if no line begins there."""
    if section.start == 0:
        return 0
    position = section.start - 1
    file.seek(position)
    while position < section.end - 1 and (data := file.read(min(BLOCK_BYTES, section.end - 1 - position))):
        cut = data.find(b"\n") + 1
        if cut:
            return position + cut
        position += len(data)
    return section.end


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Converts the errors of the operating system and of the decompressors to `UnreadableError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableError("vanished", f"{path.name} disappeared after it was listed") from error
    except (gzip.BadGzipFile, zlib.error, EOFError, zstandard.ZstdError) as error:
        sentence = f"{path.name} cannot be decompressed: {error}; none of its lines was ingested"
        raise UnreadableError("broken_stream", sentence) from error
    except OSError as error:
        raise UnreadableError("not_readable", f"{path.name} cannot be read: {error.strerror}") from error


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of modification in nanoseconds of a file.

    Raises:
        UnreadableError: It does not exist any more, or may not be accessed.
    """
    with unreadable(path):
        status = path.stat()
    return status.st_size, status.st_mtime_ns


def refuse_changed(path: Path, stamp: tuple[int, int]) -> None:
    """Refuses a file that was changed while it was read; it is called once after the whole file was read.

    Raises:
        UnreadableError: The size or the time of modification of the file is not the same as before.
    """
    if stamp_of(path) != stamp:
        raise UnreadableError(
            "changed_while_reading",
            f"{path.name} changed while it was read; it is read again at the next tick",
        )


class ExpansionGuard:
    """Counts the unpacked bytes and lines of a file, and refuses it when there are more than reports can have."""

    def __init__(self, path: Path, size: int) -> None:
        self._what = f"{path.name} ({size} bytes)"
        self._bytes_left = max(BOMB_BYTES, BOMB_RATIO * size)
        self._lines_left = max(BOMB_LINES, size)

    def count(self, size: int, lines: int) -> None:
        """Adds a number of bytes and lines.

        Raises:
            UnreadableError: There are more than a snapshot of this file size can have.
        """
        self._bytes_left -= size
        self._lines_left -= lines
        if self._bytes_left < 0 or self._lines_left < 0:
            of = "bytes" if self._bytes_left < 0 else "lines"
            raise UnreadableError(
                "compression_bomb",
                f"{self._what} unpacks to more {of} than a snapshot may have; none of its lines was ingested",
            )


def _guarded(path: Path, size: int, read: Read) -> Read:
    guard = ExpansionGuard(path, size)

    def counted(count: int) -> bytes:
        data = read(count)
        guard.count(len(data), line_ends(data))
        return data

    return counted


def _zstd(file: BinaryIO) -> Read:
    """A reader that, unlike that of the library, raises an error for a frame that ends too early."""
    pieces = _zstd_pieces(file)
    rest = bytearray()

    def read(count: int) -> bytes:
        while len(rest) < count and (piece := next(pieces, b"")):
            rest.extend(piece)
        data = bytes(rest[:count])
        del rest[:count]
        return data

    return read


def _zstd_pieces(file: BinaryIO) -> Iterator[bytes]:
    library = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = library.decompressobj()
    started = False
    while chunk := file.read(_ZSTD_FEED):
        while chunk:
            started = True
            piece = frame.decompress(chunk)
            if piece:
                yield piece
            chunk = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame, started = library.decompressobj(), False
    if started:
        raise EOFError("the last frame ends too early")
