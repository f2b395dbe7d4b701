"""The sample run through Dagster, made once; and an empty pipeline for each test that changes things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest

from et_pipeline.commands import samples
from et_pipeline.generator import Truth
from et_pipeline_tests.job.pipeline import Pipeline, generate, pipeline


class SampleRun(NamedTuple):
    """The first tick over the sample experiments; look, do not change."""

    pipeline: Pipeline
    truth: Truth
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleRun]:
    with pipeline(tmp_path_factory.mktemp("job") / "data", *samples.TRUTHS) as made:
        truth = generate(
            made.data_dir, samples.TRUTHS, seed=samples.SEED, files=samples.FILES, broken=1, skipped=40
        )
        yield SampleRun(made, truth, made.tick())


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Makes a pipeline with copies of the named sample plans and nothing on the bus."""
    with ExitStack() as stack:
        yield lambda *plans, name="data": stack.enter_context(pipeline(tmp_path / name, *plans))
