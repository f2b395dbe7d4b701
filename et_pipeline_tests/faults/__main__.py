"""`make faults`: ticks killed at every moment and at random ones, mistakes the harness must find, and a table."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from et_pipeline_tests.faults.campaign import at_random, every_moment, strike, table
from et_pipeline_tests.faults.chains import Kill, undisturbed
from et_pipeline_tests.faults.compare import KilledError
from et_pipeline_tests.faults.processes import Nursery
from et_pipeline_tests.faults.stages import STAGES

RANDOM_KILLS = 8
STARTED_KILLS = 4
"""In each stage, beside one kill at each moment that its tick reaches (about 85 of them)."""


def main() -> int:
    """Runs the campaign; status 1 where anything was lost, invented or left half done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="Other moments at random.")
    seed = parser.parse_args().seed
    started = time.monotonic()
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="et-faults-", dir=memory if memory.is_dir() else None))
    kills: list[Kill] = []
    try:
        with Nursery(folder) as nursery:
            reference = undisturbed(nursery, folder)
            for stage, name in enumerate(STAGES):
                blows = (
                    every_moment(reference, stage, seed)
                    + at_random(reference, stage, seed, RANDOM_KILLS)
                    + at_random(reference, stage, seed, STARTED_KILLS, by_hand=True)
                )
                kills += strike(nursery, reference, folder / "chain", stage, blows)
                print(f"{name}: {len(kills)} kills so far, {time.monotonic() - started:.0f} s", flush=True)
    except KilledError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    print("\n".join(table(kills)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
