"""Eleven of the kills of `make faults`, one of each kind, and proof that these tests find the mistakes for which they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from et_pipeline_tests.conftest import run_et
from et_pipeline_tests.faults.campaign import LONGEST_DELAY_S, kind_of
from et_pipeline_tests.faults.chains import FROM_ITS_START, Reference, chain
from et_pipeline_tests.faults.compare import KilledError
from et_pipeline_tests.faults.processes import Blow, Nursery
from et_pipeline_tests.faults.stages import CLOCK

pytestmark = pytest.mark.xdist_group("faults")

FIRST_REPORTS, VERDICTS, LATE = range(3)
IN_THE_MIDDLE = LONGEST_DELAY_S / 3
DECIDE = "governance.decide.decide"


@pytest.mark.parametrize(
    ("stage", "blows"),
    [
        (
            FIRST_REPORTS,
            [
                Blow("transaction: commit of experiments.registration.register", delay_s=IN_THE_MIDDLE / 10),
                Blow("transaction: inside ingest.ingest._read_group, all written"),
                Blow("copy: half of it"),
                Blow(FROM_ITS_START, delay_s=1.5),
            ],
        ),
        (
            VERDICTS,
            [
                Blow("transaction: before ingest.ingest._read_group"),
                Blow("warehouse: closing after defs.resource.open", 4, delay_s=IN_THE_MIDDLE),
                Blow(f"transaction: inside {DECIDE}, all written"),
                Blow(f"transaction: after {DECIDE}"),
                Blow(
                    "analyst copy: checkpoint for insight.publish.publish_analyst_database",
                    delay_s=IN_THE_MIDDLE,
                ),
                Blow("rename: published/experiments.duckdb, before"),
                Blow("message: to the registry, after"),
            ],
        ),
    ],
    ids=["first reports", "verdicts and publishing"],
)
def test_after_any_kill_the_result_is_that_of_an_undisturbed_run(
    nursery: Nursery, reference: Reference, folder: Path, stage: int, blows: list[Blow]
) -> None:
    kills = chain(nursery, reference, folder / "chain", stage, blows)
    assert [kill.blow for kill in kills] == blows, "each of them hit"
    rebuilt = run_et(folder / "chain" / "data", "rebuild", "--check", ET_NOW=CLOCK[stage])
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr


@pytest.mark.parametrize(
    ("sabotage", "blow", "found"),
    [
        (
            "sent before the commit",
            Blow(f"transaction: inside {DECIDE}, all written"),
            "knows of no such event",
        ),
        pytest.param(
            "without transactions",
            Blow("event: emitted, before"),
            "EXPERIMENT_RESULT",
            marks=pytest.mark.faults,
        ),
        pytest.param(
            "recorded before it is sent",
            Blow("message: to the registry, before"),
            "the registry was sent",
            marks=pytest.mark.faults,
        ),
        pytest.param(
            "copied in place",
            Blow("copy: half of it"),
            "experiments.duckdb",
            marks=pytest.mark.faults,
        ),
    ],
)
def test_the_harness_finds_what_it_is_for(
    nursery: Nursery, reference: Reference, folder: Path, sabotage: str, blow: Blow, found: str
) -> None:
    with pytest.raises(KilledError, match=re.escape(found)):
        chain(nursery, reference, folder / "chain", VERDICTS, [blow], sabotage)


def test_a_tick_makes_every_kind_of_moment(reference: Reference) -> None:
    """A change that renames what is wrapped would otherwise leave moments out of every campaign."""
    reached = {kind_of(Blow(moment)) for moments in reference.moments for moment in moments}
    assert reached == {
        "transaction: before",
        "transaction: inside",
        "transaction: in the middle of the commit",
        "transaction: after",
        "warehouse",
        "analyst copy",
        "copy",
        "rename or link of a file",
        "message",
    }
