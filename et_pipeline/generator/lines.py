"""Converts compact frames of reports to NDJSON lines or to Parquet rows."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import PASSED
from et_pipeline.generator.reports import CONTROL, REPLAY, VARIANT, id_prefix
from et_pipeline.generator.scenario import Scenario

OUTCOMES = ("YES", "NO")
SIDES = ("BUY", "SELL")
ARMS = (CONTROL, VARIANT, REPLAY)
ARM_LETTERS = ("c", "v", "r")
ENVELOPE = (
    "schema_version",
    "report_id",
    "kind",
    "bot_id",
    "strategy_id",
    "mode",
    "correlation_id",
    "market_id",
    "outcome_id",
    "side",
    "emitted_at",
    "config_version",
)


def _arm_fields(scenario: Scenario, arm: int) -> tuple[str, str, str, str]:
    """Bot, strategy, mode and configuration of an arm's reports."""
    if arm == VARIANT:
        strategy, version = scenario.variant_strategy_id, scenario.variant_config_version
    else:
        strategy, version = scenario.control_strategy_id, scenario.control_config_version
    if arm == REPLAY or (arm == VARIANT and scenario.mode == "shadow"):
        return "gov.backtester", strategy, "replay", version
    return strategy, strategy, "live", version


def named(frame: pl.DataFrame, scenarios: Sequence[Scenario], seed: int) -> pl.DataFrame:
    """Replaces numbers by names: returns the envelope's columns and the metrics of each report.

    Args:
        frame: Reports of `build_reports`, with a column `scenario` (number in `scenarios`).
        scenarios: The scenarios.
        seed: Seed of the run.

    Returns:
        The columns of `ENVELOPE` (`emitted_at` as a UTC datetime), `decision` (null for a trade), the metrics.
    """
    arms = [_arm_fields(scenario, arm) for scenario in scenarios for arm in ARMS]
    prefixes = [id_prefix(scenario, seed) for scenario in scenarios]
    arm_code = frame["scenario"].cast(pl.UInt32) * len(ARMS) + frame["arm"]
    markets = pl.Series([f"mkt-{number:04d}" for number in range(max(s.markets for s in scenarios))])
    opportunity = pl.col("opportunity").cast(pl.String).str.zfill(7)
    columns = {
        "schema_version": pl.when("newer").then(pl.lit("1.1")).otherwise(pl.lit("1.0")),
        "report_id": pl.col("correlation_id") + pl.col("suffix"),
        "kind": pl.lit("OperationsReport"),
        "decision": pl.when("passed").then(pl.lit(PASSED)),
        "emitted_at": pl.col("emitted_us").cast(pl.Datetime("us", "UTC")),
    }
    return (
        frame.with_columns(
            pl.Series(prefixes).gather(frame["scenario"]).alias("prefix"),
            *(
                pl.Series(name, [arm[index] for arm in arms]).gather(arm_code)
                for index, name in enumerate(("bot_id", "strategy_id", "mode", "config_version"))
            ),
            markets.gather(frame["market"]).alias("market_id"),
            pl.Series("outcome_id", OUTCOMES).gather(frame["outcome"]),
            pl.Series("side", SIDES).gather(frame["side"]),
            # "0" sorts before "1", so the final report is the last one even if the times are equal.
            pl.Series("suffix", [f"-{letter}{final}" for letter in ARM_LETTERS for final in "01"]).gather(
                frame["arm"].cast(pl.UInt32) * 2 + (~frame["preliminary"]).cast(pl.UInt32)
            ),
        )
        .with_columns(correlation_id=pl.col("prefix") + opportunity)
        .with_columns(**columns)
        .select(*ENVELOPE, "decision", *REPORT_METRICS)
    )


def to_lines(reports: pl.DataFrame) -> pl.Series:
    """NDJSON lines (without line ends) of named reports; a metric that is null is left out."""
    pieces: list[pl.Expr] = []
    for name in ENVELOPE:
        value = pl.col(name)
        if name == "emitted_at":
            value = value.dt.replace_time_zone(None).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        pieces += [pl.lit(f'{"{" if not pieces else ","}"{name}":"'), value, pl.lit('"')]
    reported = [name for name in REPORT_METRICS if reports[name].null_count() < len(reports)]
    metrics = pl.concat_str(
        [pl.lit(f'"{name}":') + pl.col(name).cast(pl.String) for name in reported],
        separator=",",
        ignore_nulls=True,
    )
    decision = (pl.lit(',"decision":"') + pl.col("decision") + pl.lit('"')).fill_null("")
    extra = pl.when(pl.col("schema_version") == "1.1").then(pl.lit(',"venue":"book-a"')).otherwise(pl.lit(""))
    line = pl.concat_str([*pieces, decision, extra, pl.lit(',"metrics":{'), metrics, pl.lit("}}")])
    return reports.select(line.alias("line"))["line"]


def to_rows(reports: pl.DataFrame) -> pl.DataFrame:
    """Parquet rows of named reports: the envelope's columns, `decision` if any report has it, and the struct
    `metrics`."""
    decision = () if reports["decision"].null_count() == len(reports) else ("decision",)
    return reports.select(*ENVELOPE, *decision, pl.struct(*REPORT_METRICS).alias("metrics"))


def as_object(line: str) -> dict[str, object]:
    """One line as an object with its keys in the same order."""
    loaded = json.loads(line)
    if not isinstance(loaded, dict):
        raise TypeError(f"not a JSON object: {line[:80]}")
    return loaded
