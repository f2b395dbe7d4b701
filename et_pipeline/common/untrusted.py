"""Names, texts and files that others wrote: what they may hold, and how they are read and shown."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

CONTROL_CHARACTERS = r"[\x00-\x1f\x7f-\x9f]"


def printable(text: str) -> str:
    """The text itself, where it does nothing but show: a terminal obeys control characters.

    Raises:
        ValueError: It holds one.
    """
    if re.search(CONTROL_CHARACTERS, text):
        raise ValueError("holds a control character; allowed: printable text")
    return text


def shown(text: str) -> str:
    """Any text with control characters, and bytes of a file name that are no UTF-8, as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(CONTROL_CHARACTERS, lambda found: f"\\x{ord(found[0]):02x}", text)


def name_key(name: str) -> str:
    """A person's name in the form in which names are compared: two spellings of one name have one key.

    Case counts for nothing, nor does how a letter is composed (é as one character or as two), its width, a
    character that is not seen (a soft hyphen, a zero-width space), or how wide a space is. Letters of other
    scripts that only look alike stay different: a name is free text, what proves a person is the key.

    Source: Unicode 16, section 3.13, compatibility caseless matching (`toNFKC_Casefold`).
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").split())


def in_utc(moment: datetime) -> datetime:
    """A moment with an offset, in UTC.

    Raises:
        ValueError: It lies beyond what a calendar of four digits holds.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies before the year 1 or after the year 9999 in UTC") from error


def leads_out(path: Path | str, folder: Path) -> bool:
    """Whether a path, its links followed, lies outside a folder."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_inside(path: Path, folder: Path, limit: int) -> bytes:
    """Reads a plain file that lies in a folder: never one that a link outside names, never a pipe.

    Args:
        path: The file.
        folder: Where it has to lie, links followed.
        limit: The largest number of bytes that are read.

    Raises:
        OSError: It is none, or cannot be read.
    """
    if leads_out(path, folder):
        raise OSError(f"it is a link to a file outside {folder.name}; put the file itself there")
    # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no plain file")
        return file.read(limit)
