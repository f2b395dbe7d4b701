"""The checklist of an experiment: each condition of a verdict, what was found and what is needed."""

from __future__ import annotations

from collections.abc import Sequence

from et_pipeline.common import text
from et_pipeline.common.numbers import finite
from et_pipeline.contracts.plan import LARGE_SPLIT_PCT
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.governance.judgement import Condition, Standing
from et_pipeline.governance.records import SampleRatio
from et_pipeline.governance.terms import (
    MAX_MISSING_REPLAYS,
    Sample,
    concludes,
    fidelity_of,
    replays_missing,
    values_missing,
    within_without_spread,
)
from et_pipeline.inference.fidelity import MIN_COVERAGE
from et_pipeline.inference.horizon import MIN_BLOCKS
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION, MIN_CLUSTERS


def checklist(
    experiment: RegisteredExperiment,
    sample: Sample,
    standings: Sequence[Standing],
    like_for_like: Sequence[Standing],
    *,
    state: str,
    sample_ratio: SampleRatio | None,
    split_approved: bool,
) -> list[Condition]:
    """The conditions of a verdict, in the order in which pages show them.

    Args:
        experiment: The experiment.
        sample: The intervals and missing values at the moment that is judged.
        standings: Each metric's standing at that moment.
        like_for_like: The standings of primary and guardrails in the comparison of the two replays.
        state: The experiment's state.
        sample_ratio: The newest shares of the arms; None where they are not compared.
        split_approved: Whether a human approved a large split.
    """
    return [
        *_sample_conditions(experiment, sample, sample_ratio, state, split_approved),
        *(_metric_condition(experiment, standing) for standing in standings if standing.role != "secondary"),
        *_replay_conditions(experiment, sample, like_for_like),
    ]


def _metric_condition(experiment: RegisteredExperiment, standing: Standing) -> Condition:
    point, alpha = standing.point, experiment.alpha
    lower, upper, source = point["ci_lower"], point["ci_upper"], "ci_lower, ci_upper; experiments.alpha"
    if standing.says in ("beyond its margin", "below zero"):
        alpha = experiment.alarm_alpha
        lower, upper = point["alarm_ci_lower"], point["alarm_ci_upper"]
        source = "alarm_ci_lower, alarm_ci_upper; experiments.alarm_alpha"
    margin = "equivalence_margin" if standing.limit is None else "non_inferiority_margin"
    needed = "above 0" if standing.limit is None else f"above {text.number(standing.limit)} {standing.unit}"
    if standing.equal is not None:
        needed += f", or within ±{text.number(standing.equal)} {standing.unit}"
    return Condition(
        f"{standing.name} ({standing.role})",
        f"{text.interval(lower, upper, standing.unit)} ({text.percent(1 - alpha)})",
        needed,
        "good" if standing.says == "within the equivalence margin" else standing.tone,
        f"interval_path.{source}; experiment_metrics.{margin}",
    )


def _replay_conditions(
    experiment: RegisteredExperiment, sample: Sample, like_for_like: Sequence[Standing]
) -> list[Condition]:
    """The conditions on replays: the plan's requirements, and the same verdict in the comparison like for like."""
    fidelity = fidelity_of(experiment, sample)
    if fidelity is None:
        return []
    found = []
    if experiment.replay_required:
        tones = {"faithful": "good", "not_yet": "calm", "unknown": "open", "unfaithful": "bad"}
        margin = "" if fidelity.margin is None else f" (a gap within ±{text.number(fidelity.margin)})"
        found.append(
            Condition(
                "Replay is true",
                f"{fidelity.state.replace('_', ' ')}, for {text.percent(fidelity.coverage)} of the pairs",
                f"not unfaithful{margin}, for at least {text.percent(MIN_COVERAGE)} of the pairs",
                tones[fidelity.state],
                "replay_fidelity.state, coverage; experiments.replay_required",
            )
        )
    if fidelity.counts:
        for standing in like_for_like:
            condition = _metric_condition(experiment, standing)
            source = condition.source.replace("interval_path", "replay_path")
            found.append(
                condition._replace(label=f"{standing.name}, like for like ({standing.role})", source=source)
            )
        verdicts = [
            (concludes(experiment, item) or "nothing").replace("_", " ")
            for item in (sample, sample.like_for_like)
        ]
        found.append(
            Condition(
                "Both comparisons agree",
                f"uplift: {verdicts[0]}; like for like: {verdicts[1]}",
                "the same result in both",
                "good" if verdicts[0] == verdicts[1] else "bad",
                "interval_path, replay_path",
            )
        )
    return found


def _sample_conditions(
    experiment: RegisteredExperiment,
    sample: Sample,
    ratio: SampleRatio | None,
    state: str,
    split_approved: bool,
) -> list[Condition]:
    primary, least = experiment.primary, experiment.min_samples_for_decision
    point = sample.of(primary.name)
    n, clusters, memory = 0, 0.0, None
    if point is not None:
        n, clusters, memory = point.n_pairs, point.effective_clusters, finite(point.autocorrelation)
    settled = memory is not None and memory <= MAX_AUTOCORRELATION
    found = [
        Condition(f"Enough {experiment.counted}", text.number(n) if n else "none yet", f"at least {text.number(least)}",
                  "good" if n >= least else "open",
                  "interval_path.n_pairs; experiments.min_samples_for_decision"),
        Condition("Effective sample size", text.number(clusters, 3) if n else "none yet",
                  f"at least {MIN_CLUSTERS}",
                  "good" if clusters >= MIN_CLUSTERS else "open", "interval_path.effective_clusters"),
        Condition("Blocks long enough", "–" if memory is None else f"autocorrelation {text.number(memory, 2)}",
                  f"at most {MAX_AUTOCORRELATION:g}",
                  "good" if settled or within_without_spread(experiment, sample, primary) else "open",
                  "interval_path.autocorrelation"),
    ]  # fmt: skip
    if point is not None and point.look is not None and point.looks is not None:
        found.append(
            Condition(
                "Looks of the plan",
                f"{point.look} of {point.looks}",
                f"at least a fifth of them, and {MIN_BLOCKS} blocks with {experiment.unit}s",
                "good" if point.ready or within_without_spread(experiment, sample, primary) else "open",
                "interval_path.look, looks, next_look_at, n_blocks",
            )
        )
    for terms in (primary, *experiment.guardrails):
        if sample.missing(terms.name).pairs:
            found.append(
                Condition(
                    f"Values of {terms.name}",
                    f"missing in {text.percent(sample.missing_share(terms.name))} of the {experiment.unit}s",
                    f"at most {text.percent(experiment.max_missing)}",
                    "bad" if values_missing(experiment, sample, terms.name) else "good",
                    "verdicts.standing; experiments.max_missing",
                )
            )
    replays = sample.replays
    if replays is not None and experiment.on_no_trade == "zero":
        share = replays.missing / replays.opportunities if replays.opportunities else 0.0
        found.append(
            Condition(
                "Opportunities replayed",
                f"{text.percent(share)} have no report of the variant",
                f"at most {text.percent(MAX_MISSING_REPLAYS)}",
                "bad" if replays_missing(experiment, sample) else "good",
                "replays.missing, opportunities",
            )
        )
    if ratio is not None:
        found.append(
            Condition(
                "Traffic split as planned",
                f"{text.percent(ratio.observed)} variant"
                + (f", but not within {ratio.within}" * bool(ratio.within)),
                f"{text.percent(ratio.planned)} planned",
                "bad" if ratio.alarm_since is not None else "good",
                "sample_ratio.observed_share, planned_share, e_value, sample_ratio_within.alarm",
            )
        )
    found.append(
        Condition(
            "Reports arrive",
            "paused" if state == "stalled" else "yes",
            "no outage",
            "open" if state == "stalled" else "good",
            "verdicts.state, outages",
        )
    )
    if experiment.needs_split_sign_off:
        found.append(
            Condition(
                "Split signed off",
                f"{text.number(experiment.traffic_split_pct)} % of traffic",
                f"a human's approval above {LARGE_SPLIT_PCT:g} %",
                "good" if split_approved else "open",
                "experiments.traffic_split_pct, sign_offs, audit_log",
            )
        )
    return found


def count_of_approvals(experiment: RegisteredExperiment, approvals: int) -> str:
    """How many of the required approvals there are, in words."""
    return f"{approvals} of {experiment.approvers} approval{'s' if experiment.approvers > 1 else ''}"


def approvals_condition(experiment: RegisteredExperiment, state: str, approvals: int) -> Condition:
    """The condition of a better variant that humans were asked about: enough of them approved it."""
    people = "reviewer" if experiment.approvers == 1 else "different reviewers"
    return Condition(
        "Approved by humans",
        count_of_approvals(experiment, approvals) + ("; declined" if state == "declined" else ""),
        f"{experiment.approvers} {people}",
        {"signed_off": "good", "declined": "bad"}.get(state, "open"),
        "sign_offs.valid, decision; experiments.plan",
    )
