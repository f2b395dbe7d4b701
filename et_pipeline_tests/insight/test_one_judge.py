"""Page, index, commands, messages, tables and evidence agree at every moment of a path, open blocks included."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from et_pipeline.cli import app
from et_pipeline.common import text
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.experiments.registration import register
from et_pipeline.governance.decide import admit, decide
from et_pipeline.governance.judgement import WORDS, Judgement, loads
from et_pipeline.ingest.ingest import ingest
from et_pipeline.insight.pages import write_pages
from et_pipeline.insight.publish import publish_analyst_database
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

START = datetime(2026, 10, 1, tzinfo=UTC)
PRIMARY = {"name": "edge_bps", "role": "primary", "equivalence_margin": 2.0}
GUARD = {"name": "fill_ratio", "role": "guardrail", "non_inferiority_margin": 0.02}


class Path:
    """One experiment that grows block by block."""

    def __init__(self, settings: Settings, **changes: Any) -> None:
        self.settings = settings
        self.draw = random.Random(5)
        self.live = changes.get("mode") == "limited_live"
        plan = {
            "experiment_id": "walk",
            "title": "Walked along",
            "hypothesis": "All surfaces agree.",
            "owner": "pod",
            "mode": "shadow",
            "control": {"strategy_id": "c"},
            "variant": {"strategy_id": "v"},
            "min_samples_for_decision": 100,
            "planned_pairs": 600,
            "starts_at": START,
            "ends_at": START + timedelta(hours=40),
            "metrics": [PRIMARY, GUARD, {"name": "latency_ms", "role": "secondary"}],
            **changes,
        }
        (settings.experiments_dir / "walk.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")

    def add(
        self, hour: float, *, pairs: int = 15, uplift: float = 0.0, fill: float = 1.0, lacking: int = 0
    ) -> None:
        """The reports of one hour; the variant leaves the edge out of the first `lacking` of them."""
        lines = []
        for number in range(pairs):
            at = START + timedelta(hours=hour, minutes=4 * number % 60, seconds=number)
            edge = self.draw.gauss(10, 8)
            for arm, mode, edge_bps, filled in (
                ("c", "live", edge, 1.0),
                ("v", "live" if self.live else "replay", edge + self.draw.gauss(uplift, 4), fill),
            ):
                metrics = {"edge_bps": round(edge_bps, 3), "fill_ratio": filled, "latency_ms": 20.0}
                if arm == "v" and number < lacking:
                    del metrics["edge_bps"]
                lines.append(
                    {
                        "schema_version": "1.0",
                        "report_id": f"{hour}-{number}-{arm}",
                        "kind": "OperationsReport",
                        "bot_id": "gov.backtester" if mode == "replay" else "strat.live",
                        "strategy_id": arm,
                        "mode": mode,
                        "correlation_id": f"{hour}-{number}" + (f"-{arm}" if self.live else ""),
                        "market_id": f"m{(int(hour) * 15 + number) % 30}",
                        "outcome_id": "YES",
                        "side": "BUY",
                        "emitted_at": at.isoformat(),
                        "config_version": "1",
                        "metrics": metrics,
                    }
                )
        name = self.settings.report_bus_dir / f"h{hour}.ndjson"
        name.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def tick(self, hour: float) -> None:
        """Every stage that a tick runs, one after the other."""
        now, names = START + timedelta(hours=hour), ["walk"]
        with open_warehouse(self.settings) as connection:
            ingest(connection, self.settings, now)
            register(connection, self.settings, now)
            admit(connection, self.settings, now, names)
            build_pairs(connection, names)
            build_cells(connection, names)
            build_evidence(connection, names)
            decide(connection, self.settings, now, names)
        publish_analyst_database(self.settings)
        write_pages(self.settings)

    def verdict(self) -> dict[str, Any]:
        return self.rows("SELECT * FROM verdicts")[0]

    def rows(self, query: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(self.settings.analyst_path), read_only=True) as connection:
            found = connection.execute(query)
            names = [column[0] for column in found.description or []]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def page(self, name: str = "walk") -> str:
        html = (self.settings.pages_dir / f"{name}.html").read_text(encoding="utf-8")
        shown = re.sub(r"<(style|svg)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
        return re.sub(r"\s+", " ", shown.replace("&#39;", "'"))


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def run(*arguments: str) -> str:
        monkeypatch.setenv("ET_DATA_DIR", str(settings.data_dir))
        monkeypatch.setenv("COLUMNS", "250")
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def sample_words(path: Path, point: dict[str, Any]) -> tuple[str, str]:
    """What the page and the index say of a sample: of pairs, or of the trades of both arms."""
    pairs, control, variant = point["n_pairs"], point["n_control"], point["n_variant"]
    if not path.rows("SELECT 1 FROM experiments WHERE matching = 'arms'"):
        assert control is None
        return f"Matched pairs {pairs:,} ", f"{pairs:,} pairs"
    assert pairs == min(control, variant)
    return f"trades {control:,} + {variant:,} ", f"{control:,} control and {variant:,} variant trades"


def agree(path: Path, command: Any) -> Judgement:
    """Holds every surface against the stored judgement, and that against the tables."""
    verdict, page, index = path.verdict(), path.page(), path.page("index")
    judged = loads(verdict["standing"])
    status = json.loads(command("status", "--json"))["experiments"][0]
    shown = json.loads(command("show", "walk", "--json"))
    printed = command("show", "walk")
    primary = judged.primary
    assert primary is not None
    until = "closed AND as_of <= coalesce(v.decided_as_of, as_of)" if verdict["verdict"] is None else (
        "as_of <= v.decided_as_of"
    )  # fmt: skip
    closed = path.rows(
        "SELECT metric, arg_max(p.n_pairs, as_of) AS n_pairs, max(as_of) AS as_of FROM interval_path AS p "
        f"JOIN verdicts AS v USING (experiment_id) WHERE {until} GROUP BY metric"
    )
    of_tables = {row["metric"]: row for row in closed}
    for standing in judged.standings:
        row = of_tables.get(standing.name)
        assert standing.point["n_pairs"] == (row and row["n_pairs"])
        assert standing.point["as_of"] == (row and row["as_of"])
    pairs = primary.point["n_pairs"] or 0
    assert verdict["n_pairs"] == status["n_pairs"] == shown["n_pairs"] == pairs
    if pairs:
        ends = text.interval(primary.point["ci_lower"], primary.point["ci_upper"], primary.unit)
        figure, said = sample_words(path, primary.point)
        assert figure in page
        assert f"Uplift of edge_bps {ends} the mean is" in page
        assert ends in index and said in index
        assert (status["ci_lower"], status["ci_upper"]) == (
            primary.point["ci_lower"],
            primary.point["ci_upper"],
        )
    shares = path.rows(
        "SELECT arg_max(observed_share, as_of) AS observed, arg_max(planned_share, as_of) AS planned, "
        "bool_or(alarm) AS alarm FROM sample_ratio HAVING count(*) > 0"
    )
    assert [
        condition[1:4] for condition in judged.conditions if condition.label == "Traffic split as planned"
    ] == [
        (
            f"{text.percent(row['observed'])} variant",
            f"{text.percent(row['planned'])} planned",
            "bad" if row["alarm"] else "good",
        )
        for row in shares
    ]
    out = path.rows("SELECT reason FROM outages WHERE until IS NULL") and verdict["state"] == "stalled"
    assert [condition.tone for condition in judged.conditions if condition.label == "Reports arrive"] == [
        "open" if out else "good"
    ]
    assert status["state"] == shown["state"] == verdict["state"]
    assert ("Paused: no reports" in page) == ("Paused: no reports" in index) == bool(out)
    for condition in judged.conditions:
        assert f"{condition.word} {condition.label} {condition.found} {condition.needed}" in page
        line = f"{WORDS[condition.tone]:14} {condition.label}: {condition.found} (needed: {condition.needed})"
        assert line in printed
    assert [one["says"] for one in shown["standings"]] == [standing.says for standing in judged.standings]
    for standing in judged.standings:
        assert standing.says in page
        assert set(standing.says.split()) <= set(printed.split()), (
            "a cell of the table may be broken into lines"
        )
    assert judged.next_step in page and judged.next_step in printed
    assert status["next_step"].startswith(judged.next_step)
    assert verdict["sentence"] in page
    for event in path.rows("SELECT * FROM events WHERE reason_code = 'EXPERIMENT_RESULT'"):
        payload = json.loads(event["payload"])["payload"]
        assert (event["message"], payload["evidence_hash"]) == (verdict["sentence"], verdict["evidence_hash"])
        for name, metric in json.loads(verdict["evidence"])["metrics"].items():
            standing = next(one for one in judged.standings if one.name == name)
            assert metric["n_pairs"] == standing.point["n_pairs"]
            assert metric.get("missing_pairs", 0) == pytest.approx(
                standing.missing_share * (metric["n_pairs"] + metric.get("missing_pairs", 0))
            )
    judging = [condition for condition in judged.conditions if condition.tone != "calm"]
    everything = all(condition.tone == "good" for condition in judging)
    if verdict["verdict"] in (None, "inconclusive"):
        assert not everything, "the checklist is all met, but there is no verdict"
    elif verdict["verdict"] in ("variant_better",):
        assert everything, "better, but the checklist is not all met"
    return judged


def walked(path: Path, moments: Sequence[int], **reports: Any) -> Iterator[int]:
    """Ticks at each of these hours, with the reports of all hours since the one before."""
    for before, moment in pairwise((0, *moments)):
        for hour in range(before, moment):
            path.add(hour, **reports)
        path.tick(moment)
        yield moment


WAYS = [(4.0, 1.0, "variant_better"), (0.0, 1.0, "equivalent"), (4.0, 0.9, None)]


@pytest.mark.parametrize(
    ("uplift", "fill", "ends", "moments"),
    [
        *((*way, (8, 24, 40)) for way in WAYS),
        *(pytest.param(*way, range(4, 41, 4), marks=pytest.mark.faults) for way in WAYS),
    ],
)
def test_every_surface_says_the_same_at_every_moment_of_a_path(
    settings: Settings, command: Any, uplift: float, fill: float, ends: str | None, moments: Sequence[int]
) -> None:
    path = Path(settings)
    seen = set()
    for _ in walked(path, moments, uplift=uplift, fill=fill):
        agree(path, command)
        seen.add(path.verdict()["verdict"])
    path.tick(60)
    agree(path, command)
    assert path.verdict()["verdict"] == (ends or "inconclusive")
    assert None in seen, "no moment without a verdict was walked through"


@pytest.mark.parametrize(
    ("split", "ends", "method", "moments"),
    [
        (50, "variant_better", "arms", (5, 20, 40)),
        (40, "inconclusive", "nearest", (5, 20, 40)),
        *(
            pytest.param(split, ends, method, range(5, 41, 5), marks=pytest.mark.faults)
            for split, ends in ((50, "variant_better"), (40, "inconclusive"))
            for method in ("arms", "nearest")
        ),
    ],
)
def test_every_surface_says_the_same_of_a_limited_live_experiment(
    settings: Settings, command: Any, split: int, ends: str, method: str, moments: Sequence[int]
) -> None:
    """The arms get the same number of opportunities: as planned at 50 %, not as planned at 40 %."""
    path = Path(
        replace(settings, mode="limited_live"),
        mode="limited_live",
        traffic_split_pct=split,
        matching={"method": method, "tolerance": "30s"},
    )
    reasons = []
    for _ in walked(path, moments, uplift=4.0):
        agree(path, command)
        reasons.append(path.verdict()["reason"])
    path.tick(60)
    judged = agree(path, command)
    assert path.verdict()["verdict"] == ends
    assert [one.tone for one in judged.conditions if one.label == "Traffic split as planned"] == [
        "good" if split == 50 else "bad"
    ]
    assert ("sample_ratio_alarm" in reasons) == (split == 40)
    assert "too_few_pairs" in reasons, "no moment without a verdict was walked through"


def test_every_surface_says_the_same_while_reports_are_out_and_after(
    settings: Settings, command: Any
) -> None:
    three_hours = 3 * 3_600_000_000  # and 40 are too short for a look of a plan
    path = Path(replace(settings, stall_after_us=three_hours), boundary="mixture")
    seen = []
    for before, hour in pairwise((0, 5, 10, 15, 20, 25, 40)):
        if hour not in (15, 20):
            for block in range(before, hour):
                path.add(block, uplift=2.0)
        path.tick(hour)
        agree(path, command)
        seen.append(path.verdict()["state"])
    assert seen[:5] == ["sampling", "sampling", "stalled", "stalled", "sampling"]
    assert (seen[-1], path.verdict()["verdict"]) == ("concluded", "variant_better")


def test_an_open_block_counts_nowhere(settings: Settings, command: Any) -> None:
    path = Path(settings)
    for hour in range(7):
        path.add(hour, uplift=5.0)
    path.tick(6.9)
    judged = agree(path, command)
    assert path.rows("SELECT n_pairs FROM intervals WHERE metric = 'edge_bps'") == [{"n_pairs": 105}]
    assert path.verdict()["n_pairs"] == 90
    assert judged.conditions[0][:4] == ("Enough pairs", "90", "at least 100", "open")


def test_values_that_go_missing_are_told_alike(settings: Settings, command: Any) -> None:
    path = Path(settings)
    for hour in range(12):
        path.add(hour, uplift=4.0, lacking=0 if hour < 3 else 4)
    path.tick(12)
    judged = agree(path, command)
    assert path.verdict()["reason"] == "values_missing"
    assert judged.primary is not None and judged.primary.says == "too many values are missing"
    assert "Nothing to do" not in judged.next_step
    assert "have no value" in command("show", "walk")


def test_a_guardrail_that_never_differs_is_within_its_margin(settings: Settings, command: Any) -> None:
    path = Path(settings, boundary="mixture")  # a day is too short for a look of a plan
    for hour in range(24):
        path.add(hour, uplift=4.0)
    path.tick(24)
    judged = agree(path, command)
    assert path.verdict()["verdict"] == "variant_better"
    assert {standing.name: standing.says for standing in judged.standings}[
        "fill_ratio"
    ] == "within its margin"


def test_an_arm_without_data_is_counted_anew_and_asks_for_something_to_do(
    settings: Settings, command: Any
) -> None:
    path = Path(settings, variant={"strategy_id": "v", "config_version": "9"})
    for hour, expected in ((0, 15), (1, 30), (2, 45)):
        path.add(hour)
        path.tick(hour + 1)
        (row,) = path.rows("SELECT count(*) AS n FROM unmatched WHERE arm = 'control'")
        assert row["n"] == expected
        assert re.search(rf"control \w+ {expected} ", path.page())
        assert "Nothing to do" not in json.loads(command("status", "--json"))["experiments"][0]["next_step"]
        assert "find no partner" in path.page()
