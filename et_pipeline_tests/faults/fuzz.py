"""Coverage-guided fuzzing with atheris: `make fuzz`, or `python -m et_pipeline_tests.faults.fuzz plan 600`.

A case that fails is written to the present folder by libFuzzer; put it into `corpus/<target>/` with the fix,
and `make test` replays it for ever.
"""

from __future__ import annotations

import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["et_pipeline", "yaml", "json"]):
    from et_pipeline_tests.faults.targets import CORPUS, TARGETS


def main() -> None:
    """Fuzzes one target for some seconds, starting from its corpus."""
    name, seconds = sys.argv[1], int(sys.argv[2])
    scratch = tempfile.mkdtemp(prefix=f"et-fuzz-{name}-")
    options = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=3000", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *options, scratch, str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
