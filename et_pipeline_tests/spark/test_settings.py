"""Settings that are refused, and the messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from et_pipeline.settings import Settings, SettingsError, SparkSettings
from et_pipeline.spark.session import spark_engine
from et_pipeline.warehouse.engine import EngineError, refuse_another_engine
from et_pipeline_tests.pairing.lab import Lab, report
from et_pipeline_tests.spark.standalone import free_port


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ET_ENGINE": "flink"}, "ET_ENGINE is 'flink'; allowed: duckdb, spark"),
        ({"ET_ENGINE": "spark"}, "ET_SPARK_URL is not set"),
        ({"ET_ENGINE": "spark", "ET_SPARK_URL": "sc://host"}, "ET_SPARK_REPORTS is not set"),
        ({"ET_ENGINE": "spark", "ET_SPARK_URL": "http://host"}, "allowed: sc://host"),
        ({"ET_ENGINE": "spark", "ET_SPARK_URL": "sc://host", "ET_SPARK_REPORTS": "here"}, "an absolute path"),
        (
            {"ET_ENGINE": "spark", "ET_SPARK_URL": "sc://host", "ET_SPARK_REPORTS": "s3://a:b@c/d"},
            "ET_SPARK_REPORTS",
        ),
    ],
)
def test_settings_that_are_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.from_env(environment)


def test_settings_that_are_read() -> None:
    environment = {"ET_ENGINE": "spark", "ET_SPARK_URL": "sc://host:1", "ET_SPARK_REPORTS": "/a/b"}
    assert Settings.from_env(environment).spark == SparkSettings("sc://host:1", "file:///a/b")
    environment["ET_SPARK_REPORTS"] = "s3a://bucket/reports"
    assert Settings.from_env(environment).spark == SparkSettings("sc://host:1", "s3a://bucket/reports")
    assert Settings.from_env({"ET_SPARK_URL": "sc://host:1"}).spark is None


def test_nobody_at_the_address(lab: Lab, tmp_path: Path) -> None:
    url = f"sc://127.0.0.1:{free_port()}"
    with (
        pytest.raises(EngineError, match="no Spark Connect server answers"),
        spark_engine(SparkSettings(url, f"file://{tmp_path}"), lab.connection),
    ):
        pass


def test_a_data_folder_keeps_its_engine(lab: Lab) -> None:
    for local in (True, False):
        refuse_another_engine(lab.connection, local=local)
    lab.ingest(report("r", "o"))
    refuse_another_engine(lab.connection, local=True)
    with pytest.raises(EngineError, match="filled with 'duckdb'"):
        refuse_another_engine(lab.connection, local=False)
    lab.connection.execute("DELETE FROM reports; INSERT INTO reports_elsewhere VALUES (1, now()::TIMESTAMP)")
    with pytest.raises(EngineError, match="filled with 'spark'"):
        refuse_another_engine(lab.connection, local=True)
