"""Plans of both boundaries live in one warehouse, each with its own rows, and a rebuild gives the same."""

from __future__ import annotations

from pathlib import Path

import duckdb

from et_pipeline_tests.conftest import run_et


def test_a_rebuild_finds_no_difference_where_both_boundaries_are(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = run_et(folder, "generate", str(folder), "--experiments", "2", "--opportunities", "900")
    assert made.returncode == 0, made.stderr
    first = folder / "experiments" / "generated-1.yaml"
    first.write_text(first.read_text(encoding="utf-8") + "boundary: mixture\n", encoding="utf-8")
    ticked = run_et(folder, "tick")
    assert ticked.returncode == 0, ticked.stderr
    with duckdb.connect(str(folder / "published" / "experiments.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "SELECT experiment_id, count(looks) > 0, count(DISTINCT method) FROM interval_path GROUP BY ALL ORDER BY 1"
        ).fetchall()
    assert rows == [("generated-1", False, 1), ("generated-2", True, 1)]
    rebuilt = run_et(folder, "rebuild", "--check")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
