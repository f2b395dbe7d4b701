from __future__ import annotations

from collections.abc import Iterator

import pytest

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.governance.world import World


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    with open_warehouse(settings) as connection:
        yield World(settings, connection)
