"""Checks whether the files that are published for people still exist and are up to date."""

from __future__ import annotations

import json
from pathlib import Path

from et_pipeline.common.files import follows
from et_pipeline.settings import Settings

PAGE_NOTES = ".drawn.json"
"""File beside the review pages with the state from which each was drawn, so that only changed ones are drawn again."""


def missing_publications(settings: Settings) -> list[Path]:
    """Published files that somebody removed: the analyst database, the index, or a page that was drawn."""
    pages = settings.pages_dir
    try:
        drawn = json.loads((pages / PAGE_NOTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        drawn = {}
    expected = [settings.analyst_path, pages / PAGE_NOTES, pages / "index.html"]
    return [path for path in [*expected, *(pages / f"{name}.html" for name in drawn)] if not path.exists()]


def pages_follow(settings: Settings) -> bool:
    """Whether the pages were updated after the analyst database was last replaced."""
    return follows(settings.pages_dir / PAGE_NOTES, settings.analyst_path)
