"""Snapshot files contain exactly what the truth says, and the same arguments give the same bytes."""

from __future__ import annotations

import dataclasses
import gzip
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import jsonschema
import msgspec
import polars as pl
import pytest
import zstandard

from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.contracts.report import Reason, json_schema
from et_pipeline.generator import (
    BROKEN_KINDS,
    EXPECTED_REASON,
    FORMATS,
    PARQUET_BROKEN_KINDS,
    PARQUET_EXPECTED_REASON,
    Scenario,
    write_snapshots,
)
from et_pipeline.generator.broken import IN_CONTENT, IN_TEXT
from et_pipeline.generator.lines import ENVELOPE

SHADOW = Scenario(
    experiment_id="line-shop-v4",
    opportunities=1_500,
    no_trade_share=0.1,
    superseded_share=0.05,
    newer_minor_share=0.05,
    late_share=0.05,
    duplicate_share=0.05,
)
LIVE = Scenario(
    experiment_id="split-live",
    mode="limited_live",
    variant_strategy_id="strat.line_shop.live",
    traffic_split_pct=60,
    opportunities=1_000,
)
SCENARIOS = (SHADOW, LIVE)


def _lines(path: Path) -> list[bytes]:
    """Lines of an NDJSON file of any compression; a missing last line end is no further line."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.removesuffix(b"\n").split(b"\n")


def _is_inserted(line: bytes) -> bool:
    return b'"metrics":{"edge_bps"' not in line or b'"report_id":"broken-' in line


@pytest.mark.parametrize("format", FORMATS)
def test_same_arguments_give_the_same_bytes(tmp_path: Path, format: str) -> None:
    for name in ("one", "two"):
        options = {"seed": 7, "files": 4, "format": format, "broken": 1, "skipped": 5}
        write_snapshots(SCENARIOS, tmp_path / name, truth_path=tmp_path / f"{name}.json", **options)
    write_snapshots(SCENARIOS, tmp_path / "other", **{**options, "seed": 8})
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [f"reports-{number:04d}.{format}" for number in range(4)]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_an_experiment_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    write_snapshots([SHADOW], tmp_path / "alone", seed=1)
    write_snapshots([LIVE, SHADOW], tmp_path / "both", seed=1)
    alone, both = (set(_lines(tmp_path / name / "reports-0000.ndjson")) for name in ("alone", "both"))
    assert alone < both


def test_ticks_add_up_to_one_run(tmp_path: Path) -> None:
    whole = write_snapshots(SCENARIOS, tmp_path / "whole", seed=7, files=6, broken=1)
    first = write_snapshots(SCENARIOS, tmp_path / "ticks", seed=7, files=6, broken=1, only=range(4))
    assert [file.written for file in first.files] == [True] * 4 + [False] * 2
    assert len(list((tmp_path / "ticks").iterdir())) == 4
    second = write_snapshots(SCENARIOS, tmp_path / "ticks", seed=7, files=6, broken=1, only=range(4, 6))
    assert first.experiments == second.experiments == whole.experiments
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "ticks" / path.name).read_bytes()


@pytest.mark.parametrize("format", ["ndjson", "ndjson.gz", "ndjson.zst"])
def test_lines_are_what_the_truth_says(tmp_path: Path, format: str) -> None:
    truth = write_snapshots(SCENARIOS, tmp_path, seed=3, files=5, format=format, broken=2, skipped=9)
    seen: dict[str, bytes] = {}
    arms: Counter[tuple[str, str]] = Counter()
    opportunities: dict[str, set[str]] = {"live": set(), "replay": set()}
    for file in truth.files:
        lines = _lines(tmp_path / file.name)
        assert len(lines) == file.lines
        assert file.lines == file.reports + file.duplicates + file.skipped + sum(file.broken.values())
        sound = [line for line in lines if not _is_inserted(line)]
        duplicates = conflicts = 0
        for line in sound:
            report = msgspec.json.decode(line)
            first = seen.setdefault(report["report_id"], line)
            if first is not line:
                duplicates += first == line
                conflicts += first != line
                continue
            assert set(ENVELOPE) < set(report)
            assert set(report["metrics"]) <= set(CATALOGUE)
            assert (report["schema_version"] == "1.1") == ("venue" in report)
            emitted = datetime.fromisoformat(report["emitted_at"])
            assert SHADOW.starts_at <= emitted < SHADOW.ends_at
            arms[report["strategy_id"], report["mode"]] += 1
            if report["correlation_id"].startswith("line-shop-v4"):
                opportunities[report["mode"]].add(report["correlation_id"])
        assert duplicates == file.duplicates
        assert conflicts == file.broken.get("conflict", 0)
        assert sum(b'"status":"ok"' in line for line in lines) == file.skipped
    assert len(seen) == truth.reports
    shadow, live = truth.experiments["line-shop-v4"], truth.experiments["split-live"]
    assert shadow.opportunities == shadow.control_reports == len(opportunities["live"]) == 1_500
    assert shadow.pairs == shadow.variant_reports == len(opportunities["replay"])
    assert opportunities["replay"] < opportunities["live"]
    assert shadow.no_trade == 1_500 - shadow.variant_reports > 0
    assert shadow.superseded > 0
    assert live.control_reports + live.variant_reports == 1_000
    assert live.pairs is None
    assert arms["strat.line_shop.live", "live"] == live.variant_reports
    assert sum(arms.values()) == truth.reports
    assert truth.skipped == 9
    assert truth.duplicates > 0
    assert sum(file.late for file in truth.files) > 0


def test_every_kind_of_broken_line_is_there(tmp_path: Path) -> None:
    truth = write_snapshots([LIVE], tmp_path, seed=3, files=3, broken=3)
    assert truth.broken == dict.fromkeys(sorted(BROKEN_KINDS), 3)
    lines = [line for file in truth.files for line in _lines(tmp_path / file.name)]
    ids = Counter(kind for line in lines for kind in BROKEN_KINDS if f'"broken-{kind}-0'.encode() in line)
    without_id = {"conflict", "not_an_object", "not_json", "blank_line"}
    assert ids == dict.fromkeys(set(BROKEN_KINDS) - without_id, 3) | {"not_an_object": 3}
    assert sum(not line for line in lines) == 3
    for file in truth.files:
        assert not (tmp_path / file.name).read_bytes().endswith(b"\n")
        assert b'"broken-truncated_last-' in _lines(tmp_path / file.name)[-1]


def test_sound_lines_keep_the_published_schema_and_broken_content_does_not(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    beyond_a_schema = {"conflict", "future", "impossible_timestamp"}
    kinds = [kind for kind in IN_CONTENT if kind not in beyond_a_schema]
    short = dataclasses.replace(SHADOW, opportunities=200)
    write_snapshots([short], tmp_path, seed=3, broken=dict.fromkeys(kinds, 1))
    reports = [json.loads(line) for line in _lines(tmp_path / "reports-0000.ndjson")]
    refused = [report["report_id"] for report in reports if not validator.is_valid(report)]
    assert sorted(refused) == sorted(f"broken-{kind}-0000" for kind in kinds)


def test_every_kind_has_its_quarantine_reason(tmp_path: Path) -> None:
    assert set(EXPECTED_REASON) == set(BROKEN_KINDS)
    assert set(PARQUET_EXPECTED_REASON) == set(PARQUET_BROKEN_KINDS)
    assert set(EXPECTED_REASON.values()) == set(get_args(Reason)) - {"line_too_long"}
    truth = write_snapshots([LIVE], tmp_path, seed=3, files=2, broken={"nan": 2, "nul": 1, "bad_kind": 3})
    assert truth.quarantine == {"bad_kind": 3, "malformed_json": 3}


@pytest.mark.parametrize("kind", [kind for kind in IN_TEXT if kind not in {"repeated_key", "nul_escape"}])
def test_broken_text_is_not_one_json_object(tmp_path: Path, kind: str) -> None:
    write_snapshots([LIVE], tmp_path, seed=3, broken={kind: 1})
    refused = 0
    for line in _lines(tmp_path / "reports-0000.ndjson"):
        try:
            refused += not isinstance(msgspec.json.decode(line, strict=True), dict)
        except msgspec.DecodeError:
            refused += 1
        except UnicodeDecodeError:
            refused += 1
    assert refused == 1


def test_what_lenient_parsers_let_through(tmp_path: Path) -> None:
    write_snapshots([LIVE], tmp_path, seed=3, broken={"repeated_key": 1, "nul_escape": 1, "conflict": 1})
    lines = _lines(tmp_path / "reports-0000.ndjson")
    repeated = [line for line in lines if line.count(b'"side":') == 2]
    assert len(repeated) == 1
    assert json.loads(repeated[0])["report_id"] == "broken-repeated_key-0000"
    assert sum(b"\\u0000" in line for line in lines) == 1
    ids = Counter(json.loads(line)["report_id"] for line in set(lines))
    assert [count for count in ids.values() if count > 1] == [2]


def test_parquet_holds_the_same_reports_as_ndjson(tmp_path: Path) -> None:
    write_snapshots([SHADOW], tmp_path, seed=3, format="ndjson")
    write_snapshots([SHADOW], tmp_path, seed=3, format="parquet")
    rows = pl.read_parquet(tmp_path / "reports-0000.parquet")
    assert rows.columns == [*ENVELOPE, "metrics"]
    for row, line in zip(rows.iter_rows(named=True), _lines(tmp_path / "reports-0000.ndjson"), strict=True):
        report = json.loads(line)
        report.pop("venue", None)
        row["metrics"] = {name: value for name, value in row["metrics"].items() if value is not None}
        assert row["emitted_at"] == datetime.fromisoformat(report.pop("emitted_at"))
        assert {**row, "emitted_at": None} == {**report, "emitted_at": None}


def test_parquet_rows_are_what_the_truth_says(tmp_path: Path) -> None:
    truth = write_snapshots(SCENARIOS, tmp_path, seed=3, files=3, format="parquet", broken=2, skipped=6)
    assert truth.broken == dict.fromkeys(sorted(PARQUET_BROKEN_KINDS), 2)
    for file in truth.files:
        rows = pl.read_parquet(tmp_path / file.name)
        assert len(rows) == file.lines
        assert len(rows.filter(pl.col("kind") != "OperationsReport")) == file.skipped
        broken = rows.filter(pl.col("report_id").str.starts_with("broken-"))
        assert len(broken) == sum(file.broken.values()) - file.broken.get("conflict", 0)
        sound = rows.filter(~pl.col("report_id").str.contains("^(broken|other)-"))
        assert len(sound) - file.broken.get("conflict", 0) == file.reports + file.duplicates


def test_files_split_the_window_and_only_late_reports_leave_it(tmp_path: Path) -> None:
    truth = write_snapshots(SCENARIOS, tmp_path, seed=3, files=5)
    last = SHADOW.starts_at
    for file in truth.files:
        times = [
            datetime.fromisoformat(json.loads(line)["emitted_at"]) for line in _lines(tmp_path / file.name)
        ]
        assert sum(moment < last for moment in times) == file.late
        last = max(times)
    assert truth.files[0].late == 0


def test_more_files_than_reports(tmp_path: Path) -> None:
    tiny = Scenario(experiment_id="tiny", opportunities=1, duplicate_share=0, late_share=0)
    truth = write_snapshots([tiny], tmp_path, seed=1, files=4)
    assert [file.lines for file in truth.files] == [1, 0, 1, 0]
    assert [(tmp_path / file.name).stat().st_size > 0 for file in truth.files] == [True, False, True, False]


def test_truth_as_json(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    truth = write_snapshots(SCENARIOS, tmp_path / "bus", seed=3, broken=1, truth_path=path)
    document = json.loads(path.read_text())
    assert document["totals"] == {
        "lines": truth.lines,
        "reports": truth.reports,
        "duplicates": truth.duplicates,
        "skipped": 0,
        "broken": truth.broken,
        "quarantine": truth.quarantine,
    }
    assert document["experiments"]["split-live"]["uplift"] == dict.fromkeys(LIVE.metrics, 0.0)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "format is 'csv'; allowed: ndjson, "),
        ({"files": 0}, "files is 0; allowed: at least 1"),
        ({"broken": {"odd": 1}}, "kind of broken line is 'odd'; allowed in ndjson: conflict, "),
        ({"broken": {"nul": 1}, "format": "parquet"}, "kind of broken line is 'nul'; allowed in parquet: "),
        ({"broken": {"nul": -1}}, "broken lines of kind nul are -1; allowed: 0 or more"),
        ({"broken": {"truncated_last": 2}}, "truncated_last is 2; allowed: "),
        ({"skipped": -1}, "skipped is -1; allowed: 0 or more"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        write_snapshots([LIVE], tmp_path, seed=1, **options)
    assert str(refusal.value).startswith(message)
    assert not list(tmp_path.iterdir())


def test_one_experiment_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"experiment ids are \['split-live', 'split-live'\]"):
        write_snapshots([LIVE, LIVE], tmp_path, seed=1)


def test_two_hundred_thousand_reports_in_seconds(tmp_path: Path) -> None:
    # the whole million takes well under a minute; a fifth of it has a fifth of that
    scenario = Scenario(
        experiment_id="big", opportunities=100_000, ends_at=SHADOW.starts_at + timedelta(days=60)
    )
    began = time.perf_counter()
    truth = write_snapshots([scenario], tmp_path, seed=1, files=4, broken=2)
    assert time.perf_counter() - began < 12
    assert truth.reports == 200_000
    assert scenario.starts_at.tzinfo is UTC


def test_broken_lines_need_a_report(tmp_path: Path) -> None:
    empty = Scenario(experiment_id="empty", mode="limited_live", traffic_split_pct=100, no_trade_share=1)
    truth = write_snapshots([empty], tmp_path, seed=1, files=2)
    assert truth.lines == 0
    assert truth.experiments["empty"].no_trade == empty.opportunities
    with pytest.raises(ValueError, match="made from reports"):
        write_snapshots([empty], tmp_path, seed=1, broken=1)
