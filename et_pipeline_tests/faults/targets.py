"""What has to hold for any bytes at all, one function for each kind of file that others write.

Hypothesis calls them in `make test`, atheris in `make fuzz`, and every case that was ever found in `corpus/`.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from et_pipeline.common.untrusted import CONTROL_CHARACTERS
from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.plan import SHOWN_REFUSALS, Plan, parse_plan
from et_pipeline.contracts.report import Fault
from et_pipeline.governance.sign_offs import Document
from et_pipeline.ingest.documents import Skipped, parse_line
from et_pipeline.ingest.reader import read_lines
from et_pipeline.ingest.sources import UnreadableError
from et_pipeline_tests.ingest.lab import Read

CORPUS = Path(__file__).parent / "corpus"


def reader(content: bytes) -> None:
    """Many lines at once give what each gives alone; the accounting balances; what is taken is plain JSON."""
    together = Read.of(read_lines(io.BytesIO(content).read))
    lines = split_lines(content)
    assert together.lines == len(lines)
    reasons = {bad.line: bad.reason for bad in together.bad}
    reports = {row["line"]: row for row in together.reports}
    skipped = 0
    for number, text in enumerate(lines, 1):
        outcome = parse_line(text)
        if isinstance(outcome, Fault):
            assert reasons[number] == outcome.reason
        elif isinstance(outcome, Skipped):
            skipped += 1
        elif number in reports:
            row = reports[number]
            assert {name: row[name] for name in REPORT_METRICS} == outcome.metrics
            assert row["extra"] == outcome.extra
            assert all(row[name] == text for name, text in outcome.texts.items() if name != "emitted_at")
            document = json.loads(text)  # a second opinion: what is taken is what the library reads
            assert {name: document["metrics"].get(name) for name in REPORT_METRICS} == outcome.metrics
            assert all(document[name] == text for name, text in outcome.texts.items())
        else:
            assert number in reasons  # sound JSON that breaks a rule
    assert skipped == sum(together.skipped.values())


def split_lines(content: bytes) -> list[bytes]:
    """The lines of a file, the slow way."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return lines if lines[-1] else lines[:-1]


def packed(content: bytes) -> None:
    """The bytes of a packed snapshot are read in balance, or refused as a whole with a reason."""
    with tempfile.TemporaryDirectory() as folder:
        for ending in (".ndjson.gz", ".ndjson.zst", ".parquet"):
            path = Path(folder) / f"x{ending}"
            path.write_bytes(content)
            try:
                Read(path)
            except UnreadableError as error:
                assert error.reason in ("broken_stream", "broken_parquet", "compression_bomb")
                _shows(error.sentence)


def plan(content: bytes) -> None:
    """A plan is taken, always the same and with a hash, or refused with sentences that only show."""
    outcome = parse_plan(content, "x.yaml")
    if isinstance(outcome, Plan):
        assert parse_plan(content, "y.yaml") == outcome
        assert re.fullmatch(r"[0-9a-f]{64}", outcome.plan_hash)
        assert Plan.model_validate_json(outcome.model_dump_json()).plan_hash == outcome.plan_hash
        for text in (outcome.title, outcome.owner, outcome.hypothesis):
            _shows(text)
    else:
        assert 1 <= len(outcome) <= SHOWN_REFUSALS + 1
        for refusal in outcome:
            _shows(str(refusal))


def sign_off(content: bytes) -> None:
    """A sign-off says the same when it is written again, or is refused."""
    try:
        document = Document.parse(content)
    except ValueError:
        return
    assert Document.parse(document.content()) == document
    _shows(document.reason)


def _shows(text: str) -> None:
    """Text that a database takes and a terminal does not obey."""
    text.encode()
    assert not re.search(CONTROL_CHARACTERS, text)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reader": reader,
    "packed": packed,
    "plan": plan,
    "sign_off": sign_off,
}
