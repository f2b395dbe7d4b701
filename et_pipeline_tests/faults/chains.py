"""Undisturbed runs of every stage, and the same ticks killed one after the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from et_pipeline_tests.faults.compare import KilledError, check_after_a_kill, differences, known
from et_pipeline_tests.faults.processes import Blow, Nursery, Run, et_killed
from et_pipeline_tests.faults.stages import STAGES, bring_inputs, environment, set_up
from et_pipeline_tests.registry import Registry, serving


@dataclass
class Reference:
    """Undisturbed runs: the data folder before each stage's tick, and what the tick made of it.

    Attributes:
        before: Per stage the folder as its tick finds it.
        after: Per stage what is known after it.
        moments: Per stage the moments its tick reaches.
        signals: Per stage the registry's messages up to then.
        seconds: Per stage how long its tick took.
    """

    before: list[Path] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)
    moments: list[list[str]] = field(default_factory=list)
    signals: list[dict[str, set[bytes]]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def undisturbed(nursery: Nursery, folder: Path) -> Reference:
    """Runs every stage once without a crash."""
    reference = Reference()
    data = folder / "undisturbed"
    set_up(data)
    with serving() as there:
        for stage in range(len(STAGES)):
            bring_inputs(data, stage)
            reference.before.append(copy(data, folder / f"before-{stage}"))
            started = time.monotonic()
            run = nursery.et("tick", environment=environment(data, stage, there.url))
            reference.seconds.append(time.monotonic() - started)
            if run.status:
                raise RuntimeError(f"the undisturbed tick of stage {stage} failed: {run.output}")
            reference.moments.append(run.reached)
            reference.after.append(known(data))
            reference.signals.append(there.bodies)
    return reference


@contextmanager
def registry_before(reference: Reference, stage: int) -> Iterator[Registry]:
    """A registry that was sent what the stages before had to say."""
    with serving() as there:
        if stage:
            signals = reference.signals[stage - 1]
            there.taken += [(key, body) for key, bodies in signals.items() for body in bodies]
        yield there


def copy(source: Path, target: Path) -> Path:
    """A copy of a data folder, with the times of its files: they are part of what a tick looks at."""
    return Path(shutil.copytree(source, target, symlinks=True))


AT_RANDOM = "at random"
"""A forked tick, killed after some time."""
FROM_ITS_START = "at random, a process started by hand"
"""A tick as a person starts it, killed after some time, perhaps while it still imports."""


class Kill(NamedTuple):
    """One kill that happened.

    Attributes:
        stage: The stage whose tick it was.
        blow: Where it died.
        nth: Which kill of its chain: 2 and above hit a recovery.
    """

    stage: int
    blow: Blow
    nth: int


def chain(
    nursery: Nursery,
    reference: Reference,
    folder: Path,
    stage: int,
    blows: Sequence[Blow],
    sabotage: str | None = None,
) -> list[Kill]:
    """A stage's tick and its recoveries, killed one after the other; then one that nobody kills.

    Returns:
        The kills that happened: a recovery may end before it reaches the moment it was to die at.

    Raises:
        KilledError: Something was lost, invented, left half done, or does not go on.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    data = copy(reference.before[stage], folder / "data")
    kills: list[Kill] = []
    with registry_before(reference, stage) as there:
        settings = environment(data, stage, there.url)
        for blow in blows:
            run = _strike(nursery, settings, blow, sabotage)
            if run.killed:
                kills.append(Kill(stage, blow, len(kills) + 1))
            try:
                if run.status and not run.killed:
                    raise KilledError(f"a tick failed: {run.output}")
                check_after_a_kill(data, folder, there)
            except (KilledError, duckdb.Error, OSError) as error:
                raise KilledError(f"after {kills}: {error}") from error
        last = nursery.et("tick", environment=settings)
        if last.status:
            raise KilledError(f"after {kills} a tick failed: {last.output}")
        wrong = differences(reference.after[stage], known(data))
        if there.bodies != reference.signals[stage]:
            wrong.append(f"the registry was sent {sorted(there.bodies)}")
        if wrong:
            raise KilledError(f"after {kills} it is not as without a crash:\n" + "\n".join(wrong))
    return kills


def _strike(nursery: Nursery, settings: dict[str, str], blow: Blow, sabotage: str | None) -> Run:
    if blow.moment == FROM_ITS_START:
        return et_killed(settings, blow.delay_s)
    if blow.moment == AT_RANDOM:
        return nursery.et("tick", environment=settings, kill_after_s=blow.delay_s, sabotage=sabotage)
    return nursery.et("tick", environment=settings, die_at=blow, sabotage=sabotage)
