"""What a person has to do, for the index and `et status --needs-me`."""

import pytest

from et_pipeline.governance.lifecycle import STATES
from et_pipeline.governance.next_steps import GROUPS, OF_CHECK, group, next_step


@pytest.mark.parametrize(
    ("state", "verdict", "reason", "missing", "expected"),
    [
        (None, None, None, (), "not_started"),
        ("registered", None, "registered", (), "not_started"),
        ("awaiting_sign_off", None, "awaiting_sign_off", (), "waiting"),
        ("awaiting_sign_off", None, "split_declined", (), "hindered"),
        ("sampling", None, "sampling", (), "running"),
        *(("sampling", None, "sampling", (check,), "hindered") for check in OF_CHECK),
        ("stalled", None, "stalled", (), "hindered"),
        ("promotion_review", "variant_better", "variant_better", (), "waiting"),
        ("promotion_review", None, "verdict_withdrawn", (), "contradicted"),
        ("signed_off", None, "verdict_contradicted", (), "contradicted"),
        ("signed_off", "variant_better", "variant_better", (), "decided"),
        ("declined", "variant_better", "variant_better", (), "decided"),
        ("concluded", "equivalent", "equivalent", (), "concluded"),
        ("concluded", "inconclusive", "inconclusive", ("unmatched",), "concluded"),
    ],
)
def test_each_experiment_is_in_the_group_of_what_a_person_does(
    state, verdict, reason, missing, expected
) -> None:
    step = next_step(state, verdict, missing, reason)
    assert group(state, verdict, reason, step=step, weakened=False, failing=False) == expected
    assert group(state, verdict, reason, step=step, weakened=False, failing=True) == "broken"


def test_a_weakened_verdict_asks_until_somebody_has_decided() -> None:
    for state in ("promotion_review", "concluded", "signed_off", "declined"):
        found = group(state, "variant_better", "variant_better", step="", weakened=True, failing=False)
        assert GROUPS[found].needs_me == (state in ("promotion_review", "concluded"))


def test_every_state_has_a_group() -> None:
    for state in STATES:
        step = next_step(state, None, ())
        assert group(state, None, state, step=step, weakened=False, failing=False) in GROUPS
