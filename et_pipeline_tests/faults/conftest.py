"""One process that forks commands and one undisturbed run, shared by all tests of crashes and of the environment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from et_pipeline_tests.faults.chains import Reference, undisturbed
from et_pipeline_tests.faults.processes import Nursery


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """In memory where there is some: SIGKILL takes no page out of the page cache, so a disk would add only time."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="et-faults-", dir=memory if memory.is_dir() else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def nursery(folder: Path) -> Iterator[Nursery]:
    with Nursery(folder) as process:
        yield process


@pytest.fixture(scope="session")
def reference(nursery: Nursery, folder: Path) -> Reference:
    return undisturbed(nursery, folder)
