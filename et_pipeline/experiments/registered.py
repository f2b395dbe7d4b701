"""Reads registered experiments: what a plan fixes, in one form for all stages that need it."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.contracts.breakdowns import Breakdown
from et_pipeline.contracts.metrics import Metric, metric_of
from et_pipeline.contracts.plan import LARGE_SPLIT_PCT, counted

if TYPE_CHECKING:
    import duckdb


class MetricTerms(NamedTuple):
    """One metric's part in the decision; margins and limits are in the metric's unit.

    Attributes:
        name: Name in the catalogue, or of a derived metric.
        role: `primary`, `guardrail` or `secondary`.
        estimator: `mean`, `bounded` or `ratio`.
        non_inferiority_margin: A guardrail's margin; None for other roles.
        equivalence_margin: The primary's margin of equivalence, None where the plan has none.
        winsor_lower: Smaller values are replaced by this one; None for no limit.
        winsor_upper: Larger values are replaced by this one; None for no limit.
    """

    name: str
    role: str
    estimator: str
    non_inferiority_margin: float | None
    equivalence_margin: float | None
    winsor_lower: float | None
    winsor_upper: float | None

    @property
    def metric(self) -> Metric:
        """The metric's rules."""
        return metric_of(self.name)

    @property
    def margin(self) -> float:
        """How much the metric may lose before it counts as worse: a guardrail's margin, 0 for other roles."""
        return self.non_inferiority_margin or 0.0


class RegisteredExperiment(NamedTuple):
    """An experiment with the plan that is in force. Fields have the names of the table `experiments`; times are naive
    UTC.

    Attributes:
        experiment_id: The experiment.
        plan_hash: Hash of the frozen part of its plan.
        title: Its title for people.
        owner: The person or team responsible for it.
        mode: `shadow` or `limited_live`.
        control_strategy_id: Strategy of the control.
        control_config_version: The only version of that strategy that counts; None if every version does.
        variant_strategy_id: Strategy of the variant.
        variant_config_version: The only version of that strategy that counts; None if every version does.
        traffic_split_pct: Share of the traffic that the variant gets, in percent.
        min_samples_for_decision: Pairs below which nothing is decided; with `arms`, trades of the smaller arm.
        planned_pairs: Number of pairs for which the plan was made; with `arms`, trades of the smaller arm.
        planned_blocks: Time blocks between `starts_at` and `ends_at`, as registered.
        expected_clusters: Effective clusters for which `g` is computed.
        starts_at: Start of the window.
        ends_at: End of the window.
        registered_at: When it was first seen.
        time_block_us: Length of a time block, in microseconds.
        matching: `correlation`, `nearest` or `arms`.
        tolerance_us: Largest distance of a nearest pair, in microseconds; None with `correlation`.
        on_no_trade: What an opportunity means on which the variant did not trade.
        alpha: Probability that the intervals ever miss the truth.
        alarm_alpha: The same for each interval that may raise the alarm.
        boundary: `horizon`: intervals are valid at the plan's looks; `mixture`: at every block end, for ever.
        g: Tuning of the mixture, frozen with the plan.
        max_missing: Share of pairs without a value of a metric above which nothing is concluded about it.
        request_review: Whether people are asked to review a better variant.
        approvers: How many people have to approve it.
        allow_self_approval: Whether an owner may be one of them.
        replay_required: Whether a replay that is unknown or unfaithful prevents the verdict `variant_better`.
        replay_margin: How large a gap between the replayed and the live control may be, None where the plan names none.
        follows: The experiment whose promise this one checks after the promotion; None if it does not follow another.
        plan: The whole plan, as JSON.
        metrics: Its metrics, in the plan's order.
    """

    experiment_id: str
    plan_hash: str
    title: str
    owner: str
    mode: str
    control_strategy_id: str
    control_config_version: str | None
    variant_strategy_id: str
    variant_config_version: str | None
    traffic_split_pct: float
    min_samples_for_decision: int
    planned_pairs: int
    planned_blocks: int
    expected_clusters: float
    starts_at: datetime
    ends_at: datetime
    registered_at: datetime
    time_block_us: int
    matching: str
    tolerance_us: int | None
    on_no_trade: str
    alpha: float
    alarm_alpha: float
    boundary: str
    g: float
    max_missing: float
    request_review: bool
    approvers: int
    allow_self_approval: bool
    replay_required: bool
    replay_margin: float | None
    follows: str | None
    plan: str
    metrics: tuple[MetricTerms, ...]

    @property
    def primary(self) -> MetricTerms:
        """The one primary metric."""
        return next(metric for metric in self.metrics if metric.role == "primary")

    @property
    def guardrails(self) -> tuple[MetricTerms, ...]:
        """The guardrails, in the plan's order."""
        return tuple(metric for metric in self.metrics if metric.role == "guardrail")

    def gap_margin(self, metric: MetricTerms) -> float | None:
        """How large a metric's gap between the replayed and the live control may be, None where none is named."""
        return self.replay_margin if metric.role == "primary" else metric.non_inferiority_margin

    @property
    def paired(self) -> bool:
        """Whether pairs are compared. If not, all trades of both arms are, and pairs are only examples for people."""
        return self.matching != "arms"

    @property
    def unit(self) -> str:
        """The unit that is compared, in words: a pair or a trade."""
        return "pair" if self.paired else "trade"

    @property
    def counted(self) -> str:
        """What `min_samples_for_decision`, `planned_pairs` and `n_pairs` count, in words."""
        return counted(self.matching)

    @property
    def drift_alpha(self) -> float:
        """Alpha of the drift detector, so that over the planned blocks it raises a false alarm with at most
        `alarm_alpha`.

        Its statistic grows by at most 1 a block in expectation while nothing has fallen, so within T blocks
        it reaches T/alpha with probability at most alpha (Doob's inequality).
        """
        return self.alarm_alpha / self.planned_blocks

    @property
    def needs_split_sign_off(self) -> bool:
        """Whether the split is large enough to need a human's sign-off before sampling."""
        return self.traffic_split_pct > LARGE_SPLIT_PCT

    @property
    def breakdowns(self) -> tuple[Breakdown, ...]:
        """The dimensions of the breakdowns that its plan asks for."""
        plan = json.loads(self.plan)
        groups = plan.get("market_groups") or {}
        return tuple(
            Breakdown(dimension, groups if dimension == "market" else {})
            for dimension in plan.get("breakdowns") or ()
        )

    @property
    def sample(self) -> bool:
        """Whether the plan says that its reports are generated."""
        return bool(json.loads(self.plan).get("sample"))

    @property
    def weighting(self) -> str:
        """Over what the primary's mean is taken: `pairs` or `markets`."""
        return str(json.loads(self.plan).get("weighting", "pairs"))

    @property
    def registered_in_hindsight(self) -> bool:
        """Whether its window began before it was registered. Not for samples, which are marked as samples instead."""
        return self.registered_at > self.starts_at and not self.sample


_OWN = RegisteredExperiment._fields[:-1]
_QUERY = f"""
SELECT {", ".join(f"e.{name}" for name in _OWN)}, m.metric, {", ".join(f"m.{name}" for name in MetricTerms._fields[1:])}
FROM experiments AS e LEFT JOIN experiment_metrics AS m USING (experiment_id)
WHERE $all OR list_contains($experiments, experiment_id)
ORDER BY experiment_id, m.rowid
"""


def registered_experiments(
    connection: duckdb.DuckDBPyConnection, experiments: Collection[str] | None = None
) -> list[RegisteredExperiment]:
    """The registered ones among some experiments, in order of their id.

    They are read from the warehouse at each call, since a plan can be amended.

    Args:
        connection: The warehouse.
        experiments: Their ids, or None for all that are registered.
    """
    wanted = {"all": experiments is None, "experiments": list(experiments or ())}
    rows = connection.execute(_QUERY, wanted).fetchall()
    own = len(_OWN)
    return [
        RegisteredExperiment._make((*plan, tuple(MetricTerms._make(row[own:]) for row in group if row[own])))
        for plan, group in groupby(rows, key=lambda row: row[:own])
    ]


def registered_ids(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The ids of all registered experiments, sorted."""
    rows = connection.execute("SELECT experiment_id FROM experiments ORDER BY experiment_id").fetchall()
    return [name for (name,) in rows]


def split_approved(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Experiments whose large split a human approved."""
    rows = connection.execute(
        "SELECT DISTINCT experiment_id FROM audit_log WHERE from_state = 'awaiting_sign_off' AND to_state = 'sampling'"
    ).fetchall()
    return {identifier for (identifier,) in rows}
