"""What one evaluation announces, only once, and what it does not announce yet."""

from __future__ import annotations

import json
from datetime import UTC, timedelta

from et_pipeline.governance.judgement import loads
from et_pipeline.governance.sign_offs import split_evidence
from et_pipeline.warehouse import audit
from et_pipeline_tests.governance.world import START


def test_a_new_plan_is_announced_once_and_samples(world):
    world.write_plan()
    result = world.tick()
    assert result.transitions == [("line-shop", None, "registered"), ("line-shop", "registered", "sampling")]
    assert world.codes() == ["EXPERIMENT_STARTED", "EXPERIMENT_INSUFFICIENT_SAMPLES"]
    (event,) = [event for event in result.events if event.reason_code == "EXPERIMENT_STARTED"]
    assert event.payload["payload"]["plan_hash"] == world.plan_hash()
    assert "title" not in event.payload["payload"]["plan"]
    assert world.tick().events == []


def test_a_plan_in_the_future_waits(world):
    world.write_plan(starts_at=START + timedelta(days=1))
    world.tick()
    assert world.state() == "registered"
    assert world.codes() == ["EXPERIMENT_STARTED"]
    world.tick(hours=24)
    assert world.state() == "sampling"


def test_too_few_samples_are_told_once_a_day_and_at_the_end(world):
    world.write_plan()
    world.tick()
    world.interval(2, -1, 3, n_pairs=20, clusters=3.0)
    assert world.tick(hours=2).events == []
    (event,) = world.tick(hours=24).events
    assert event.reason_code == "EXPERIMENT_INSUFFICIENT_SAMPLES"
    payload = event.payload["payload"]
    assert payload["n_pairs"] == 20
    assert payload["missing"][0]["condition"] == "too_few_pairs"
    assert payload["missing"][0]["further_pairs"] == 80
    assert payload["expected_further_pairs"] == 100, "the guardrail has no pair at all"
    last = world.tick(hours=24 * 10)
    assert [event.reason_code for event in last.events] == [
        "EXPERIMENT_INSUFFICIENT_SAMPLES",
        "EXPERIMENT_RESULT",
    ]
    assert last.events[0].payload["payload"]["period"] == "ends_at"
    assert world.verdict()["verdict"] == "inconclusive"
    assert world.state() == "concluded"


def test_too_few_samples_are_told_once_a_utc_day(world):
    world.write_plan()
    world.tick()
    world.interval(2, -1, 3, n_pairs=20, clusters=3.0)
    told = [len(world.tick(hours=hours).events) for hours in (24, 22, 1.25)]
    assert (world.now.hour, world.now.minute) == (0, 15)
    assert told == [1, 0, 1]


def test_a_better_variant_goes_to_review_and_no_further(world):
    world.write_plan()
    world.tick()
    world.better()
    result = world.tick(hours=6)
    assert world.state() == "promotion_review"
    assert [event.kind for event in result.events] == ["reason_code", "promotion_review"]
    row = world.verdict()
    assert row["verdict"] == "variant_better"
    assert row["evidence_hash"] == row["announced_evidence_hash"]
    sent = result.events[0].payload["payload"]
    assert sent["evidence_hash"] == row["evidence_hash"]
    assert sent["evidence"]["metrics"]["edge_bps"]["e_value"] == 42.0
    for _ in range(3):
        assert world.tick(hours=24).events == []
    assert world.state() == "promotion_review"


def test_a_look_that_changes_nothing_leaves_the_row_of_the_verdict(world):
    world.write_plan()
    world.tick()
    world.better()
    world.tick(hours=6)
    rows = "SELECT rowid, * FROM verdicts"
    before = world.connection.execute(rows).fetchall()
    world.tick(hours=1)
    assert world.connection.execute(rows).fetchall() == before and before


def test_without_a_request_for_review_it_is_concluded(world):
    world.write_plan(promotion={"request_review": False})
    world.tick()
    world.better()
    world.tick(hours=6)
    assert world.state() == "concluded"
    assert "promotion_review" not in world.codes()


def test_an_open_block_decides_nothing(world):
    world.write_plan()
    world.tick()
    world.interval(5, 0.5, 2.5, closed=False)
    world.interval(5, -0.5, 0.5, metric="slippage_bps", closed=False)
    world.tick(hours=6)
    assert world.verdict()["verdict"] is None


def test_a_worse_variant_concludes_and_signals_once(world):
    world.write_plan()
    world.tick()
    world.interval(5, -2.5, -0.5)
    world.interval(5, -3.5, -1.5, metric="slippage_bps")
    result = world.tick(hours=6)
    assert world.state() == "concluded"
    assert {(s.metric, s.trigger) for s in result.signals} == {
        ("edge_bps", "interval"),
        ("slippage_bps", "guardrail"),
    }
    assert world.tick(hours=1).events == []
    rows = world.connection.execute(
        "SELECT count(*), count(DISTINCT signal_id) FROM drift_signals"
    ).fetchone()
    assert rows == (2, 2)


def test_the_detector_signals_with_its_onset_even_after_the_verdict(world):
    world.write_plan()
    world.tick()
    world.better(5)
    world.tick(hours=6)
    as_of = (START + timedelta(hours=6)).replace(tzinfo=None)
    world.connection.execute(
        "INSERT INTO series_drift VALUES ('line-shop', 'edge_bps', ?, 0.0, 5.0, 3.0, true, ?, 'uplift')",
        [as_of, as_of - timedelta(hours=2)],
    )
    world.interval(6, 0.2, 2.4, closed=False)
    assert world.tick(hours=1).signals == [], "the block is not closed yet"
    world.interval(6, 0.2, 2.4)
    (signal,) = world.tick(hours=1).signals
    assert signal.trigger == "detector"
    assert signal.since == as_of - timedelta(hours=2)
    assert signal.n_pairs == 500
    assert world.tick(hours=1).signals == []


def test_a_sample_ratio_alarm_blocks_the_verdict_from_then_on(world):
    world.write_plan()
    world.tick()
    world.connection.execute(
        "INSERT INTO sample_ratio VALUES "
        "('line-shop', TIMESTAMP '2026-11-01 04:00', 900, 100, 0.5, 0.1, 1e9, 1e-9, true)"
    )
    world.better(5)
    world.tick(hours=6)
    row = world.verdict()
    assert (row["state"], row["verdict"], row["reason"]) == ("sampling", None, "sample_ratio_alarm")


def test_a_verdict_that_late_reports_undo_stays_announced_and_is_marked(world):
    world.write_plan()
    world.tick()
    world.better(5)
    world.tick(hours=6)
    announced = world.verdict()
    world.interval(5, -1.0, 2.5)
    result = world.tick(hours=1)
    row = world.verdict()
    assert result.contradicted == ["line-shop"]
    assert (row["contradicted"], row["verdict"], row["announced_verdict"]) == (True, None, "variant_better")
    assert row["announced_evidence_hash"] == announced["evidence_hash"]
    assert "We announced 'variant_better'." in row["sentence"]
    assert result.events == []
    world.better(5)
    assert world.tick(hours=1).contradicted == []
    actions = [
        row[0] for row in world.connection.execute("SELECT action FROM audit_log ORDER BY seq").fetchall()
    ]
    assert actions[-2:] == ["verdict_contradicted", "verdict_follows_again"]
    ((topic, about, message),) = world.connection.execute(
        "SELECT topic, experiment_id, message FROM notices"
    ).fetchall()
    assert (topic, about) == ("verdict_contradicted", "line-shop")
    assert "We announced 'variant_better'." in message


def test_a_contradicted_verdict_is_not_signed_off(world):
    world.write_plan()
    world.person("anna")
    world.tick()
    world.better(5)
    world.tick(hours=6)
    world.interval(5, -1.0, 2.5)
    world.sign("anna")
    world.tick(hours=1)
    assert world.state() == "promotion_review"
    world.better(5)
    world.tick(hours=1)
    assert world.state() == "signed_off"


def test_a_large_split_waits_for_a_sign_off_of_that_split(world):
    world.write_plan(traffic_split_pct=90)
    world.person("anna")
    result = world.tick()
    assert world.state() == "awaiting_sign_off"
    assert [event.reason_code for event in result.events] == [
        "EXPERIMENT_STARTED",
        "EXPERIMENT_LARGE_SPLIT_WARN",
    ]
    world.better(5)
    world.sign("anna", purpose="split", evidence_hash=split_evidence("line-shop", 60))
    world.tick(hours=1)
    assert world.state() == "awaiting_sign_off"
    assert world.verdict()["verdict"] is None
    assert list(world.refusals().values()) == ["other_evidence"]
    world.sign("anna", purpose="split", evidence_hash=split_evidence("line-shop", 90))
    world.tick(hours=1)
    assert world.state() == "promotion_review"


def test_a_declined_split_keeps_waiting_until_it_is_lowered(world):
    world.write_plan(traffic_split_pct=90)
    world.person("anna")
    world.person("bert")
    world.tick()
    evidence = split_evidence("line-shop", 90)
    assert world.verdict()["reason"] == "awaiting_sign_off"
    world.sign("anna", purpose="split", evidence_hash=evidence, decision="decline")
    world.sign("bert", purpose="split", evidence_hash=evidence)
    world.tick(hours=1)
    assert world.state() == "awaiting_sign_off"
    row = world.verdict()
    assert (row["reason"], row["verdict"]) == ("split_declined", None)
    assert "A human declined the split" in row["sentence"]
    world.write_plan(traffic_split_pct=50)
    world.tick(hours=1)
    assert world.state() == "sampling"


def test_a_split_nobody_approves_ends_inconclusive(world):
    world.write_plan(traffic_split_pct=90)
    world.tick()
    world.better(5)
    world.tick(hours=24 * 11)
    row = world.verdict()
    assert (row["state"], row["verdict"], row["n_pairs"]) == ("concluded", "inconclusive", 0)
    world.tick(hours=1)
    assert not world.verdict()["contradicted"]


def test_an_outage_pauses_and_resumes_by_itself(world):
    world.write_plan()
    world.tick()
    world.settings.report_bus_dir.rmdir()
    world.better(5)
    result = world.tick(hours=6)
    assert world.state() == "stalled"
    assert world.verdict()["verdict"] is None
    (event,) = [event for event in result.events if event.reason_code == "EXPERIMENT_STALLED"]
    assert event.payload["payload"]["reason"] == "the folder report_bus is missing"
    assert world.tick(hours=30).events == [], "one event an outage, and no other while it lasts"
    world.settings.report_bus_dir.mkdir()
    result = world.tick(hours=1)
    assert [(before, after) for _, before, after in result.transitions] == [
        ("stalled", "sampling"),
        ("sampling", "concluded"),
        ("concluded", "promotion_review"),
    ]
    world.settings.report_bus_dir.rmdir()
    assert world.tick(hours=1).events == [], "a concluded experiment samples no more"


def test_a_second_outage_is_told_again(world):
    world.write_plan()
    world.tick()
    for _ in range(2):
        world.settings.report_bus_dir.rmdir()
        world.tick(hours=1)
        world.settings.report_bus_dir.mkdir()
        world.tick(hours=1)
    assert world.codes().count("EXPERIMENT_STALLED") == 2


def test_the_mode_is_recorded_when_it_changes(world):
    world.write_plan()
    world.tick()
    world.tick()
    world.settings = type(world.settings)(data_dir=world.settings.data_dir, mode="limited_live")
    world.tick()
    rows = world.connection.execute(
        "SELECT detail FROM audit_log WHERE action = 'mode' ORDER BY seq"
    ).fetchall()
    assert [json.loads(row[0])["mode"] for row in rows] == ["shadow_only", "limited_live"]


def test_the_log_stays_intact_and_the_events_anchor_it(world):
    world.write_plan()
    world.tick()
    world.better()
    world.tick(hours=6)
    anchors = [*audit.event_anchors(world.connection), audit.read_anchor(world.settings)]
    assert len(anchors) > 2
    assert audit.verify(world.connection, anchors) is None
    world.connection.execute("UPDATE audit_log SET detail = '{}' WHERE to_state = 'concluded'")
    fault = audit.verify(world.connection, anchors)
    assert fault is not None
    assert fault.kind == "edited"


def test_an_experiment_is_over_when_both_its_arms_have_moved_on_or_a_block_has_passed(world):
    """Neither a report of somebody else, nor one arm alone, nor a clock that runs ahead ends it."""
    world.write_plan()
    world.tick()
    world.interval(5, -3.0, 3.0)
    (ends_at,) = world.connection.execute("SELECT ends_at FROM experiments").fetchone()
    late, early = ends_at + timedelta(seconds=5), ends_at - timedelta(minutes=4)
    seen = []
    for progress, now in (
        ((late, early), ends_at + timedelta(minutes=1)),
        ((early, late), ends_at + timedelta(minutes=1)),
        ((late, None), ends_at + timedelta(minutes=59)),
        ((late, late), early),
        ((late, ends_at), ends_at),
    ):
        world.connection.execute("DELETE FROM arm_progress")
        world.connection.execute(
            "INSERT INTO arm_progress BY NAME SELECT 'line-shop' AS experiment_id, ? AS control_until, ? AS variant_until",
            progress,
        )
        world.now = now.replace(tzinfo=UTC)
        world.tick()
        seen.append(world.state())
    assert seen == ["sampling"] * 4 + ["concluded"]
    assert world.verdict()["verdict"] == "inconclusive"


def test_after_the_grace_an_experiment_is_over_whoever_is_silent(world):
    world.write_plan()
    world.tick()
    world.interval(5, -3.0, 3.0)
    (ends_at,) = world.connection.execute("SELECT ends_at FROM experiments").fetchone()
    world.now = ends_at.replace(tzinfo=UTC) + timedelta(hours=1, microseconds=-1)
    world.tick()
    assert world.state() == "sampling"
    world.now += timedelta(microseconds=1)
    world.tick()
    assert world.state() == "concluded"


def test_an_end_before_an_announced_decision_is_refused_and_a_later_one_is_taken(world):
    world.write_plan()
    world.tick()
    world.better(5)
    world.tick(hours=6)
    announced = world.verdict()
    refused = "SELECT key, value, sentence FROM plan_refusals"
    world.write_plan(ends_at=START + timedelta(hours=4))
    assert world.tick(hours=1).contradicted == []
    ((key, value, sentence),) = world.connection.execute(refused).fetchall()
    assert (key, value) == ("ends_at", "2026-11-01T04:00:00+00:00")
    assert "its verdict was announced as of 2026-11-01T05:00:00" in sentence
    assert world.verdict()["sentence"] == announced["sentence"]
    world.write_plan(ends_at=START + timedelta(hours=5))
    assert world.tick(hours=1).contradicted == []
    assert world.connection.execute(refused).fetchall() == []
    row = world.connection.execute("SELECT ends_at FROM experiments").fetchone()
    assert row == ((START + timedelta(hours=5)).replace(tzinfo=None),)
    assert world.verdict()["verdict"] == "variant_better"


def test_only_what_happened_is_named_as_the_cause_of_a_contradiction(world):
    world.write_plan()
    world.tick()
    world.better(5)
    world.tick(hours=6)
    world.interval(5, -1.0, 2.5)
    world.tick(hours=1)
    sentence = world.verdict()["sentence"]
    assert "No report came since then and the plan is the same, but" in sentence
    world.write_plan(ends_at=START + timedelta(hours=5))
    world.tick(hours=1)
    sentence = world.verdict()["sentence"]
    assert "An amendment of the plan (ends_at) changed the result" in sentence
    assert "ater reports" not in sentence


def test_a_window_that_began_before_its_registration_is_told_wherever_its_verdict_is(world):
    """Of the 500 pairs behind the verdict, the 200 of blocks that had begun by then were there already."""
    world.now = START + timedelta(hours=3, minutes=30)
    world.write_plan()
    world.tick()
    world.interval(4, -1.0, 3.0, n_pairs=200)
    world.better(6)
    events = {event.kind: event.payload for event in world.tick(hours=4).events}
    row = world.verdict()
    assert (row["verdict"], row["registered_in_hindsight"], row["already_there"]) == (
        "variant_better",
        True,
        0.4,
    )
    told = "registered on 2026-11-01 03:30 UTC, after its window had begun (2026-11-01 00:00 UTC). 40 % of"
    assert told in row["sentence"]
    asked = events["promotion_review"]
    assert (asked["registered_in_hindsight"], asked["already_there"]) == (True, 0.4)
    assert told in asked["message"]


def test_a_window_that_begins_after_its_registration_is_told_as_nothing_else(world):
    world.now = START - timedelta(hours=1)
    world.write_plan()
    world.tick()
    world.better(5)
    events = {event.kind: event.payload for event in world.tick(hours=7).events}
    row = world.verdict()
    assert (row["verdict"], row["registered_in_hindsight"], row["already_there"]) == (
        "variant_better",
        False,
        None,
    )
    assert "registered on" not in row["sentence"]
    assert events["promotion_review"]["registered_in_hindsight"] is False


def test_a_sample_says_so_itself_and_stays_one(world):
    world.write_plan(sample=True)
    world.tick()
    world.better(5)
    messages = {event.kind: event.message for event in world.tick(hours=6).events}
    assert "sample data" in messages["promotion_review"]
    row = world.verdict()
    assert (row["registered_in_hindsight"], row["already_there"]) == (False, None)
    assert "registered on" not in row["sentence"]
    world.write_plan()
    world.tick(hours=1)
    ((key, sentence),) = world.connection.execute("SELECT key, sentence FROM plan_refusals").fetchall()
    assert key == "sample" and "sample data stays sample data" in sentence


def test_an_experiment_that_ends_without_pairs_concludes_nothing_until_a_file_comes(world):
    world.write_plan()
    world.tick()
    world.tick(hours=24 * 11)
    row = world.verdict()
    assert (row["state"], row["verdict"], row["reason"]) == ("sampling", None, "no_pairs")
    assert "without a single pair" in row["sentence"]
    assert "EXPERIMENT_RESULT" not in world.codes()
    assert "strategy_id and config_version" in row["standing"]
    world.tick(hours=24)
    world.tick(hours=24)
    assert world.codes().count("EXPERIMENT_INSUFFICIENT_SAMPLES") == 2  # before the end, and at the end
    world.better(5)  # a file that came late
    result = world.tick(hours=1)
    assert world.verdict()["verdict"] == "variant_better"
    assert [event.reason_code for event in result.events][0] == "EXPERIMENT_RESULT"


def test_an_experiment_that_was_announced_without_pairs_stays_as_it_was_announced(world):
    world.write_plan()
    world.tick()
    world.interval(5, -3.0, 3.0)
    world.tick(hours=24 * 11)
    assert world.verdict()["verdict"] == "inconclusive"
    world.connection.execute("DELETE FROM series_interval_path")
    assert world.tick(hours=1).contradicted == []
    assert world.verdict()["verdict"] == "inconclusive"


def test_a_verdict_that_the_present_interval_no_longer_supports_is_weakened_and_an_approval_has_to_say_so(
    world,
):
    world.person("anna")
    world.write_plan()
    world.tick()
    world.better(5)
    world.tick(hours=6)
    row = world.verdict()
    assert (row["verdict"], row["weakened"]) == ("variant_better", False)
    world.interval(6, -0.04, 9.72, n_pairs=800)
    world.interval(6, -0.5, 0.5, metric="slippage_bps", n_pairs=800)
    world.tick(hours=1)
    row = world.verdict()
    assert (row["state"], row["verdict"], row["contradicted"]) == (
        "promotion_review",
        "variant_better",
        False,
    )
    assert row["weakened"]
    assert "The present interval no longer supports the verdict" in row["sentence"]
    assert "between −0.04 and +9.72 bps per pair, from 800 matched pairs" in row["sentence"]
    judgement = loads(row["standing"])
    assert (judgement.primary.point["n_pairs"], judgement.present[0].point["n_pairs"]) == (500, 800)
    assert judgement.weakened
    assert "has to say that its signer knows" in judgement.next_step
    topics = world.connection.execute("SELECT topic FROM notices").fetchall()
    assert topics == [("verdict_weakened",)]
    world.tick(hours=1)
    assert world.connection.execute("SELECT count(*) FROM notices").fetchone() == (1,)
    path = world.sign("anna")
    world.tick(hours=1)
    assert world.state() == "promotion_review"
    assert world.refusals() == {path.name: "weakened"}
    world.sign("anna", weakened=True)
    world.tick(hours=1)
    assert world.state() == "signed_off"


def test_a_review_tells_how_many_of_its_approvals_it_has(world):
    for name in ("anna", "bert"):
        world.person(name)
    world.write_plan(promotion={"request_review": True, "approvers": 2})
    world.tick()
    world.better(5)
    seen = []
    for name in ("anna", "bert", None):
        world.tick(hours=6)
        judgement = loads(world.verdict()["standing"])
        condition = next(item for item in judgement.conditions if item.label == "Approved by humans")
        seen.append((judgement.review, condition.word))
        if name:
            world.sign(name)
    assert seen == [
        ("Waits for a review: 0 of 2 approvals", "not yet"),
        ("Waits for a review: 1 of 2 approvals", "not yet"),
        ("Approved by humans: 2 of 2 approvals", "met"),
    ]
