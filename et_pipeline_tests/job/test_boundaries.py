"""Plans of both boundaries live in one warehouse, each with its own rows, and a rebuild gives the same."""

from __future__ import annotations

import pytest

from et_pipeline_tests.job.conftest import World
from et_pipeline_tests.job.test_withdrawn import et


def test_a_rebuild_finds_no_difference_where_both_boundaries_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    et(world, monkeypatch, "generate", str(world.folder), "--experiments", "2", "--opportunities", "900")
    first = world.settings.experiments_dir / "generated-1.yaml"
    first.write_text(first.read_text(encoding="utf-8") + "boundary: mixture\n", encoding="utf-8")
    assert world.tick().success
    rows = world.rows(
        "SELECT experiment_id, count(looks) > 0, count(DISTINCT method) FROM interval_path GROUP BY ALL ORDER BY 1"
    )
    assert rows == [("generated-1", False, 1), ("generated-2", True, 1)]
    et(world, monkeypatch, "rebuild", "--check")
