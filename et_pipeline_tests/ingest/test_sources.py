"""Files as blocks and sections, and files that cannot be read as a whole."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.ingest import sources
from et_pipeline.ingest.sources import LongLine, Section, UnreadableError, blocks, opened
from et_pipeline_tests.ingest.lab import Read, ndjson, read, report, write, write_parquet

CONTENT = ndjson(report(f"r{number}") for number in range(300))


def whole(path: Path, section: Section | None = None) -> bytes:
    with opened(path, section) as read_some:
        found = list(blocks(read_some))
    assert not any(isinstance(block, LongLine) for block in found)
    return b"".join(block for block in found if isinstance(block, bytes))


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableError) as caught:
        Read(path)
    assert path.name in caught.value.sentence
    return caught.value.reason


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(
        st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=30
    ),
    size=st.integers(1, 60),
    ending=st.booleans(),
)
def test_sections_take_every_line_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, ending: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "sections.ndjson"
    content = b"\n".join(lines) + (b"\n" if ending else b"")
    path.write_bytes(content)
    parts = [
        whole(path, Section(start, min(start + size, len(content)))) for start in range(0, len(content), size)
    ]
    assert b"".join(parts) == content
    for part in parts[:-1]:
        assert not part or part.endswith(b"\n") or b"".join(parts[parts.index(part) + 1 :]) == b""


def test_blocks_are_whole_lines_however_the_stream_comes() -> None:
    stream = io.BytesIO(CONTENT)
    found = list(blocks(lambda _: stream.read(37)))
    assert all(isinstance(block, bytes) and block.endswith(b"\n") for block in found)
    assert b"".join(block for block in found if isinstance(block, bytes)) == CONTENT


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("cut", [1, 8, 200])
def test_a_compressed_file_that_ends_too_early(tmp_path: Path, suffix: str, cut: int) -> None:
    path = write(tmp_path / f"x.ndjson{suffix}", CONTENT)
    path.write_bytes(path.read_bytes()[:-cut])
    assert refusal(path) == "broken_stream"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_file_that_is_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.ndjson{suffix}"
    path.write_bytes(CONTENT)
    assert refusal(path) == "broken_stream"


def test_compressed_files_of_several_members(tmp_path: Path) -> None:
    half = CONTENT.find(b"\n", len(CONTENT) // 2) - 10  # within a line
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(CONTENT[:half]) + gzip.compress(CONTENT[half:]))
    pack = zstandard.ZstdCompressor().compress
    (tmp_path / "a.ndjson.zst").write_bytes(pack(CONTENT[:half]) + pack(CONTENT[half:]))
    assert whole(tmp_path / "a.ndjson.gz") == CONTENT
    assert whole(tmp_path / "a.ndjson.zst") == CONTENT


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_an_empty_compressed_file_has_no_lines(tmp_path: Path, suffix: str) -> None:
    assert Read(write(tmp_path / f"x.ndjson{suffix}", b"")).lines == 0


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("filling", [b"\x00", b"\n"])
def test_a_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, filling: bytes
) -> None:
    monkeypatch.setattr(sources, "BOMB_BYTES", 1_000_000)
    assert refusal(write(tmp_path / f"x.ndjson{suffix}", filling * 6_000_000)) == "compression_bomb"


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [report()])
    content = path.read_bytes()
    for broken in (b"", content[:-9], content[:40], b"PAR1" + b"x" * 100 + b"PAR1"):
        path.write_bytes(broken)
        assert refusal(path) == "broken_parquet"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("x.ndjson", "x.ndjson.gz", "x.ndjson.zst", "x.parquet"):
        assert refusal(tmp_path / name) == "vanished"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user for a moment")
@pytest.mark.parametrize("name", ["x.ndjson", "x.ndjson.gz", "x.parquet"])
def test_a_file_one_may_not_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        assert refusal(path) == "not_readable"
    finally:
        os.seteuid(0)


def test_sections_of_a_file_give_the_same_reports_and_line_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    from et_pipeline.ingest import workers

    monkeypatch.setattr(workers, "SECTION_BYTES", 5_000)
    content = CONTENT.replace(b'"side":"BUY"', b'"side":"HOLD"', 7)
    path = write(tmp_path / "x.ndjson", content)
    [batches] = [list(b) for b in workers.read_files([(path, len(content))], 3)]
    expected = read(tmp_path, content)
    assert len(batches) > 10
    assert [row for batch in batches for row in batch.reports.to_dicts()] == expected.reports
    assert [row for batch in batches for row in batch.bad.iter_rows()] == expected.bad


@pytest.mark.parametrize("suffix", [".ndjson.gz", ".ndjson.zst", ".parquet"])
def test_packed_bytes_under_a_plain_name_are_told_as_a_whole(tmp_path: Path, suffix: str) -> None:
    packed = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        write_parquet(packed, [report()])
    else:
        write(packed, ndjson([report()]))
    plain = packed.rename(tmp_path / "x.ndjson")
    with pytest.raises(UnreadableError) as raised:
        Read(plain)
    assert raised.value.reason == "broken_stream"
    assert "has the name of a plain file" in raised.value.sentence
