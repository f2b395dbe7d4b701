"""The tests and checks that `docs/governance.md` names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from et_pipeline.defs.governance import CHECKS
from et_pipeline.governance.sign_offs import REFUSALS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "governance.md").read_text(encoding="utf-8")


def test_every_test_named_exists():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    for path, function in named:
        module = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, (
            path,
            function,
        )


def test_every_threat_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert [row for row in rows if "::" not in row] == []


def test_every_check_is_named():
    assert [check.name for check in CHECKS if f"`{check.name}`" not in PAGE] == []


def test_every_refusal_is_tried_somewhere():
    files = ("test_sign_offs.py", "test_decide.py")
    tests = "".join((TESTS / "governance" / name).read_text(encoding="utf-8") for name in files)
    assert [refusal for refusal in REFUSALS if f'"{refusal}"' not in tests] == []
