"""The strict reader finds in generated snapshots exactly what the generator says is in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from et_pipeline.generator import FORMATS, Scenario, write_snapshots
from et_pipeline.ingest.reader import read_snapshot


@pytest.mark.parametrize("format", FORMATS)
def test_reader_and_truth_agree(tmp_path: Path, format: str) -> None:
    scenario = Scenario(
        experiment_id="exp",
        opportunities=800,
        newer_minor_share=0.05,
        superseded_share=0.05,
        duplicate_share=0.05,
    )
    truth = write_snapshots([scenario], tmp_path, seed=1, files=3, format=format, broken=2, skipped=7)
    reasons: Counter[str] = Counter()
    ids: set[str] = set()
    for file in truth.files:
        lines = reports = skipped = 0
        for batch in read_snapshot(tmp_path / file.name):
            lines += batch.lines
            reports += len(batch.reports)
            skipped += batch.skipped.total()
            reasons.update(batch.bad["reason"])
            ids.update(batch.reports["report_id"])
        assert lines == file.lines
        assert skipped == file.skipped
        # a conflict is only known once both of its lines were read
        assert reports == file.reports + file.duplicates + file.broken.get("conflict", 0)
    assert len(ids) == truth.reports
    assert reasons + Counter(conflict=truth.broken["conflict"]) == truth.quarantine
