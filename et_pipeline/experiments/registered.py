"""The one reading of registered experiments: what a plan fixes, for every stage that needs it."""

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
        non_inferiority_margin: A guardrail's margin, None elsewhere.
        equivalence_margin: The primary's margin of equivalence, None where the plan has none.
        winsor_lower: Values below count as this one, None for no limit.
        winsor_upper: Values above count as this one, None for no limit.
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
        """What the metric may lose before it counts as worse: a guardrail's margin, nothing elsewhere."""
        return self.non_inferiority_margin or 0.0


class RegisteredExperiment(NamedTuple):
    """An experiment as it is in force; fields are named as in the table `experiments`, times are UTC, naive.

    Attributes:
        experiment_id: The experiment.
        plan_hash: Hash of the frozen part of its plan.
        title: What people call it.
        owner: Who answers for it.
        mode: `shadow` or `limited_live`.
        control_strategy_id: Strategy of the control.
        control_config_version: The only version of it that counts, None for every one.
        variant_strategy_id: Strategy of the variant.
        variant_config_version: The only version of it that counts, None for every one.
        traffic_split_pct: Share of the traffic that the variant gets, in percent.
        min_samples_for_decision: Pairs below which nothing is decided; with `arms`, trades of the smaller arm.
        planned_pairs: Pairs the plan was made for; with `arms`, trades of the smaller arm.
        planned_blocks: Time blocks between `starts_at` and `ends_at`, as registered.
        expected_clusters: Effective clusters that `g` is solved for.
        starts_at: Start of the window.
        ends_at: End of the window.
        registered_at: When it was first seen.
        time_block_us: Length of a time block, in microseconds.
        matching: `correlation`, `nearest` or `arms`.
        tolerance_us: Largest distance of a nearest pair, in microseconds; None with `correlation`.
        on_no_trade: What an opportunity means on which the variant did not trade.
        alpha: Error of the intervals.
        alarm_alpha: Error of each interval that may raise the alarm.
        boundary: `horizon`: intervals are true at the plan's looks; `mixture`: at every block end, for ever.
        g: Tuning of the mixture, frozen with the plan.
        max_missing: Share of pairs without a value of a metric above which nothing is concluded about it.
        request_review: Whether a better variant is put before people.
        approvers: How many people have to approve it.
        allow_self_approval: Whether an owner may be one of them.
        replay_required: Whether a replay that is unknown or unfaithful keeps a better verdict away.
        replay_margin: How large a gap between the replayed and the live control may be, None where the plan names none.
        follows: The experiment whose promise it watches after the promotion, None for one that promises itself.
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
        """Whether pairs are compared; else all trades of both arms are, and pairs are samples for people."""
        return self.matching != "arms"

    @property
    def unit(self) -> str:
        """What has a value of its own in the comparison, in words."""
        return "pair" if self.paired else "trade"

    @property
    def counted(self) -> str:
        """What `min_samples_for_decision`, `planned_pairs` and `n_pairs` count, in words."""
        return counted(self.matching)

    @property
    def drift_alpha(self) -> float:
        """Alpha of the drift detector: over the planned blocks it ever alarms with at most `alarm_alpha`.

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
        """The dimensions that its plan asks for, none where it names none."""
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
        """What the primary's mean is taken over: `pairs` or `markets`."""
        return str(json.loads(self.plan).get("weighting", "pairs"))

    @property
    def registered_in_hindsight(self) -> bool:
        """Whether its window began before it was registered; samples do, and say so by their own word."""
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
    """The registered ones among some experiments, in order of their id; read anew, since a plan can be amended.

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
