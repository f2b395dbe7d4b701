"""The worked examples in the documentation and in docstrings are correct."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"


def test_worked_examples_of_the_statistics_page():
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    assert result.attempted > 10


@pytest.mark.parametrize("name", ["cells", "boundary", "spending", "twoway"])
def test_examples_in_docstrings(name):
    result = doctest.testmod(import_module(f"et_pipeline.inference.{name}"))
    assert result.failed == 0
    assert result.attempted > 0
