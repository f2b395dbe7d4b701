"""Opportunities and reports of scenarios, as compact frames."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.generator.opportunities import Opportunities, draw_opportunities, to_us
from et_pipeline.generator.scenario import Scenario
from et_pipeline.generator.values import draw_values

DECIMALS = {"latency_ms": 3}
DEFAULT_DECIMALS = 4

CONTROL, VARIANT, REPLAY = 0, 1, 2
"""The arms by number; the last one is the replayed control."""


class _Drawn(NamedTuple):
    found: Opportunities
    gets_control: NDArray[np.bool_]
    gets_variant: NDArray[np.bool_]
    passes: NDArray[np.bool_]
    control: dict[str, NDArray[np.float64]]
    variant: dict[str, NDArray[np.float64]]


def id_prefix(scenario: Scenario, seed: int) -> str:
    """Prefix of the ids of one scenario and seed, so that two runs into the same bus have different ids."""
    tag = hashlib.sha256(f"{scenario.experiment_id}/{seed}/{scenario.seed}".encode()).hexdigest()[:8]
    return f"{scenario.experiment_id}-{tag}-"


def rng_of(scenario: Scenario, seed: int) -> np.random.Generator:
    """The random generator of a scenario; its numbers do not depend on the other scenarios of a run."""
    digest = hashlib.sha256(scenario.experiment_id.encode()).digest()
    return np.random.default_rng([seed, scenario.seed, int.from_bytes(digest[:8], "big")])


def _draw(scenario: Scenario, rng: np.random.Generator) -> _Drawn:
    found = draw_opportunities(scenario, rng)
    n = len(found.time_us)
    block = found.time_us // (scenario.block // timedelta(microseconds=1))
    control, variant = draw_values(scenario, found, block - block[0], rng)
    traded = rng.random(n) >= scenario.no_trade_share
    if scenario.mode == "shadow":
        return _Drawn(found, np.ones(n, dtype=bool), traded, ~traded, control, variant)
    to_variant = rng.random(n) < scenario.traffic_split_pct / 100
    return _Drawn(found, ~to_variant, to_variant & traded, to_variant & ~traded, control, variant)


def build_opportunities(scenario: Scenario, *, seed: int) -> pl.DataFrame:
    """Every opportunity with the true values of both arms, also those that are not reported.

    Returns:
        Columns `time` (UTC), `market`, `outcome`, `side` (numbers), `control_reports` and
        `variant_reports` (whether the arm reports a trade), and per metric `<metric>_control`,
        `<metric>_variant` and the oriented `<metric>_uplift` (null where an order did not fill).
    """
    drawn = _draw(scenario, rng_of(scenario, seed))
    frame = pl.DataFrame(
        {
            "time": pl.Series(drawn.found.time_us).cast(pl.Datetime("us", "UTC")),
            "market": drawn.found.market,
            "outcome": drawn.found.outcome,
            "side": drawn.found.side,
            "control_reports": drawn.gets_control,
            "variant_reports": drawn.gets_variant,
        }
    )
    values = []
    for name in scenario.metrics:
        control, variant = drawn.control[name], drawn.variant[name]
        uplift = CATALOGUE[name].direction * (variant - control)
        for suffix, column in (("control", control), ("variant", variant), ("uplift", uplift)):
            values.append(pl.Series(f"{name}_{suffix}", column).fill_nan(None))
    return frame.hstack(values)


def build_reports(scenario: Scenario, *, seed: int) -> pl.DataFrame:
    """The reports of one scenario in time order, in a compact form with numbers instead of names and ids.

    Returns:
        Columns `opportunity` (u32), `arm` (u8, 0 control, 1 variant, 2 replayed control), `preliminary` (bool:
        superseded by a later report of the same arm and opportunity), `newer` (bool: schema version 1.1), `passed`
        (bool: the strategy did not trade, so no metric is reported), `market` (u32), `outcome`, `side` (u8),
        `emitted_us` (i64, UTC microseconds), and every metric of the catalogue (f64, null where not reported).

    Raises:
        ValueError: If a value falls outside the bounds of the catalogue (a far too large `noise` or uplift).
    """
    rng = rng_of(scenario, seed)
    drawn = _draw(scenario, rng)
    n = len(drawn.found.time_us)
    replay_lag = np.zeros(n, dtype=np.int64)
    if scenario.mode == "shadow":
        replay_lag = (200 + np.minimum(rng.exponential(300, n), 20_000)).astype(np.int64) * 1000
    seen, replayed = _as_replayed(scenario, drawn, seed)
    parts = [
        _arm_frame(scenario, drawn, CONTROL, np.zeros_like(replay_lag)),
        _arm_frame(scenario, seen, VARIANT, replay_lag),
    ]
    if scenario.replayed_control:
        parts.append(_arm_frame(scenario, replayed, REPLAY, replay_lag))
    frame = pl.concat(parts)
    frame = frame.with_columns(newer=pl.Series(rng.random(len(frame)) < scenario.newer_minor_share))
    frame = pl.concat([frame, _preliminary(scenario, frame, rng)])
    _refuse_out_of_bounds(scenario, frame)
    return frame.sort("emitted_us", "opportunity", "arm", "preliminary", maintain_order=True)


def _as_replayed(scenario: Scenario, drawn: _Drawn, seed: int) -> tuple[_Drawn, _Drawn]:
    """The values that the backtester reports: once with the variant's replays, once with the control's replays.

    They use random numbers of their own, so that scenarios without replays of the control have the same reports as
    before.
    """
    rng = np.random.default_rng([*rng_of(scenario, seed).integers(2**32, size=2).tolist(), REPLAY])
    n = len(drawn.found.time_us)
    shift = dict.fromkeys(scenario.metrics, np.zeros(n))
    for name, bias in scenario.replay_bias.items():
        shift[name] = shift[name] + bias
    if "edge_bps" in shift:
        shift["edge_bps"] = shift["edge_bps"] + scenario.replay_noise * rng.standard_normal(n)
    control, variant = (
        arm | {name: arm[name] + shift[name] for name in scenario.metrics}
        for arm in (drawn.control, drawn.variant)
    )
    chosen = drawn.gets_control & (rng.random(n) < scenario.replayed_control)
    return drawn._replace(variant=variant), drawn._replace(control=control, gets_control=chosen)


def _arm_frame(scenario: Scenario, drawn: _Drawn, arm: int, lag: NDArray[np.int64]) -> pl.DataFrame:
    """Reports of one arm, `lag` microseconds after their opportunities."""
    chosen, passes, values = drawn.gets_control, np.zeros_like(drawn.passes), drawn.control
    if arm == VARIANT:
        chosen, values = drawn.gets_variant, drawn.variant
        passes = drawn.passes if scenario.tells_passes else passes
    rows, found = np.flatnonzero(chosen | passes), drawn.found
    shown = {name: np.where(passes, np.nan, values[name])[rows] for name in scenario.metrics}
    reported = {
        name: pl.Series(np.round(shown[name], DECIMALS.get(name, DEFAULT_DECIMALS))).fill_nan(None)
        if name in scenario.metrics
        else pl.repeat(None, len(rows), dtype=pl.Float64, eager=True)
        for name in REPORT_METRICS
    }
    return pl.DataFrame(
        {
            "opportunity": rows.astype(np.uint32),
            "arm": np.full(len(rows), arm, dtype=np.uint8),
            "preliminary": np.zeros(len(rows), dtype=bool),
            "passed": passes[rows],
            "market": found.market[rows].astype(np.uint32),
            "outcome": found.outcome[rows].astype(np.uint8),
            "side": found.side[rows].astype(np.uint8),
            "emitted_us": found.time_us[rows] + lag[rows],
            **reported,
        }
    )


def _preliminary(scenario: Scenario, frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Preliminary reports of some orders, at most one second earlier, with another edge than the final report."""
    chosen = frame.filter(pl.Series(rng.random(len(frame)) < scenario.superseded_share))
    earlier = pl.Series(rng.integers(1, 1000, len(chosen)) * 1000)
    return chosen.with_columns(
        preliminary=pl.lit(True),
        emitted_us=pl.max_horizontal(pl.col("emitted_us") - earlier, to_us(scenario.starts_at)),
        edge_bps=pl.col("edge_bps") + 1.0,
    ).select(frame.columns)


def _refuse_out_of_bounds(scenario: Scenario, frame: pl.DataFrame) -> None:
    for name in scenario.metrics:
        metric = CATALOGUE[name]
        values = frame[name].drop_nulls().to_numpy()
        if not values.size:
            continue
        low, high = values.min(), values.max()
        if low < metric.lower or high > metric.upper or (metric.lower_open and low == metric.lower):
            raise ValueError(
                f"experiment {scenario.experiment_id}: {name} reaches from {low} to {high};"
                f" allowed: {metric.allowed}; choose a smaller noise or uplift"
            )
