"""Every refusal is written in the words of the plan, whatever the plan contains."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline_tests.contracts.test_plan import PLAN

LIBRARY = (
    "Input should",
    "valid ",
    "should have",
    "pydantic",
    "type=",
    "input_value",
    "Field required",
    "Value error",
)
WRONG = [
    None, True, 0, -1, 10**12, 1.5, float("nan"), float("inf"), "", "x" * 600, "no", "\x07", [], [1], {}, {"a": 1},
    "2026-11-01", "1 hour", "../..",
]  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    entries = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in entries:
        found += places(value, (*path, key))
    return found


BASE = yaml.safe_load(PLAN) | {
    "sample": False,
    "alpha": 0.05,
    "max_missing": 0.05,
    "planned_clusters": 20,
    "min_samples_for_decision": 100,
    "traffic_split_pct": 10,
    "promotion": {"request_review": True, "approvers": 1, "allow_self_approval": False},
}
BASE["metrics"][3]["winsor"] = [0, 2000]


@pytest.mark.parametrize("path", places(BASE), ids=lambda path: ".".join(map(str, path)))
def test_no_fault_of_any_key_is_told_in_the_words_of_a_library(path: tuple[Any, ...]) -> None:
    refused = 0
    for wrong in WRONG:
        document = copy.deepcopy(BASE)
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
        outcome = parse_plan(yaml.safe_dump(document).encode(), "plan.yaml")
        if isinstance(outcome, Plan):
            continue
        refused += 1
        for refusal in outcome:
            assert not [word for word in LIBRARY if word in refusal.sentence], str(refusal)
            assert (
                refusal.sentence.startswith(("allowed: ", "missing", "unknown key", "YAML "))
                or len(refusal.sentence) > 10
            )
    assert refused > 0


def test_a_faulty_entry_does_not_make_its_list_too_short() -> None:
    outcome = parse_plan(PLAN.replace("margin: 2.0", "margin: two").encode(), "plan.yaml")
    assert not isinstance(outcome, Plan)
    assert [refusal.key for refusal in outcome] == ["metrics.0.equivalence_margin"]
