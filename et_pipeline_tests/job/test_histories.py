"""Whatever happens to plans, reports, sign-offs and the bus, and in whatever order: every tick, page and command
answers.

A seeded walk does at random what people, backtesters and outages do: reports come in order, late or twice, replays run
again with other fills, plans are amended, spoilt, taken away and brought back, people sign, the bus is out, the clock
moves on. After every step there is a tick, and everything is asked for.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from et_pipeline.cli import app
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.experiments.failures import each, sentences
from et_pipeline.experiments.registered import registered_ids
from et_pipeline.experiments.registration import register
from et_pipeline.governance.decide import admit, decide
from et_pipeline.governance.sign_offs import Document, write_sign_off
from et_pipeline.ingest.ingest import ingest
from et_pipeline.insight.pages import publish_pages
from et_pipeline.insight.publish import publish_analyst_database
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs, sampled
from et_pipeline.settings import Settings
from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import open_warehouse

START = datetime(2026, 10, 1, tzinfo=UTC)
PLANS: dict[str, dict[str, Any]] = {
    "replayed": {"mode": "shadow", "time_block": "1h", "breakdowns": ["side", "hour", "label.desk"]},
    "picky": {"mode": "shadow", "matching": {"method": "correlation", "on_no_trade": "assume_zero"}},
    "live": {
        "mode": "limited_live",
        "traffic_split_pct": 50,
        "matching": {"method": "nearest", "tolerance": "5s"},
        "breakdowns": ["market"],
        "market_groups": {"some": "*1*", "more": "*"},
    },
    "wide": {"mode": "shadow", "traffic_split_pct": 80},
}
"""What is particular to each experiment of the walk."""


class Walk:
    """One history, told by its seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder, self.now, self.written, self.until = folder, START + timedelta(hours=6), 0, START
        self.told: list[str] = []
        self.opportunities: dict[str, list[tuple[int, datetime, float]]] = {name: [] for name in PLANS}
        for name in ("experiments", "report_bus", "sign_offs"):
            (folder / name).mkdir(parents=True)
        self.plans = {name: self._plan(name) for name in PLANS}
        for name in PLANS:
            self._write_plan(name)
        self.key = folder.with_name(f"{folder.name}-key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        public = self.key.with_suffix(".pub").read_text(encoding="utf-8")
        (folder / "allowed_signers").write_text(f"alice {public}", encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ET_DATA_DIR": str(self.folder),
            "ET_NOW": self.now.isoformat(),
            "ET_MODE": "limited_live",
        }

    def step(self) -> None:
        """One thing happens, chosen at random; reports come more often than anything else."""
        actions: list[Callable[[], None]] = [
            self.reports,
            self.reports,
            self.reports,
            self.replay_again,
            self.repeat_a_file,
            self.amend,
            self.spoil_or_mend_a_plan,
            self.sign,
            self.outage_or_its_end,
            self.time_passes,
        ]
        action = self.random.choice(actions)
        self.told.append(action.__name__)
        action()

    def reports(self) -> None:
        """Half a day of every experiment; a tenth of the variant's reports never comes."""
        uplift, begin = self.random.choice([-6.0, 0.0, 5.0]), self.until
        self.until += timedelta(hours=12)
        self.now = max(self.now, self.until + timedelta(minutes=self.random.choice([5, 90])))
        for name in PLANS:
            lines = []
            for _ in range(60):
                number = len(self.opportunities[name])
                moment = begin + timedelta(seconds=self.random.uniform(0, 12 * 3600))
                edge = self.random.gauss(10, 8)
                self.opportunities[name].append((number, moment, edge))
                lines.append(self._line(name, "control", number, moment, edge))
                if self.random.random() < 0.9:
                    lines.append(
                        self._line(name, "variant", number, moment, edge + self.random.gauss(uplift, 4))
                    )
            self.random.shuffle(lines)
            self._write(lines)

    def replay_again(self) -> None:
        """The backtester runs again with other fills, over the whole past or its end."""
        name = self.random.choice(["replayed", "picky", "wide"])
        uplift = self.random.choice([-4.0, 0.0, 4.0])
        past = self.opportunities[name][-self.random.choice([60, 10_000]) :]
        run = f"-{self.written}"
        self._write(
            [
                self._line(name, "variant", number, self.now, edge + self.random.gauss(uplift, 6), run=run)
                for number, _, edge in past
            ]
        )

    def repeat_a_file(self) -> None:
        """The same file under another name, or grown by a line that is no report."""
        files = sorted(self._bus.glob("*.ndjson"))
        if files:
            file = self.random.choice(files)
            if self.random.random() < 0.5:
                shutil.copyfile(file, file.with_name(f"again-{self.written}-{file.name}"))
            else:
                with file.open("a", encoding="utf-8") as grown:
                    grown.write("{}\n")
            self.written += 1

    def amend(self) -> None:
        """A change of one key, allowed or not: a refused one leaves the old plan in force."""
        name = self.random.choice(list(PLANS))
        plan = self.plans[name]
        key = self.random.choice(["title", "owner", "ends_at", "traffic_split_pct", "alpha"])
        plan[key] = {
            "title": f"Title {self.written}",
            "owner": self.random.choice(["desk", "alice"]),
            "ends_at": START + timedelta(hours=self.random.choice([24, 60, 24 * 20])),
            "traffic_split_pct": self.random.choice([5, 10, 40, 60]),
            "alpha": 0.1,
        }[key]
        self._write_plan(name)

    def spoil_or_mend_a_plan(self) -> None:
        """A plan file goes away, is no YAML any more, or is what it was when it was registered."""
        name = self.random.choice(list(PLANS))
        path = self.folder / "experiments" / f"{name}.yaml"
        what = self.random.choice(["remove", "spoil", "mend"])
        if what == "remove":
            path.unlink(missing_ok=True)
        elif what == "spoil":
            path.write_text("experiment_id: [", encoding="utf-8")
        else:
            self.plans[name] = self._plan(name)
            self._write_plan(name)

    def sign(self) -> None:
        """Alice answers whatever waits for an answer, or what does not."""
        name = self.random.choice(list(PLANS))
        row: tuple[Any, ...] | None = None
        if (self.folder / "published" / "experiments.duckdb").exists():
            with duckdb.connect(
                str(self.folder / "published/experiments.duckdb"), read_only=True
            ) as connection:
                row = connection.execute(
                    "SELECT plan_hash, announced_evidence_hash FROM verdicts WHERE experiment_id = ?", [name]
                ).fetchone()
        plan_hash, evidence_hash = row or ("0" * 64, None)
        document = Document(
            experiment_id=name,
            plan_hash=plan_hash,
            evidence_hash=evidence_hash or "0" * 64,
            purpose="promotion" if evidence_hash else "split",
            decision=self.random.choice(["approve", "decline"]),
            reason="Seen.",
            signer="alice",
            signed_at=self.now,
        )
        self.now += timedelta(seconds=1)
        write_sign_off(Settings.from_env(self.environment), document, self.key)

    def outage_or_its_end(self) -> None:
        """The folder of reports is away, or there again."""
        there, away = self.folder / "report_bus", self.folder / "away"
        if self.bus_is_there:
            there.rename(away)
        else:
            away.rename(there)

    def time_passes(self) -> None:
        """Hours or weeks, beyond `ends_at` too."""
        self.now += timedelta(hours=self.random.choice([1, 30, 24 * 12]))

    def tick(self) -> None:
        """Every stage of a tick, as its Dagster job runs them one after the other."""
        settings = Settings.from_env(self.environment)
        now = settings.now()
        with open_warehouse(settings) as connection:
            ingest(connection, settings, now)
            register(connection, settings, now)
            names = registered_ids(connection)
            each(connection, now, "sign_offs", names, lambda some: admit(connection, settings, now, some))
            each(
                connection,
                now,
                "pairing",
                names,
                lambda some: build_pairs(connection, sampled(connection, some)),
            )
            each(connection, now, "cells", names, lambda some: build_cells(connection, some))
            each(connection, now, "evidence", names, lambda some: build_evidence(connection, some))
            each(connection, now, "decision", names, lambda some: decide(connection, settings, now, some))
        publish_analyst_database(settings)
        publish_pages(settings)
        with open_warehouse(settings) as connection:
            assert sentences(connection) == [], self.told
            assert audit.verify(connection, []) is None
        pages = settings.pages_dir
        for name in names:
            assert "could not be drawn" not in (pages / f"{name}.html").read_text(encoding="utf-8")

    def ask(self, *, rebuild: bool) -> None:
        """Every command that only looks."""
        known = [row["experiment_id"] for row in json.loads(self._et("status", "--json"))["experiments"]]
        assert sorted(known) == sorted(PLANS)
        assert all(name in self._et("status") for name in known)
        for name in known:
            assert self._et("show", name).startswith(name)
            assert json.loads(self._et("show", name, "--json"))["next_step"]
        self._et("validate", str(self.folder / "experiments"), allowed=(0, 1))
        self._et("audit", "verify")
        if rebuild:
            self._et("rebuild", "--check")

    def _et(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
        done = CliRunner().invoke(app, list(arguments), env=self.environment, catch_exceptions=False)
        assert done.exit_code in allowed, (arguments, self.told, done.output)
        return done.stdout

    @property
    def bus_is_there(self) -> bool:
        return (self.folder / "report_bus").exists()

    @property
    def _bus(self) -> Path:
        return self.folder / ("report_bus" if self.bus_is_there else "away")

    def _write(self, lines: list[str]) -> None:
        self.written += 1
        (self._bus / f"{self.written:04}.ndjson").write_text("".join(lines), encoding="utf-8")

    def _line(self, name: str, arm: str, number: int, at: datetime, edge: float, *, run: str = "") -> str:
        live = arm == "control" or PLANS[name]["mode"] == "limited_live"
        return (
            json.dumps(
                {
                    "schema_version": "1.0",
                    "report_id": f"{name}-{number}-{arm}{run}",
                    "kind": "OperationsReport",
                    "bot_id": "strat.live" if live else "gov.backtester",
                    "strategy_id": f"strat.{name}.{arm}",
                    "mode": "live" if live else "replay",
                    "correlation_id": f"{name}-{number}" + (arm if PLANS[name]["mode"] != "shadow" else ""),
                    "market_id": f"market-{number % 25}",
                    "outcome_id": "YES",
                    "side": "BUY",
                    "emitted_at": (at + timedelta(seconds=arm == "variant")).isoformat(),
                    "config_version": "1",
                    "metrics": {"edge_bps": round(edge, 3), "slippage_bps": round(edge / 10, 3)},
                }
            )
            + "\n"
        )

    def _plan(self, name: str) -> dict[str, Any]:
        return {
            "experiment_id": name,
            "title": "A walk",
            "hypothesis": "It goes on.",
            "owner": "desk",
            "control": {"strategy_id": f"strat.{name}.control"},
            "variant": {"strategy_id": f"strat.{name}.variant"},
            "planned_pairs": 1000,
            "starts_at": START,
            "ends_at": START + timedelta(days=10),
            "metrics": [
                {"name": "edge_bps", "role": "primary", "equivalence_margin": 1.5},
                {"name": "slippage_bps", "role": "guardrail", "non_inferiority_margin": 1.0},
            ],
            "promotion": {"request_review": True, "approvers": 1},
            **PLANS[name],
        }

    def _write_plan(self, name: str) -> None:
        text = yaml.safe_dump(self.plans[name])
        (self.folder / "experiments" / f"{name}.yaml").write_text(text, encoding="utf-8")


def walk(folder: Path, seed: int, steps: int) -> None:
    """A history of so many steps, with everything asked for after each, and a rebuild at its end."""
    history = Walk(folder / "data", seed)
    history.reports()
    history.tick()
    for number in range(steps):
        history.step()
        if number == steps - 1 and not history.bus_is_there:
            history.outage_or_its_end()  # nothing can be rebuilt from reports that nobody can read
        history.tick()
        history.ask(rebuild=number == steps - 1)


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(0, 4), *(pytest.param(seed, 40, marks=pytest.mark.faults) for seed in (0, 1, *range(100, 116)))],
)
def test_every_tick_page_and_command_answers(tmp_path: Path, seed: int, steps: int) -> None:
    walk(tmp_path, seed, steps)
