"""A worker and its executor are killed in the middle of a job: the job ends with the same answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from et_pipeline.commands import samples
from et_pipeline.contracts.plan import read_plans
from et_pipeline.engine.spark import spark_engine
from et_pipeline.experiments.registration import register_plans
from et_pipeline.generator import write_snapshots
from et_pipeline.ingest.cluster import ingest_on_cluster
from et_pipeline.ingest.ingest import ingest
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.resources.settings import Settings, SparkSettings
from et_pipeline.resources.warehouse import open_warehouse
from et_pipeline_tests.engine.lab import same_cells, same_pairs
from et_pipeline_tests.engine.standalone import Cluster, kill, standalone, until


def begun(folder: Path, name: str) -> bool:
    """Whether tasks write a temporary table at this moment."""
    return any(folder.glob(f"scratch/*/{name}-*/_temporary/0/_temporary/*"))
