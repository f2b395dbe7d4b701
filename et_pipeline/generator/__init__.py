"""Realistic OperationsReports with a known truth.

A `Scenario` describes one experiment: its arms, window, markets, correlations and the true uplift of
every metric. `write_snapshots` writes the reports of scenarios into snapshot files and returns the truth about them.
"""

from et_pipeline.generator.broken import (
    BROKEN_KINDS,
    EXPECTED_REASON,
    PARQUET_BROKEN_KINDS,
    PARQUET_EXPECTED_REASON,
)
from et_pipeline.generator.files import FORMATS
from et_pipeline.generator.reports import build_opportunities, build_reports
from et_pipeline.generator.scenario import METRICS, Scenario, edge_uplift_with_no_trade_as_zero, true_uplift
from et_pipeline.generator.snapshots import write_snapshots
from et_pipeline.generator.truth import ExperimentTruth, FileTruth, Truth

__all__ = [
    "BROKEN_KINDS",
    "EXPECTED_REASON",
    "FORMATS",
    "METRICS",
    "PARQUET_BROKEN_KINDS",
    "PARQUET_EXPECTED_REASON",
    "ExperimentTruth",
    "FileTruth",
    "Scenario",
    "Truth",
    "build_opportunities",
    "build_reports",
    "edge_uplift_with_no_trade_as_zero",
    "true_uplift",
    "write_snapshots",
]
