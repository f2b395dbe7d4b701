"""What an uplift is worth in money, and corrected for stopping early, compared with figures worked out by hand."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest

from et_pipeline.experiments.registered import MetricTerms
from et_pipeline.governance.judgement import dumps, loads
from et_pipeline.governance.standing import judge
from et_pipeline.governance.terms import Sample
from et_pipeline.governance.verdict import assess
from et_pipeline.governance.worth import money, unbiased
from et_pipeline.inference.boundary import radius
from et_pipeline.inference.spending import BETTER, WORSE, boundaries
from et_pipeline_tests.governance.test_verdict import PLAN, START, point

WITH_MONEY = PLAN._replace(
    metrics=(*PLAN.metrics, MetricTerms("pnl_usd", "secondary", "mean", None, None, None, None))
)
LOOKS = 8


def sample(*points) -> Sample:
    return Sample({}, {}).plus(points)


def looks(scores: list[float], side: int, alpha: float):
    """A path at the looks of a plan, with known variance: the standard error falls with the root of time."""
    information = np.arange(1, len(scores) + 1) / LOOKS
    bounds = boundaries(information, information, [alpha])[side, 0]
    return [
        point(
            24 * (number + 1),
            (score - bound) / root,
            (score + bound) / root,
            mean_uplift=score / root,
            se=1 / root,
            alarm_ci_lower=(score - bound) / root,
            alarm_ci_upper=(score + bound) / root,
            degrees_of_freedom=1e7,
            look=number + 1,
            looks=LOOKS,
        )
        for number, (score, bound, root) in enumerate(zip(scores, bounds, np.sqrt(information), strict=True))
    ]


def test_money_per_opportunity_and_per_week_at_the_observed_rate() -> None:
    at = point(48, 0.2, 0.6, "pnl_usd", n_pairs=600)
    found = money(WITH_MONEY, sample(at))
    assert found is not None
    assert found.opportunities_per_week == 600 * 7 / 2
    assert (found.per_opportunity, found.lower, found.upper) == (0.4, 0.2, 0.6)
    assert found.per_week == pytest.approx(840) and found.week_lower == pytest.approx(420)
    assert found.sentence == (
        "In money (pnl_usd), the uplift is +0.400 USD (between +0.200 and +0.600) per opportunity. At the observed rate of "
        "2,100 compared opportunities per week, it is +840 USD (between +420 and +1,260) per week."
    )


def test_where_all_trades_are_compared_money_is_per_trade_of_both_arms() -> None:
    plan = WITH_MONEY._replace(matching="arms", mode="limited_live")
    found = money(plan, sample(point(24, -1.0, 3.0, "pnl_usd", n_pairs=50, n_control=450, n_variant=50)))
    assert found is not None and found.opportunities_per_week == 3500
    assert found.per_week == 3500 and " per trade." in found.sentence


def test_there_is_no_line_of_money_where_nothing_carries_it() -> None:
    assert money(PLAN, sample(point(24, 0.0, 1.0))) is None
    assert money(WITH_MONEY, sample(point(24, 0.0, 1.0))) is None
    early = money(WITH_MONEY, sample(point(24, None, None, "pnl_usd", mean_uplift=0.5)))
    assert early is not None and "(no interval yet)" in early.sentence


@pytest.mark.parametrize(
    ("verdict", "side", "sign"), [("variant_better", BETTER, 1), ("variant_worse", WORSE, -1)]
)
def test_a_verdict_has_an_estimate_nearer_to_zero_than_the_mean(verdict: str, side: int, sign: int) -> None:
    path = looks([sign * score for score in (0.3, 0.9, 1.2, 2.7)], side, 0.05)
    found = unbiased(PLAN, verdict, sample(path[-1]), path)
    assert found is not None
    assert found.mean == pytest.approx(path[-1].mean_uplift)
    assert 0 < sign * found.estimate < sign * found.mean
    assert "median-unbiased" in found.sentence
    assert unbiased(PLAN, None, sample(path[-1]), path) is None
    assert unbiased(PLAN, "equivalent", sample(path[-1]), path) is None


def test_a_verdict_of_a_guardrail_has_the_guardrails_estimate() -> None:
    """It says that the guardrail lost more than its margin of 1, so it is the distance from there that stopping adds to."""
    primary = looks([-score for score in (0.3, 0.9, 1.2, 2.7)], WORSE, 0.05)
    alone = unbiased(PLAN, "variant_worse", sample(primary[-1]), primary)
    ends = ("mean_uplift", "ci_lower", "ci_upper", "alarm_ci_lower", "alarm_ci_upper")
    guardrail = [
        row._replace(metric="slippage_bps", **{name: getattr(row, name) - 1.0 for name in ends})
        for row in primary
    ]
    undecided = [point(24 * (number + 1), -1.0, 1.0, look=number + 1, looks=LOOKS) for number in range(4)]
    found = unbiased(PLAN, "variant_worse", sample(undecided[-1], guardrail[-1]), [*undecided, *guardrail])
    assert alone is not None and found is not None
    assert (found.metric, found.mean) == ("slippage_bps", guardrail[-1].mean_uplift)
    assert found.estimate == pytest.approx(alone.estimate - 1.0)
    assert found.sentence.startswith("The mean uplift of slippage_bps at the decision is")
    both = unbiased(PLAN, "variant_worse", sample(primary[-1], guardrail[-1]), [*primary, *guardrail])
    assert both == alone, "the primary comes first"


def test_where_the_control_is_replayed_the_estimate_is_like_for_like() -> None:
    path = looks([0.3, 0.9, 1.2, 2.7], BETTER, 0.05)
    alike = [row._replace(comparison="like_for_like") for row in path]
    flattered = [row._replace(mean_uplift=row.mean_uplift + 5) for row in path]
    found = unbiased(PLAN, "variant_better", sample(flattered[-1], alike[-1]), [*flattered, *alike])
    alone = unbiased(PLAN, "variant_better", sample(path[-1]), path)
    assert found is not None and alone is not None
    assert (found.mean, found.estimate) == (alone.mean, alone.estimate)
    assert "edge_bps (like for like) at the decision is" in found.sentence


@pytest.mark.parametrize(("verdict", "sign"), [("variant_better", 1), ("variant_worse", -1)])
def test_a_plan_without_looks_has_a_conservative_estimate(verdict: str, sign: int) -> None:
    at = point(24, *sorted((sign * 0.5, sign * 3.0)))
    found = unbiased(PLAN, verdict, sample(at), [at])
    assert found is not None and at.mean_uplift is not None
    assert found.estimate == pytest.approx(
        at.mean_uplift - sign * float(radius(at.se, at.effective_clusters, 0.5, PLAN.g))
    )
    assert 0 < sign * found.estimate < 1.75
    assert "A conservative estimate" in found.sentence
    bounded = PLAN._replace(metrics=(PLAN.primary._replace(estimator="bounded"), *PLAN.metrics[1:]))
    assert unbiased(bounded, verdict, sample(at), [at]) is None


def test_where_nothing_left_what_it_may_lose_behind_there_is_none() -> None:
    path = looks([0.1, 0.2], BETTER, 0.05)
    for verdict in ("variant_better", "variant_worse", "inconclusive"):
        assert unbiased(PLAN, verdict, sample(path[-1]), path) is None


def test_both_stand_in_the_judgement_and_are_read_again() -> None:
    path = [
        *looks([0.3, 0.9, 1.2, 3.7], BETTER, 0.05),
        point(96, -0.2, 0.2, "slippage_bps"),
        point(96, 0.1, 0.3, "pnl_usd"),
    ]
    assessment = assess(WITH_MONEY, path)
    assert assessment.verdict == "variant_better"
    judgement = judge(
        WITH_MONEY,
        assessment,
        state="concluded",
        reason=assessment.reason,
        decided=True,
        closed_until=START + timedelta(days=4),
        sample_ratio=None,
        split_approved=True,
        failing=(),
        path=path,
    )
    assert len(judgement.worth) == 2
    assert loads(dumps(judgement)) == judgement
    assert {"money", "unbiased"} <= set(json.loads(dumps(judgement)))
