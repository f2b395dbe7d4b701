"""The description of one generated experiment, and its true uplift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS

Mode = Literal["shadow", "limited_live"]

METRICS = ("edge_bps", "slippage_bps", "fill_ratio", "latency_ms", "toxicity_bps")
NEEDS_A_FILL = tuple(name for name, metric in CATALOGUE.items() if metric.needs_fill)
"""Metrics without a value for an unfilled order."""

CONTROL_MEAN = {
    "edge_bps": 6.0,  # of a filled order; an unfilled one earns 0
    "slippage_bps": 2.5,
    "latency_ms": 120.0,
    "toxicity_bps": 1.0,
    "asked_size": 100.0,
}
"""Mean of the control's metric (fill_ratio and filled_size follow from the fill behaviour)."""

FOLLOWING = ("filled_size", "notional_usd", "pnl_usd")
"""Metrics that are computed from others, so that their uplift cannot be set."""
GENERATED = tuple(name for name in REPORT_METRICS if name in {"fill_ratio", *CONTROL_MEAN, *FOLLOWING})
"""The metrics that the generator can make."""
PRICE = 0.5
"""Price of a contract in dollars: its notional value when it is filled."""

PARTIAL_FILL_MEAN = 0.5


SHARES = (
    "market_correlation",
    "block_correlation",
    "no_trade_share",
    "control_unfilled",
    "control_full",
    "variant_unfilled",
    "superseded_share",
    "newer_minor_share",
    "late_share",
    "duplicate_share",
    "replayed_control",
)
SHORTEST = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One experiment to generate.

    Attributes:
        experiment_id: Name of the experiment; ids of its reports begin with it.
        mode: `shadow`: the variant's reports are replays (bot `gov.backtester`) with the control's
            correlation id. `limited_live`: both arms are live and never see the same opportunity.
        control_strategy_id, control_config_version, variant_strategy_id, variant_config_version: The arms.
        starts_at, ends_at: The window, with time zone; every report is emitted in `[starts_at, ends_at)`.
        opportunities: Number of opportunities in the window.
        markets: Number of markets; each is open for a part of the window only.
        zipf: Exponent of market popularity (0: all equal; 1: classic Zipf).
        burst: Mean number of opportunities in a burst (same market, outcome and side, within seconds).
        metrics: Metrics that are reported; any of the catalogue.
        uplift: True mean uplift per metric, positive is good for the variant; metrics left out have 0.
            `filled_size` cannot be set: it follows from `fill_ratio` and `asked_size`; nor can `notional_usd` and
            `pnl_usd`, which follow from `filled_size` and `edge_bps`.
        noise: Factor on the standard deviation of the difference between the arms.
        market_correlation: Share of the variance that is common to a market.
        block_correlation: Share of the variance that is common to a time block, over all markets.
        block_ar: Lag-1 autocorrelation of the block effects.
        block: Length of a time block, UTC-aligned.
        traffic_split_pct: Share of opportunities the variant gets in `limited_live`, in percent.
        no_trade_share: Share of its opportunities the variant passes on.
        tells_passes: Whether the variant reports an opportunity that it passes on (`decision: passed`).
        control_unfilled, control_full: Share of the control's orders that fill not at all / completely;
            the rest fill partly, uniformly.
        variant_unfilled: Share of the variant's orders that fill not at all; its share of complete fills is
            what makes the true uplift of `fill_ratio` exact.
        superseded_share: Share of reports preceded by a preliminary report of the same opportunity and arm.
        newer_minor_share: Share of reports in schema version 1.1, with a field that 1.0 does not know.
        late_share: Share of reports that arrive in a later snapshot than their time.
        duplicate_share: Share of reports that arrive twice, unchanged.
        replayed_control: Share of the opportunities for which the backtester replays the control too (`shadow`).
        replay_bias: For each metric, what the backtester adds to every value that it reports, of either arm. The true
            uplift is still that of `uplift`.
        replay_noise: Standard deviation, in bps of edge, of the simulator's noise, which is the same in both arms'
            replays of an opportunity.
        seed: Combined with the seed of the whole run.

    Raises:
        ValueError: If a value is out of its range or the true uplift cannot be reached; the message names
            the experiment, the field, the value and what is allowed.
    """

    experiment_id: str
    mode: Mode = "shadow"
    control_strategy_id: str = "strat.line_shop"
    control_config_version: str = "1"
    variant_strategy_id: str = "strat.line_shop"
    variant_config_version: str = "2"
    starts_at: datetime = datetime(2025, 1, 6, tzinfo=UTC)
    ends_at: datetime = datetime(2025, 1, 20, tzinfo=UTC)
    opportunities: int = 5_000
    markets: int = 120
    zipf: float = 0.6
    burst: float = 3.0
    metrics: tuple[str, ...] = METRICS
    uplift: Mapping[str, float] = field(default_factory=dict)
    noise: float = 1.0
    market_correlation: float = 0.05
    block_correlation: float = 0.05
    block_ar: float = 0.3
    block: timedelta = timedelta(hours=1)
    traffic_split_pct: float = 10.0
    no_trade_share: float = 0.0
    tells_passes: bool = False
    control_unfilled: float = 0.10
    control_full: float = 0.65
    variant_unfilled: float = 0.10
    superseded_share: float = 0.0
    newer_minor_share: float = 0.0
    late_share: float = 0.01
    duplicate_share: float = 0.01
    replayed_control: float = 0.0
    replay_bias: Mapping[str, float] = field(default_factory=dict)
    replay_noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in SHARES:
            self._require(0 <= getattr(self, name) <= 1, name, "0 to 1")
        self._require(self.mode in {"shadow", "limited_live"}, "mode", "shadow or limited_live")
        self._require(0 <= self.traffic_split_pct <= 100, "traffic_split_pct", "0 to 100")
        for name in ("opportunities", "markets", "burst"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("zipf", "noise", "replay_noise"):
            self._require(getattr(self, name) >= 0, name, "0 or more")
        self._require(-1 < self.block_ar < 1, "block_ar", "between -1 and 1")
        self._require(self.block > timedelta(0), "block", "longer than 0")
        for name in ("starts_at", "ends_at"):
            self._require(getattr(self, name).tzinfo is not None, name, "a time with its zone")
        self._require(
            self.ends_at - self.starts_at >= SHORTEST, "ends_at", f"{SHORTEST} or more after starts_at"
        )
        common = self.market_correlation + self.block_correlation
        self._require(common <= 1, "block_correlation", "at most 1 together with market_correlation")
        self._check_metrics()
        self._check_fills()
        for name in ("latency_ms", "asked_size"):
            self._require(
                variant_mean(self, name) > 0, "uplift", f"a {name} that leaves the variant's mean above 0"
            )

    def _check_metrics(self) -> None:
        known = set(self.metrics) <= set(GENERATED) and len(set(self.metrics)) == len(self.metrics)
        self._require(bool(self.metrics) and known, "metrics", f"some of {GENERATED}, each once")
        unfilled = self.control_unfilled > 0 or self.variant_unfilled > 0
        self._require(
            not (unfilled and set(self.metrics) <= set(NEEDS_A_FILL)),
            "metrics",
            f"one besides {NEEDS_A_FILL}, which an unfilled order does not have",
        )
        allowed = tuple(name for name in self.metrics if name not in FOLLOWING)
        self._require(set(self.uplift) <= set(allowed), "uplift", f"keys among {allowed}")
        self._require(set(self.replay_bias) <= set(self.metrics), "replay_bias", f"keys among {self.metrics}")
        replays = bool(self.replayed_control or self.replay_bias or self.replay_noise)
        self._require(self.mode == "shadow" or not replays, "mode", "shadow, where anything is replayed")

    def _check_fills(self) -> None:
        filled = 1 - self.control_unfilled
        self._require(self.control_full <= filled + 1e-9, "control_full", "at most 1 - control_unfilled")
        self._require(self.variant_unfilled < 1, "variant_unfilled", "below 1")
        full = variant_full(self)
        self._require(
            0 <= full <= 1 - self.variant_unfilled + 1e-9,
            "uplift",
            f"a fill_ratio the variant can reach with variant_unfilled={self.variant_unfilled}"
            f" (it would need {full:.4f} of its orders filled completely)",
        )

    def _require(self, condition: bool, name: str, allowed: str) -> None:
        if not condition:
            raise ValueError(
                f"experiment {self.experiment_id}: {name} is {getattr(self, name)!r}; allowed: {allowed}"
            )


def control_fill_mean(scenario: Scenario) -> float:
    """Mean fill ratio of the control."""
    partial = 1 - scenario.control_unfilled - scenario.control_full
    return scenario.control_full + PARTIAL_FILL_MEAN * partial


def variant_full(scenario: Scenario) -> float:
    """Share of the variant's orders that fill completely; it is computed so that its mean fill ratio is exact."""
    mean = control_fill_mean(scenario) + scenario.uplift.get("fill_ratio", 0.0)
    full = (mean - PARTIAL_FILL_MEAN * (1 - scenario.variant_unfilled)) / (1 - PARTIAL_FILL_MEAN)
    return round(full, 12)  # so that a share of exactly 0 is not a tiny negative number


def variant_mean(scenario: Scenario, metric: str) -> float:
    """Mean of the variant's metric; for `edge_bps` of a filled order (an unfilled one earns 0)."""
    difference = CATALOGUE[metric].direction * scenario.uplift.get(metric, 0.0)
    if metric != "edge_bps":
        return CONTROL_MEAN[metric] + difference
    control = CONTROL_MEAN[metric] * (1 - scenario.control_unfilled)
    return (control + difference) / (1 - scenario.variant_unfilled)


def true_uplift(scenario: Scenario) -> dict[str, float]:
    """The exact population mean of variant minus control per reported metric, positive is good.

    The population is the one from which the scenario draws markets, blocks and orders. So an interval for the
    mean uplift that treats markets and blocks as random has to cover this number. If both sizes are
    reported, `size_fill_ratio` (a ratio of means) is included too.
    """
    result = {name: float(scenario.uplift.get(name, 0.0)) for name in scenario.metrics}
    control = control_fill_mean(scenario)
    variant = control + scenario.uplift.get("fill_ratio", 0.0)
    sizes = CONTROL_MEAN["asked_size"] * control, variant_mean(scenario, "asked_size") * variant
    edges = (
        CONTROL_MEAN["edge_bps"],
        variant_mean(scenario, "edge_bps"),
    )  # of a filled order, whatever its size
    following = {
        "filled_size": sizes[1] - sizes[0],
        "notional_usd": PRICE * (sizes[1] - sizes[0]),
        "pnl_usd": PRICE * (sizes[1] * edges[1] - sizes[0] * edges[0]) / 10_000,
    }
    result |= {name: value for name, value in following.items() if name in result}
    if {"filled_size", "asked_size"} <= set(result):
        result["size_fill_ratio"] = variant - control
    return result


def edge_uplift_with_no_trade_as_zero(scenario: Scenario) -> float:
    """True uplift of `edge_bps` if opportunities on which the variant passed count as zero edge."""
    control = CONTROL_MEAN["edge_bps"] * (1 - scenario.control_unfilled)
    return (1 - scenario.no_trade_share) * (control + scenario.uplift.get("edge_bps", 0.0)) - control
