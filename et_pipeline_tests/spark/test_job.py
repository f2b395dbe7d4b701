"""The whole tick with both engines: the same pairs, cells and verdicts, on the sample and on real reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from et_pipeline.spark.session import spark_engine
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine
from et_pipeline_tests.conftest import SAMPLE_PLANS
from et_pipeline_tests.job.conftest import World, generate
from et_pipeline_tests.job.test_real_reports import REAL
from et_pipeline_tests.spark.lab import reports_to_cells, same_cells, same_pairs

pytestmark = pytest.mark.xdist_group("sail")
SAID = (
    "SELECT experiment_id, state, verdict, announced_as_of, n_pairs FROM verdicts",
    "SELECT experiment_id, metric, as_of, n_pairs, n_markets, n_blocks FROM interval_path",
    "SELECT experiment_id, as_of, n_control, n_variant, alarm FROM sample_ratio",
    "SELECT path, lines, reports, duplicates, skipped, quarantined FROM snapshots",
    "SELECT path, line, reason, raw FROM quarantine",
)
MEASURED = (
    "SELECT experiment_id, metric, median_uplift, sd_uplift, unmatched_control_share, unmatched_variant_share, "
    "candidates_per_variant FROM diagnostics",
    "SELECT experiment_id, metric, as_of, mean_uplift, ci_lower, ci_upper, e_value FROM interval_path",
)


@contextmanager
def worlds(folder: Path, url: str, reports: str = "") -> Iterator[tuple[World, World]]:
    """Two worlds with the same plans and snapshots to be; the second one's reports lie on a cluster."""
    spark = {"ET_ENGINE": "spark", "ET_SPARK_URL": url, "ET_SPARK_REPORTS": reports or str(folder / "set")}
    with dg.DagsterInstance.ephemeral() as first, dg.DagsterInstance.ephemeral() as second:
        yield World(folder / "local", first), World(folder / "remote", second, spark)


def compare(local: World, remote: World) -> None:
    """Everything that the two worlds must agree on."""
    assert remote.settings.spark is not None
    with open_warehouse(local.settings) as here, open_warehouse(remote.settings) as there:
        with spark_engine(remote.settings.spark, there) as engine:
            same_pairs(here, engine)
        same_cells(here, there)
        assert there.execute("SELECT count(*) FROM pairs").fetchall() == [(0,)]
    for query in SAID:
        assert remote.rows(f"{query} ORDER BY ALL") == local.rows(f"{query} ORDER BY ALL"), query
    for query in MEASURED:
        for mine, other in zip(
            local.rows(f"{query} ORDER BY 1, 2, 3"), remote.rows(f"{query} ORDER BY 1, 2, 3"), strict=True
        ):
            for expected, found in zip(mine, other, strict=True):
                near = (
                    pytest.approx(expected, rel=1e-7, abs=1e-9) if isinstance(expected, float) else expected
                )
                assert found == near, (query, mine)


def tick(*both: World) -> None:
    for world in both:
        result = world.tick()
        assert result.success
        assert not world.failed_checks(result) - {"match_rate", "little_in_quarantine"}


@pytest.mark.spark
def test_the_sample_is_the_same(cluster: str, tmp_path: Path) -> None:
    """Half of the snapshots are late on the cluster, so whose line is the duplicate differs; the sums do not."""
    with worlds(tmp_path, cluster) as (local, remote):
        shutil.copytree(SAMPLE_PLANS, local.folder / "experiments")
        generate(local)
        shutil.copytree(local.folder, remote.folder)
        late = sorted(remote.settings.report_bus_dir.rglob("*.*"))[::2]
        assert remote.settings.spark is not None
        with open_warehouse(local.settings) as here, open_warehouse(remote.settings) as there:
            reports_to_cells(local.settings, DuckDBEngine(here))
            for suffix in (".tmp", ""):
                for path in late:
                    path.rename(f"{path}.tmp") if suffix else path.with_name(f"{path.name}.tmp").rename(path)
                with spark_engine(remote.settings.spark, there) as engine:
                    reports_to_cells(remote.settings, engine)
            with spark_engine(remote.settings.spark, there) as engine:
                same_pairs(here, engine)
            same_cells(here, there)
            sums = "SELECT sum(lines), sum(reports), sum(duplicates), sum(skipped), sum(quarantined) FROM snapshots"
            assert there.execute(sums).fetchall() == here.execute(sums).fetchall()


@pytest.mark.spark
@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real reports is not beside this checkout")
def test_real_reports_say_the_same(cluster: str, tmp_path: Path) -> None:
    with worlds(tmp_path, cluster) as (local, remote):
        for world in (local, remote):
            for name in ("experiments", "report_bus"):
                shutil.copytree(REAL / name, world.folder / name)
        tick(local, remote)
        compare(local, remote)
        where = tmp_path / "set" / "pairs" / "*" / "*" / "*.parquet"
        found = f"read_parquet('{where}', hive_partitioning = true) JOIN pairs_elsewhere USING (experiment_id, run)"
        counts = "SELECT experiment_id, count(*) FROM {} GROUP BY ALL ORDER BY ALL"
        assert remote.rows(counts.format(found)) == local.rows(counts.format("pairs")), (
            "as the docs tell analysts"
        )
