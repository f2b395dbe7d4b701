"""The world that a soak runs in: simulated weeks of experiments, snapshots that arrive in time, and what goes wrong."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import yaml
import zstandard

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.generator import Scenario, write_snapshots
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.registry import Registry

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
FORMATS = ("ndjson", "ndjson.zst", "parquet", "ndjson.gz")
"""Taken in turn by the weeks; the first three therefore see three of them."""
FILES = 168
"""Snapshots a week: one an hour on average, more in the evening than at night."""
LATE, TWICE, HALF = 0.03, 0.03, 0.02
"""Share of snapshots that come a day late, come again under another name, come half first."""
BUS_AWAY = (timedelta(days=2, hours=6), timedelta(days=3))
REGISTRY_DOWN = (timedelta(days=3, hours=18), timedelta(days=4, hours=18))
_MOMENT = re.compile(rb'"emitted_at":"(20[0-9]{2}-[^"]+Z)"')


@dataclass(frozen=True)
class Kind:
    """One sort of experiment; each week has one of each."""

    uplift: dict[str, float]
    opportunities: int = 1_500
    split: float = 10.0
    mode: str = "shadow"


KINDS = {
    "gain": Kind({"edge_bps": 8.0}),
    "wide": Kind({"edge_bps": 2.0}, split=60.0),
    "near": Kind({"edge_bps": -8.0}, opportunities=2_000, split=50.0, mode="limited_live"),
    "thin": Kind({}, opportunities=60),
}


def plan_text(name: str, week: int) -> str:
    """The plan of one kind in one week."""
    kind = KINDS[name]
    plan = {
        "experiment_id": f"{name}-{week:03d}",
        "title": f"Soak: {name}, week {week}",
        "hypothesis": "A soak has a plan of every sort.",
        "owner": "soak",
        "mode": kind.mode,
        "control": {"strategy_id": f"strat.{name}.{week}", "config_version": "1"},
        "variant": {"strategy_id": f"strat.{name}.{week}", "config_version": "2"},
        "traffic_split_pct": kind.split,
        "planned_pairs": kind.opportunities,
        "starts_at": START + week * WEEK,
        "ends_at": START + (week + 1) * WEEK,
        "matching": (
            {"method": "nearest", "tolerance": "30s"}
            if kind.mode == "limited_live"
            else {"method": "correlation"}
        ),
        "metrics": [
            {"name": "edge_bps", "role": "primary", "equivalence_margin": 0.5},
            {"name": "fill_ratio", "role": "guardrail", "non_inferiority_margin": 0.05},
            {"name": "latency_ms", "role": "secondary"},
        ],
        "promotion": {"request_review": True, "approvers": 1},
    }
    return yaml.safe_dump(plan, sort_keys=False)


def scenario(name: str, week: int) -> Scenario:
    """What is true of that plan."""
    plan = parse_plan(plan_text(name, week).encode(), name)
    assert isinstance(plan, Plan), plan
    kind = KINDS[name]
    return Scenario(
        experiment_id=plan.experiment_id,
        mode=plan.mode,
        control_strategy_id=plan.control.strategy_id,
        variant_strategy_id=plan.variant.strategy_id,
        starts_at=plan.starts_at,
        ends_at=plan.ends_at,
        opportunities=kind.opportunities,
        markets=60,
        traffic_split_pct=plan.traffic_split_pct,
        uplift=kind.uplift,
        late_share=0.02,
        duplicate_share=0.02,
        superseded_share=0.02,
    )


def stage(folder: Path, week: int) -> None:
    """Writes a week's snapshots and when each may appear: not before the newest report in it."""
    format = FORMATS[week % len(FORMATS)]
    write_snapshots(
        [scenario(name, week) for name in KINDS],
        folder,
        seed=1_000 + week,
        files=FILES,
        format=format,
        broken=1,
        skipped=30,
        truth_path=folder / "truth.json",
    )
    due = {path.name: _newest(path).isoformat() for path in sorted(folder.glob(f"*.{format}"))}
    (folder / "due.json").write_text(json.dumps(due))


def _newest(path: Path) -> datetime:
    """The newest time in a snapshot, without the one that is broken by lying in the far future."""
    if path.suffix == ".parquet":
        column = pl.read_parquet(path, columns=["emitted_at"])["emitted_at"]
        text = str(column.filter(column.dt.year() < 2100).max())
        return datetime.fromisoformat(text).astimezone(UTC)
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    elif path.suffix == ".zst":
        content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return datetime.fromisoformat(max(_MOMENT.findall(content), default=b"2026-01-05T00:00:00Z").decode())


@dataclass(order=True)
class Delivery:
    """A file that appears in the bus at a moment."""

    at: datetime
    name: str
    content: bytes = field(compare=False)


class World:
    """A data folder in which time goes on.

    Attributes:
        data: The data folder.
        registry: Where drift signals go, when it is not down.
        truths: By week: the generator's truth, once all of its snapshots were staged.
    """

    def __init__(self, folder: Path, registry: Registry, *, seed: int = 7) -> None:
        self.data = folder / "data"
        self.registry = registry
        self.truths: dict[int, dict[str, object]] = {}
        self._staging = folder / "staging"
        self._bus, self._aside = self.data / "report_bus", self.data / "report_bus.away"
        self._random = random.Random(seed)
        self._waiting: list[Delivery] = []
        self._ends: dict[int, datetime] = {}
        for name in ("experiments", "report_bus"):
            (self.data / name).mkdir(parents=True)

    def move_on(self, now: datetime) -> None:
        """Everything that happens up to a moment: plans, snapshots, outages and their ends."""
        week, within = divmod(now - START, WEEK)
        if week not in self.truths:
            self._begin(week)
        self._outages(within)
        self._edit_plans(week, within)
        bus = self._bus if self._bus.exists() else self._aside
        arrived = [item for item in self._waiting if item.at <= now]
        self._waiting = [item for item in self._waiting if item.at > now]
        for item in sorted(arrived):
            draft = bus / f"{item.name}.tmp"
            draft.write_bytes(item.content)
            draft.replace(bus / item.name)

    def end_outages(self) -> None:
        """The bus and the registry are there again."""
        self._outages(timedelta(0))

    def complete_weeks(self, now: datetime) -> list[int]:
        """The weeks of which every snapshot has arrived."""
        return [week for week, end in self._ends.items() if end <= now]

    def _begin(self, week: int) -> None:
        folder = self._staging / str(week)
        # In a process of its own: what the generator needs of memory is not the pipeline's.
        subprocess.run([sys.executable, "-m", __spec__.name, str(folder), str(week)], check=True, cwd=PROJECT)
        new = list(self._deliveries(folder, week))
        self._waiting += new
        self._ends[week] = max(item.at for item in new)
        self.truths[week] = json.loads((folder / "truth.json").read_text())["experiments"]
        for path in folder.iterdir():
            path.unlink()
        for name in KINDS:
            self._write_plan(name, week, plan_text(name, week))

    def _deliveries(self, folder: Path, week: int) -> Iterator[Delivery]:
        for name, moment in json.loads((folder / "due.json").read_text()).items():
            content = (folder / name).read_bytes()
            at = datetime.fromisoformat(moment)
            chance = self._random.random()
            final = f"w{week:03d}-{name}"
            if chance < LATE:
                at += timedelta(days=1)
            elif chance < LATE + TWICE:
                yield Delivery(at + timedelta(hours=5), f"w{week:03d}-again-{name}", content)
            elif chance < LATE + TWICE + HALF:
                yield Delivery(at, final, content[: len(content) // 2])
                at += timedelta(hours=3)
            yield Delivery(at, final, content)

    def _outages(self, within: timedelta) -> None:
        away = BUS_AWAY[0] <= within < BUS_AWAY[1]
        if away and self._bus.exists():
            self._bus.rename(self._aside)
        elif not away and self._aside.exists():
            self._aside.rename(self._bus)
        self.registry.down = REGISTRY_DOWN[0] <= within < REGISTRY_DOWN[1]

    def _edit_plans(self, week: int, within: timedelta) -> None:
        """On Fridays a title changes, and somebody tries to change what is frozen, for half a day."""
        text = plan_text("gain", week)
        if within >= timedelta(days=4, hours=8):
            text = text.replace("Soak: gain", "Soak, renamed: gain")
        if timedelta(days=4, hours=10) <= within < timedelta(days=5):
            text = text.replace("planned_pairs: 1500", "planned_pairs: 9000")
        self._write_plan("gain", week, text)

    def _write_plan(self, name: str, week: int, text: str) -> None:
        path = self.data / "experiments" / f"{name}-{week:03d}.yaml"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    stage(Path(sys.argv[1]), int(sys.argv[2]))
