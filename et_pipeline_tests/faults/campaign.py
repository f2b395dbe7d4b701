"""Which moments a campaign kills at, and the table of what came of it."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from et_pipeline_tests.faults.chains import AT_RANDOM, FROM_ITS_START, Kill, Reference, chain
from et_pipeline_tests.faults.processes import Blow, Nursery

PER_CHAIN = 5
LONGEST_DELAY_S = 0.03
"""Commits, checkpoints and closings of this warehouse take up to about so long."""
START_S = 3.0
"""How long a process started by hand takes until its tick begins, about."""


def every_moment(reference: Reference, stage: int, seed: int) -> list[Blow]:
    """Each moment that a stage's tick reaches, in the order of the run.

    One that comes more than once is struck where it comes first, in every second stage where it comes last.
    """
    chosen = random.Random(seed)
    counts = Counter(reference.moments[stage])
    found, seen = [], Counter[str]()
    for moment in reference.moments[stage]:
        seen[moment] += 1
        if seen[moment] == (counts[moment] if stage % 2 else 1):
            found.append(Blow(moment, seen[moment], chosen.uniform(0, LONGEST_DELAY_S)))
    return found


def at_random(reference: Reference, stage: int, seed: int, count: int, by_hand: bool = False) -> list[Blow]:
    """So many moments anywhere in a stage's tick."""
    chosen = random.Random(seed)
    longest = reference.seconds[stage] + (START_S if by_hand else 0)
    moment = FROM_ITS_START if by_hand else AT_RANDOM
    return [Blow(moment, 1, chosen.uniform(0.1, longest)) for _ in range(count)]


def strike(
    nursery: Nursery, reference: Reference, folder: Path, stage: int, blows: Sequence[Blow]
) -> list[Kill]:
    """Makes every blow happen, in chains; a blow that a recovery no longer reaches begins the next chain.

    Within a chain the blows follow the order of the run, so that each one hits work that is still to do.

    Raises:
        KilledError: Something is not as without a crash.
    """
    waiting, kills = list(blows), []
    while waiting:
        turn = waiting[:: max(1, len(waiting) // PER_CHAIN)][:PER_CHAIN]
        happened = chain(nursery, reference, folder, stage, turn)
        kills += happened
        print(
            f"stage {stage}: {len(kills)} killed, {len(waiting)} moments to go",
            end="\r",
            file=sys.stderr,
            flush=True,
        )
        done = {kill.blow for kill in happened} | {turn[0]}
        waiting = [blow for blow in waiting if blow not in done]
    return kills


def kind_of(blow: Blow) -> str:
    """What a row of the table counts together."""
    kind, _, where = blow.moment.partition(": ")
    if kind == "transaction":
        return f"transaction: {where.split(' ')[0].replace('commit', 'in the middle of the commit')}"
    return {"rename": "rename or link of a file", "link": "rename or link of a file"}.get(kind, kind)


def table(kills: Sequence[Kill]) -> list[str]:
    """Kills by kind of moment, as lines of Markdown."""
    rows = Counter(kind_of(kill.blow) for kill in kills)
    recoveries = Counter(kind_of(kill.blow) for kill in kills if kill.nth > 1)
    lines = ["| killed | times | of these in a recovery |", "|---|---|---|"]
    lines += [f"| {kind} | {count} | {recoveries[kind]} |" for kind, count in sorted(rows.items())]
    return [*lines, f"| **together** | **{len(kills)}** | **{sum(recoveries.values())}** |"]
