"""Compiled templates are kept where that is possible, and drawn from in either case."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from et_pipeline.insight import rendering


@pytest.mark.parametrize("writable", [True, False])
def test_templates_are_drawn_whether_or_not_they_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    usual = rendering.environment().globals["css"]
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(rendering, "KEPT", tmp_path if writable else tmp_path / "missing")
    for _ in range(2):
        rendering.environment.cache_clear()
        assert rendering.environment().globals["css"] == usual
        assert len(list(tmp_path.rglob("*.jinja"))) == writable
    rendering.environment.cache_clear()
