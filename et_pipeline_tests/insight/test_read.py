"""What pages read: numbers that a query counts are those that are counted by hand."""

from __future__ import annotations

from collections import Counter

import duckdb
import numpy as np
import pytest

from et_pipeline.insight.read import read_experiment
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.evidence.lab import add_experiment


def put_pairs(connection: duckdb.DuckDBPyConnection, uplifts: list[float]) -> None:
    """Pairs of the experiment `exp`, four in each hour."""
    connection.execute(
        "INSERT INTO pairs BY NAME SELECT 'exp' AS experiment_id, uplift AS edge_bps_uplift, "
        "TIMESTAMP '2026-01-01' + to_hours((number // 4)::BIGINT) AS pair_time, pair_time AS block, 'm' AS market_id, "
        "'o' AS outcome_id, 'BUY' AS side, number::VARCHAR AS correlation_id, 'c' || number AS control_report_id, "
        "'v' || number AS variant_report_id, number::UBIGINT AS opportunity_key, 1 AS candidates "
        "FROM (SELECT unnest($uplifts) AS uplift, unnest(range(len($uplifts))) AS number)",
        {"uplifts": uplifts},
    )


@pytest.mark.parametrize("far", [0.0, 1e6, -1e9])
def test_the_histogram_of_single_uplifts_counts_every_pair_in_its_bar(settings: Settings, far: float) -> None:
    """Values far away belong to the first or the last bar."""
    uplifts = [*np.random.default_rng(1).normal(2.0, 3.0, 400).tolist(), far, far / 2]
    with open_warehouse(settings) as connection:
        add_experiment(connection, settings)
        put_pairs(connection, uplifts)
        connection.execute(
            "INSERT INTO series_diagnostics (experiment_id, comparison, metric, as_of, median_uplift, sd_uplift, "
            "winsorised, longer_block_needed) VALUES ('exp', 'uplift', 'edge_bps', now(), 2.0, 3.0, 0, false)"
        )
        bars = read_experiment(connection, "exp").uplifts
    width = bars[1]["start"] - bars[0]["start"]
    first, last = bars[0]["start"], bars[-1]["start"]
    expected = Counter(float(np.clip(np.floor(uplift / width) * width, first, last)) for uplift in uplifts)
    assert {bar["start"]: bar["pairs"] for bar in bars if bar["pairs"]} == pytest.approx(expected)
