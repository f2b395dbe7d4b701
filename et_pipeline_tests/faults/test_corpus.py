"""Runs again every case that fuzzing or people ever found."""

from __future__ import annotations

import pytest

from et_pipeline_tests.faults.targets import CORPUS, TARGETS

CASES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_found_case_stays_found(path):
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_cases():
    assert {path.parent.name for path in CASES} == set(TARGETS)
