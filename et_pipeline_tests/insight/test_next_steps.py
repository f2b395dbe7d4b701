"""Every state with every verdict and reason has a word, a badge and a next step."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from et_pipeline.governance.lifecycle import STATES
from et_pipeline.governance.next_steps import CONTRADICTED, command, next_step, word
from et_pipeline.governance.terms import Verdict
from et_pipeline.insight.findings import badge

REASONS = (None, "primary_undecided", "split_declined", "primary_above_zero", *STATES, *CONTRADICTED)


@pytest.mark.parametrize("state", [None, *STATES])
def test_every_state_verdict_and_reason_has_words(state: str | None) -> None:
    for verdict, reason in itertools.product([None, *get_args(Verdict)], REASONS):
        for missing in ([], ["sample_ratio_alarm"]):
            assert next_step(state, verdict, missing, reason)
        label, tone = badge(verdict, state, reason)
        assert label and tone in ("good", "bad", "open", "calm")
        assert word(state, verdict, reason)


@pytest.mark.parametrize("reason", CONTRADICTED)
def test_nobody_is_asked_to_approve_a_verdict_that_no_longer_follows(reason: str) -> None:
    assert "do not act on it" in next_step("promotion_review", None, [], reason)
    assert command("it", "promotion_review", reason) is None
    assert badge("variant_better", "promotion_review", reason)[1] == "bad"
