"""Names, texts and files that others wrote: what they may contain, and how they are read and shown safely."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

CONTROL_CHARACTERS = r"[\x00-\x1f\x7f-\x9f]"


def printable(text: str) -> str:
    """Returns the text if it has no control characters, which a terminal would carry out.

    Raises:
        ValueError: It contains one.
    """
    if re.search(CONTROL_CHARACTERS, text):
        raise ValueError("contains a control character; allowed: printable text")
    return text


def shown(text: str) -> str:
    """Any text; control characters, and bytes of a file name that are not UTF-8, are replaced by escapes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(CONTROL_CHARACTERS, lambda found: f"\\x{ord(found[0]):02x}", text)


def name_key(name: str) -> str:
    """A person's name in the form in which names are compared: two spellings of the same name have the same key.

    These differences are ignored: upper and lower case, how a letter is composed (é as one character or as two), its
    width, invisible characters (a soft hyphen, a zero-width space), and the width of spaces. Letters of other scripts
    that only look similar stay different, since a name is free text: a person is identified by the key of the
        signature.

    Source: Unicode 16, section 3.13, compatibility caseless matching (`toNFKC_Casefold`).
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").split())


def in_utc(moment: datetime) -> datetime:
    """A moment with an offset, in UTC.

    Raises:
        ValueError: Its year in UTC does not lie between 1 and 9999.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies before the year 1 or after the year 9999 in UTC") from error


def leads_out(path: Path | str, folder: Path) -> bool:
    """Whether a path lies outside a folder after its links were followed."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_inside(path: Path, folder: Path, limit: int) -> bytes:
    """Reads a regular file inside a folder; it refuses pipes and links to files outside the folder.

    Args:
        path: The file.
        folder: The folder in which it must lie after links were followed.
        limit: The largest number of bytes that are read.

    Raises:
        OSError: It is not such a file, or cannot be read.
    """
    if leads_out(path, folder):
        raise OSError(f"this is a link to a file outside {folder.name}; put the file itself there")
    # Without O_NONBLOCK, opening a pipe would wait until a process writes to it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("this is not a plain file")
        return file.read(limit)
