"""What a decision is made from: the interval paths, what may be missing, and what both mean under a plan."""

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
    """One series' interval at the end of one block; a row of `series_interval_path`, units are the metric's own."""

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
        """How much it rests on, in words: pairs, or the trades of each arm where all of them are compared."""
        if self.n_control is None:
            return f"{self.n_pairs:,} matched pairs"
        return f"{self.n_control:,} control and {self.n_variant:,} variant trades"


class Gap(NamedTuple):
    """Pairs of one metric in one block that have no value of it.

    Attributes:
        as_of: End of the block (UTC).
        metric: The metric.
        pairs: Pairs in which at least one arm's report has none.
        control: Pairs in which the control's has none.
        variant: Pairs in which the variant's has none.
    """

    as_of: datetime
    metric: str
    pairs: int
    control: int
    variant: int


class Gaps(NamedTuple):
    """Pairs of one metric without a value, from the first block up to a moment; see `Gap`."""

    pairs: int = 0
    control: int = 0
    variant: int = 0

    def plus(self, gap: Gap) -> Gaps:
        """With one more block."""
        return Gaps(self.pairs + gap.pairs, self.control + gap.control, self.variant + gap.variant)


class Drift(NamedTuple):
    """One alarm of the drift detector."""

    metric: str
    as_of: datetime
    log_evidence: float
    since: datetime | None
    comparison: str = UPLIFT.name


class Replays(NamedTuple):
    """What the variant's reports say of the opportunities that the control traded, up to a moment.

    Attributes:
        as_of: End of the newest block that counts (UTC).
        opportunities: Opportunities that the control traded.
        passed: On how many of them the variant says that it passed.
        assumed: On how many it is assumed to have passed, because it sent no report.
        missing: How many have no report of the variant and count for nothing.
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
    """What is known of an experiment at the end of a closed block.

    Attributes:
        points: Each metric's newest interval of the uplift; a metric without a value so far has none.
        gaps: What is missing of each metric; one that misses nothing may be left out.
        replays: What the variant's reports say of the control's opportunities; None in limited live.
        compared: The same of the comparisons with the replayed control, by their name.
    """

    points: dict[str, Point]
    gaps: dict[str, Gaps]
    replays: Replays | None = None
    compared: Mapping[str, dict[str, Point]] = MappingProxyType({})

    def plus(self, points: Iterable[Point]) -> Sample:
        """With newer intervals."""
        compared = {name: dict(found) for name, found in self.compared.items()}
        for point in points:
            compared.setdefault(point.comparison, {})[point.metric] = point
        uplift = compared.pop(UPLIFT.name, {})
        return self._replace(points=self.points | uplift, compared=compared)

    @property
    def like_for_like(self) -> Sample:
        """The same where the variant's replay is compared with the replayed control.

        What has no value there is no gap of its own: what is missing of the pairs is told of the uplift.
        """
        return Sample(self.compared.get(LIKE_FOR_LIKE.name, {}), {})

    def gap(self, metric: str) -> Point | None:
        """A metric's newest interval of the replayed control against the live one."""
        return self.compared.get(REPLAY_GAP.name, {}).get(metric)

    def of(self, metric: str) -> Point | None:
        """A metric's newest interval."""
        return self.points.get(metric)

    def missing(self, metric: str) -> Gaps:
        """What is missing of a metric."""
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
    """One condition that keeps a verdict away.

    Attributes:
        condition: Machine-readable name.
        metric: The metric concerned, None for the whole sample.
        sentence: The same for people.
        further_pairs: Pairs expected to be needed at the present variance, None where more pairs do not help
            or nobody can tell.
    """

    condition: str
    metric: str | None
    sentence: str
    further_pairs: int | None


class Alarm(NamedTuple):
    """The first moment at which an interval said that the variant underperforms.

    Attributes:
        trigger: `interval` for the primary, `guardrail` for a guardrail.
        point: The metric's interval at that moment.
    """

    trigger: Literal["interval", "guardrail"]
    point: Point


def below_minimum(experiment: RegisteredExperiment, point: Point | None) -> bool:
    """Whether the primary's sample is too small to conclude anything from."""
    return (
        point is None
        or point.n_pairs < experiment.min_samples_for_decision
        or not point.effective_clusters >= MIN_CLUSTERS
    )


def values_missing(experiment: RegisteredExperiment, sample: Sample, metric: str) -> bool:
    """Whether too many pairs have no value of a metric.

    Then neither a good word nor an alarm about it stands: which trades have a value may hang on how they went
    (a variant that leaves its losing trades out looks better, one that leaves its winning trades out worse),
    and nobody can tell from the values that are there.
    """
    return sample.missing_share(metric) > experiment.max_missing


def healthy(experiment: RegisteredExperiment, sample: Sample, metric: str) -> bool:
    """Whether a metric may be concluded from."""
    point = sample.of(metric)
    return (
        point is not None
        and point.ready
        and not below_minimum(experiment, point)
        and not values_missing(experiment, sample, metric)
    )


def replays_missing(experiment: RegisteredExperiment, sample: Sample) -> bool:
    """Whether so many replays are missing that the others may mislead.

    Where passes are said, an opportunity without a report was not replayed yet. Where they are not, the two
    cannot be told apart, and the verdict says of which opportunities it speaks instead.
    """
    found = sample.replays
    return (
        experiment.on_no_trade == "zero"
        and found is not None
        and found.missing > MAX_MISSING_REPLAYS * found.opportunities
    )


class Fidelity(NamedTuple):
    """What is known of the backtester that a verdict in shadow rests on, from the primary metric.

    Attributes:
        state: What its gap says, see `inference.fidelity`.
        coverage: Share of the pairs of which the control was replayed too.
        margin: How large the gap may be, None where the plan names none.
        gap: The interval of the replayed control against the live one.
        like: The interval of the variant's replay against the replayed control.
    """

    state: State
    coverage: float
    margin: float | None
    gap: Point | None
    like: Point | None

    @property
    def counts(self) -> bool:
        """Whether so many pairs have a replay of the control that a verdict needs both comparisons."""
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
    """The comparison that alarms are raised on: like for like where enough of the control is replayed."""
    fidelity = fidelity_of(experiment, sample)
    return sample.like_for_like if fidelity is not None and fidelity.counts else sample


def concludes(experiment: RegisteredExperiment, sample: Sample) -> Verdict | None:
    """What one comparison says by itself, None where it says nothing."""
    decisive = (experiment.primary, *experiment.guardrails)
    if any(alarms(experiment, sample, terms) for terms in decisive):
        return "variant_worse"
    if all(holds(experiment, sample, terms) for terms in decisive):
        return "variant_better"
    return "equivalent" if equal(experiment, sample) else None


def verdict_at(experiment: RegisteredExperiment, sample: Sample) -> Verdict | None:
    """The verdict at one moment, None where nothing is concluded.

    Where enough of the control is replayed, both comparisons have to say the same; only the alarm is raised like
    for like alone, unless the uplift says the opposite.
    """
    found, fidelity = concludes(experiment, sample), fidelity_of(experiment, sample)
    if fidelity is not None and fidelity.counts:
        like = concludes(experiment, sample.like_for_like)
        alarm = like == "variant_worse" and found != "variant_better"
        found = like if alarm or like == found else None
    return None if found == "variant_better" and untrusted(experiment, fidelity) else found


def untrusted(experiment: RegisteredExperiment, fidelity: Fidelity | None) -> bool:
    """Whether the plan asks for more than is known of the backtester."""
    return experiment.replay_required and fidelity is not None and fidelity.state in ("unknown", "unfaithful")


def above(value: float | None, bound: float) -> bool:
    """Whether a figure is known and above a bound."""
    return value is not None and value > bound


def below(value: float | None, bound: float) -> bool:
    """Whether a figure is known and below a bound."""
    return value is not None and value < bound


def never_varies(point: Point) -> bool:
    """Whether every pair has the same uplift, but for the rounding of the values themselves."""
    return same_everywhere(point.mean_uplift, point.se)


def within_without_spread(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> bool:
    """Whether a metric has the same uplift in every pair, and that lies within its margin.

    Without any spread there is no interval, and none is needed: what never differs does not differ. A plan
    that wants to hear of what has not been seen yet says `estimator: bounded`, whose interval stands.
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
    """Whether a metric's interval at the alarm's alpha lies below what it may lose."""
    return healthy(experiment, sample, terms.name) and below(
        sample.points[terms.name].alarm_ci_upper, -terms.margin
    )


def holds(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> bool:
    """Whether a metric is shown to be good enough for a better variant: above zero, or within its margin."""
    if healthy(experiment, sample, terms.name) and above(sample.points[terms.name].ci_lower, -terms.margin):
        return True
    return terms.role == "guardrail" and within_without_spread(experiment, sample, terms)


def equal(experiment: RegisteredExperiment, sample: Sample) -> bool:
    """Whether the primary lies within what the plan calls equal."""
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
