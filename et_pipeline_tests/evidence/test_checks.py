"""Each check of the inference stage passes on correct tables, and otherwise fails and names the experiment."""

import pytest

from et_pipeline.defs import evidence as checks
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

SAMPLE_RATIO = """
INSERT INTO sample_ratio VALUES
    ('even', TIMESTAMP '2026-10-02', 900, 100, 0.1, 0.1, 0.5, 1, false),
    ('skewed', TIMESTAMP '2026-10-02', 700, 300, 0.1, 0.3, 5000, 0.0002, true),
    ('skewed', TIMESTAMP '2026-10-03', 1800, 300, 0.1, 0.14, 900, 0.001, false)
"""
DIAGNOSTICS = """
INSERT INTO series_diagnostics BY NAME
SELECT 'slow' AS experiment_id, 'edge_bps' AS metric, TIMESTAMP '2026-10-02' AS as_of, 0 AS winsorised,
       0.95 AS autocorrelation, true AS longer_block_needed
"""
PATH = """
INSERT INTO series_interval_path BY NAME
SELECT 'torn' AS experiment_id, 'edge_bps' AS metric, 'primary' AS role, TIMESTAMP '2026-10-02' AS as_of,
       5 AS n_pairs, 2 AS effective_clusters, 2 AS n_markets, 2 AS n_blocks, 'two_way' AS method,
       'h' AS plan_hash, false AS ready, true AS closed
"""


@pytest.mark.parametrize(
    ("check", "change", "said"),
    [
        (checks.sample_ratio_as_planned, SAMPLE_RATIO, "skewed: the share is 14.0%, and 10.0% is planned"),
        (checks.time_block_long_enough, DIAGNOSTICS, "slow edge_bps: the lag-1 autocorrelation is 0.95"),
        (checks.path_ends_with_interval, PATH, "torn edge_bps"),
    ],
)
def test_a_check_fails_where_something_is_wrong(settings: Settings, check, change: str, said: str) -> None:
    with open_warehouse(settings) as connection:
        assert check(connection).passed
        connection.execute(change)
        result = check(connection)
    assert not result.passed
    assert result.description == said
