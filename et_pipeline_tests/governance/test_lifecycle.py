"""The state machine: only the changes of its table are possible."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest

from et_pipeline.governance import lifecycle
from et_pipeline.governance.lifecycle import STATES, TRANSITIONS, IllegalTransitionError, advance, find

AT = datetime(2026, 11, 1, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"


def test_the_page_is_the_table():
    assert PAGE.read_text(encoding="utf-8") == lifecycle.markdown()


def test_the_table_is_consistent():
    assert {item.to_state for item in TRANSITIONS} == set(STATES)
    keys = [(item.from_state, item.trigger) for item in TRANSITIONS]
    assert len(keys) == len(set(keys)), "a trigger leads to one state"


def test_every_state_can_be_reached_and_the_ends_are_ends():
    reached: set[str | None] = {None}
    for _ in TRANSITIONS:
        reached |= {item.to_state for item in TRANSITIONS if item.from_state in reached}
    assert reached - {None} == set(STATES)
    assert set(STATES) - {item.from_state for item in TRANSITIONS} == {"signed_off", "declined"}


def test_only_a_sign_off_leads_to_signed_off():
    into = [item for item in TRANSITIONS if item.to_state in ("signed_off", "declined")]
    assert [(item.from_state, item.purpose) for item in into] == [("promotion_review", "promotion")] * 2


@pytest.mark.parametrize(
    ("state", "trigger"),
    [
        pair
        for pair in itertools.product([None, *STATES], sorted({item.trigger for item in TRANSITIONS}))
        if pair not in {(item.from_state, item.trigger) for item in TRANSITIONS}
    ],
)
def test_what_is_not_in_the_table_raises(state, trigger):
    with pytest.raises(IllegalTransitionError, match="cannot happen"):
        find(state, trigger)


def test_a_transition_that_needs_a_human_raises_without_one(world):
    world.write_plan(traffic_split_pct=80)
    world.tick()
    for hashes in ([], ["0" * 64]):
        with pytest.raises(IllegalTransitionError, match="needs valid split sign-offs"):
            advance(world.connection, AT, "line-shop", "split_approved", {"sign_offs": hashes})
    assert lifecycle.state_of(world.connection, "line-shop") == "awaiting_sign_off"


def test_a_refused_sign_off_or_one_for_something_else_moves_nothing(world):
    world.write_plan()
    world.person("anna")
    world.tick()
    world.better()
    world.tick(hours=6)
    world.sign("anna", evidence_hash="1" * 64)
    world.tick()
    rows = world.connection.execute("SELECT content_hash, valid FROM sign_offs").fetchall()
    assert [valid for _, valid in rows] == [False]
    for trigger in ("approved", "declined"):
        with pytest.raises(IllegalTransitionError, match="needs valid promotion sign-offs"):
            advance(world.connection, AT, "line-shop", trigger, {"sign_offs": [rows[0][0]]})


def test_an_approval_does_not_serve_as_a_decline(world):
    world.write_plan(promotion={"request_review": True, "approvers": 2})
    world.person("anna")
    world.tick()
    world.better()
    world.tick(hours=6)
    world.sign("anna")
    world.tick()
    (digest,) = world.connection.execute("SELECT content_hash FROM sign_offs WHERE valid").fetchone()
    with pytest.raises(IllegalTransitionError):
        advance(world.connection, AT, "line-shop", "declined", {"sign_offs": [digest]})
