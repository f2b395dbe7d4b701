"""The facts on which decisions are based (intervals, missing values, replays), and the conditions on them under a
plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

from et_pipeline.contracts.series import LIKE_FOR_LIKE, REPLAY_GAP, UPLIFT
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.inference.fidelity import GAP, State, gap_ends, replay_state, same_everywhere
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION, MIN_CLUSTERS

Verdict = Literal["variant_better", "variant_worse", "equivalent", "inconclusive"]


MAX_MISSING_REPLAYS = 0.1
"""Share of the control's opportunities without a report of the variant above which nothing is concluded."""


class Point(NamedTuple):
    """One series' interval at the end of one block: a row of `series_interval_path`, in the metric's unit."""

    metric: str
    as_of: datetime
    n_pairs: int
    effective_clusters: float
    n_markets: int
    n_blocks: int
    mean_uplift: float | None
    se: float | None
    ci_lower: float | None
    ci_upper: float | None
    e_value: float | None
    p_value: float | None
    alarm_ci_lower: float | None
    alarm_ci_upper: float | None
    autocorrelation: float | None
    ready: bool
    closed: bool
    method: str
    fixed_ci_lower: float | None = None
    fixed_ci_upper: float | None = None
    look: int | None = None
    looks: int | None = None
    next_look_at: datetime | None = None
    carried: bool = False
    degrees_of_freedom: float | None = None
    comparison: str = UPLIFT.name
    n_control: int | None = None
    n_variant: int | None = None

    @property
    def sample(self) -> str:
        """The size of its sample in words: pairs, or the trades of each arm where all trades are compared."""
        if self.n_control is None:
            return f"{self.n_pairs:,} matched pairs"
        return f"{self.n_control:,} control and {self.n_variant:,} variant trades"


class Gap(NamedTuple):
    """How many pairs of one block have no value of a metric.

    Attributes:
        as_of: End of the block (UTC).
        metric: The metric.
        pairs: Pairs in which at least one arm's report has no value.
        control: Pairs in which the control's report has none.
        variant: Pairs in which the variant's report has none.
    """

    as_of: datetime
    metric: str
    pairs: int
    control: int
    variant: int


class Gaps(NamedTuple):
    """How many pairs have no value of a metric, from the first block up to a moment; see `Gap`."""

    pairs: int = 0
    control: int = 0
    variant: int = 0

    def plus(self, gap: Gap) -> Gaps:
        """The numbers with those of one more block added."""
        return Gaps(self.pairs + gap.pairs, self.control + gap.control, self.variant + gap.variant)


class Drift(NamedTuple):
    """One alarm of the drift detector."""

    metric: str
    as_of: datetime
    log_evidence: float
    since: datetime | None
    comparison: str = UPLIFT.name


class Replays(NamedTuple):
    """How many of the opportunities that the control traded the variant reported, up to a moment.

    Attributes:
        as_of: End of the newest block that is included (UTC).
        opportunities: Opportunities that the control traded.
        passed: On how many of these the variant reported that it passed.
        assumed: On how many the variant is assumed to have passed, since it sent no report.
        missing: How many have no report of the variant and are left out.
    """

    as_of: datetime
    opportunities: int
    passed: int
    assumed: int
    missing: int

    @property
    def traded(self) -> int:
        """Opportunities that both arms traded."""
        return self.opportunities - self.passed - self.assumed - self.missing


class Sample(NamedTuple):
    """The facts about an experiment at the end of a closed block.

    Attributes:
        points: Each metric's newest interval of the uplift; a metric without any value yet has none.
        gaps: Each metric's numbers of missing values; a metric without any may be left out.
        replays: How many of the control's opportunities the variant reported; None in limited live.
        compared: The newest intervals of the comparisons with the replayed control, by comparison and metric.
    """

    points: dict[str, Point]
    gaps: dict[str, Gaps]
    replays: Replays | None = None
    compared: Mapping[str, dict[str, Point]] = MappingProxyType({})

    def plus(self, points: Iterable[Point]) -> Sample:
        """The sample with newer intervals."""
        compared = {name: dict(found) for name, found in self.compared.items()}
        for point in points:
            compared.setdefault(point.comparison, {})[point.metric] = point
        uplift = compared.pop(UPLIFT.name, {})
        return self._replace(points=self.points | uplift, compared=compared)

    @property
    def like_for_like(self) -> Sample:
        """The sample of the comparison of the variant's replay with the replayed control.

        It has no missing values of its own, since these are counted for the uplift.
        """
        return Sample(self.compared.get(LIKE_FOR_LIKE.name, {}), {})

    def gap(self, metric: str) -> Point | None:
        """A metric's newest interval of the replayed control minus the live one; None where there is none."""
        return self.compared.get(REPLAY_GAP.name, {}).get(metric)

    def of(self, metric: str) -> Point | None:
        """A metric's newest interval; None where there is none."""
        return self.points.get(metric)

    def missing(self, metric: str) -> Gaps:
        """A metric's numbers of missing values."""
        return self.gaps.get(metric, Gaps())

    def missing_share(self, metric: str) -> float:
        """Share of the pairs that have no value of a metric; 0 without any pair.

        Where all trades are compared, it is a share of one arm's own trades, the larger one of the two arms.
        """
        point, gaps = self.of(metric), self.missing(metric)
        if point is not None and point.n_control is not None and point.n_variant is not None:
            arms = ((gaps.control, point.n_control), (gaps.variant, point.n_variant))
            return max(gap / (gap + n) if gap else 0.0 for gap, n in arms)
        total = gaps.pairs + (0 if point is None else point.n_pairs)
        return gaps.pairs / total if total else 0.0


class Missing(NamedTuple):
    """One condition that is not met, so that there is no verdict.

    Attributes:
        condition: Machine-readable name.
        metric: The metric concerned; None for the whole sample.
        sentence: The condition in a sentence for people.
        further_pairs: Further pairs that are expected to be needed at the present variance; None where more pairs do
            not help, or where it cannot be estimated.
    """

    condition: str
    metric: str | None
    sentence: str
    further_pairs: int | None


class Alarm(NamedTuple):
    """The first moment at which an interval showed that the variant underperforms.

    Attributes:
        trigger: `interval` for the primary, `guardrail` for a guardrail.
        point: The metric's interval at that moment.
    """

    trigger: Literal["interval", "guardrail"]
    point: Point


def below_minimum(experiment: RegisteredExperiment, point: Point | None) -> bool:
    """Whether a sample is smaller than the minimum from which anything may be concluded."""
    return (
        point is None
        or point.n_pairs < experiment.min_samples_for_decision
        or not point.effective_clusters >= MIN_CLUSTERS
    )


def values_missing(experiment: RegisteredExperiment, sample: Sample, metric: str) -> bool:
    """Whether too many pairs have no value of a metric.

    If so, neither a good result nor an alarm of this metric counts: whether a trade has a value may depend on its
        result (a variant that does not report its losing trades looks better, one that does not report its winning
        trades looks worse), and the existing values cannot show this.
    """
    return sample.missing_share(metric) > experiment.max_missing


def healthy(experiment: RegisteredExperiment, sample: Sample, metric: str) -> bool:
    """Whether conclusions may be drawn from a metric."""
    point = sample.of(metric)
    return (
        point is not None
        and point.ready
        and not below_minimum(experiment, point)
        and not values_missing(experiment, sample, metric)
    )


def replays_missing(experiment: RegisteredExperiment, sample: Sample) -> bool:
    """Whether so many replays are missing that the existing ones may be misleading.

    If the plan counts passes, the variant reports them, so an opportunity without a report was not replayed yet. In
    other plans a pass cannot be distinguished from a missing replay; there the verdict says which opportunities it
    covers.
    """
    found = sample.replays
    return (
        experiment.on_no_trade == "zero"
        and found is not None
        and found.missing > MAX_MISSING_REPLAYS * found.opportunities
    )


class Fidelity(NamedTuple):
    """What the primary metric shows about the backtester on which a verdict in shadow is based.

    Attributes:
        state: `faithful`, `unfaithful`, `not_yet` or `unknown`, see `inference.fidelity`.
        coverage: Share of the pairs whose control was replayed too.
        margin: How large the gap may be; None where the plan names no limit.
        gap: The interval of the replayed control minus the live one.
        like: The interval of the variant's replay against the replayed control.
    """

    state: State
    coverage: float
    margin: float | None
    gap: Point | None
    like: Point | None

    @property
    def counts(self) -> bool:
        """Whether enough pairs have a replay of the control, so that a verdict needs both comparisons."""
        return self.state != "unknown"


def fidelity_of(experiment: RegisteredExperiment, sample: Sample) -> Fidelity | None:
    """What is known of the backtester; None in limited live, where nothing is replayed."""
    if experiment.mode != "shadow":
        return None
    primary = experiment.primary
    uplift, gap = sample.of(primary.name), sample.gap(primary.name)
    like = sample.like_for_like.of(primary.name)
    coverage = like.n_pairs / uplift.n_pairs if uplift is not None and like is not None else 0.0
    lower, upper = (None, None) if gap is None else gap_ends(**{name: getattr(gap, name) for name in GAP})
    margin = experiment.gap_margin(primary)
    return Fidelity(replay_state(coverage, lower, upper, margin), coverage, margin, gap, like)


def judged(experiment: RegisteredExperiment, sample: Sample) -> Sample:
    """The comparison by which alarms are raised: like for like if enough of the control is replayed, else the
    uplift."""
    fidelity = fidelity_of(experiment, sample)
    return sample.like_for_like if fidelity is not None and fidelity.counts else sample


def concludes(experiment: RegisteredExperiment, sample: Sample) -> Verdict | None:
    """The verdict of one comparison by itself; None if it concludes nothing."""
    decisive = (experiment.primary, *experiment.guardrails)
    if any(alarms(experiment, sample, terms) for terms in decisive):
        return "variant_worse"
    if all(holds(experiment, sample, terms) for terms in decisive):
        return "variant_better"
    return "equivalent" if equal(experiment, sample) else None


def verdict_at(experiment: RegisteredExperiment, sample: Sample) -> Verdict | None:
    """The verdict at one moment; None if nothing is concluded.

    If enough of the control is replayed, both comparisons have to give the same verdict. Only `variant_worse` follows
    from the comparison like for like alone, unless the uplift gives the opposite verdict.
    """
    found, fidelity = concludes(experiment, sample), fidelity_of(experiment, sample)
    if fidelity is not None and fidelity.counts:
        like = concludes(experiment, sample.like_for_like)
        alarm = like == "variant_worse" and found != "variant_better"
        found = like if alarm or like == found else None
    return None if found == "variant_better" and untrusted(experiment, fidelity) else found


def untrusted(experiment: RegisteredExperiment, fidelity: Fidelity | None) -> bool:
    """Whether the plan requires a faithful replay and the replay is unknown or unfaithful."""
    return experiment.replay_required and fidelity is not None and fidelity.state in ("unknown", "unfaithful")


def above(value: float | None, bound: float) -> bool:
    """Whether a figure is known and above a bound."""
    return value is not None and value > bound


def below(value: float | None, bound: float) -> bool:
    """Whether a figure is known and below a bound."""
    return value is not None and value < bound


def never_varies(point: Point) -> bool:
    """Whether every pair has the same uplift, apart from rounding errors."""
    return same_everywhere(point.mean_uplift, point.se)


def within_without_spread(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> bool:
    """Whether a metric has the same uplift in every pair, and this uplift lies within its margin.

    Without any spread there is no interval, and none is needed. This takes no account of outcomes that have not
    happened yet; a plan that needs this chooses `estimator: bounded`, which always has an interval.
    """
    point = sample.of(terms.name)
    if point is None or point.ready or below_minimum(experiment, point) or not never_varies(point):
        return False
    if values_missing(experiment, sample, terms.name) or above(point.autocorrelation, MAX_AUTOCORRELATION):
        return False
    mean = point.mean_uplift or 0.0
    if terms.role == "guardrail":
        return mean > -terms.margin
    return terms.equivalence_margin is not None and abs(mean) < terms.equivalence_margin


def alarms(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> bool:
    """Whether a metric's interval at the alarm's alpha lies below minus its margin."""
    return healthy(experiment, sample, terms.name) and below(
        sample.points[terms.name].alarm_ci_upper, -terms.margin
    )


def holds(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> bool:
    """Whether a metric is good enough for `variant_better`: the primary above zero, a guardrail within its margin."""
    if healthy(experiment, sample, terms.name) and above(sample.points[terms.name].ci_lower, -terms.margin):
        return True
    return terms.role == "guardrail" and within_without_spread(experiment, sample, terms)


def equal(experiment: RegisteredExperiment, sample: Sample) -> bool:
    """Whether the primary's interval lies within the margin of equivalence."""
    terms = experiment.primary
    margin = terms.equivalence_margin
    if margin is None:
        return False
    if within_without_spread(experiment, sample, terms):
        return True
    point = sample.of(terms.name)
    return (
        point is not None
        and healthy(experiment, sample, terms.name)
        and above(point.ci_lower, -margin)
        and below(point.ci_upper, margin)
    )
