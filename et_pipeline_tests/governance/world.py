"""A small world for governance tests: plans, interval paths written by hand, and people with real SSH keys."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import yaml

from et_pipeline.experiments.registration import register
from et_pipeline.governance.decide import DecideResult, decide
from et_pipeline.governance.sign_offs import Document, write_sign_off
from et_pipeline.settings import Settings

START = datetime(2026, 11, 1, tzinfo=UTC)


def plan(**changes: Any) -> dict[str, Any]:
    """A valid plan, with changes."""
    return {
        "experiment_id": "line-shop",
        "title": "Wider quotes",
        "hypothesis": "One tick wider raises net edge.",
        "owner": "olga",
        "mode": "shadow",
        "control": {"strategy_id": "strat.line_shop", "config_version": "3.2"},
        "variant": {"strategy_id": "strat.line_shop", "config_version": "4.0"},
        "planned_pairs": 4000,
        "starts_at": START,
        "ends_at": START + timedelta(days=10),
        "metrics": [
            {"name": "edge_bps", "role": "primary", "equivalence_margin": 2.0},
            {"name": "slippage_bps", "role": "guardrail", "non_inferiority_margin": 1.0},
        ],
        "promotion": {"request_review": True, "approvers": 1},
        **changes,
    }


@dataclass
class World:
    """One data folder, its warehouse, its people and its clock."""

    settings: Settings
    connection: duckdb.DuckDBPyConnection
    now: datetime = START + timedelta(hours=1)
    keys: dict[str, Path] = field(default_factory=dict)

    def write_plan(self, **changes: Any) -> None:
        document = plan(**changes)
        path = self.settings.experiments_dir / f"{document['experiment_id']}.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")

    def tick(self, hours: float = 0) -> DecideResult:
        self.now += timedelta(hours=hours)
        register(self.connection, self.settings, self.now)
        names = [
            row[0] for row in self.connection.execute("SELECT experiment_id FROM experiments").fetchall()
        ]
        return decide(self.connection, self.settings, self.now, names)

    def interval(
        self,
        hour: int,
        low: float,
        high: float,
        *,
        metric: str = "edge_bps",
        experiment_id: str = "line-shop",
        n_pairs: int = 500,
        clusters: float = 20.0,
        closed: bool = True,
        ready: bool = True,
        wider: float = 0.1,
    ) -> None:
        """One row of the interval path; the alarm's interval is `wider` on both sides."""
        as_of = (START + timedelta(hours=hour)).replace(tzinfo=None)
        row = {
            "experiment_id": experiment_id,
            "metric": metric,
            "role": "primary" if metric == "edge_bps" else "guardrail",
            "as_of": as_of,
            "n_pairs": n_pairs,
            "effective_clusters": clusters,
            "n_markets": 30,
            "n_blocks": hour,
            "mean_uplift": (low + high) / 2,
            "se": (high - low) / 6,
            "ci_lower": low,
            "ci_upper": high,
            "e_value": 42.0,
            "p_value": 0.02,
            "method": "two-way",
            "plan_hash": self.plan_hash(experiment_id),
            "alarm_ci_lower": low - wider,
            "alarm_ci_upper": high + wider,
            "autocorrelation": 0.1,
            "ready": ready,
            "closed": closed,
        }
        self.connection.execute(
            "DELETE FROM series_interval_path WHERE experiment_id = ? AND metric = ? AND as_of = ?",
            [experiment_id, metric, as_of],
        )
        self.connection.execute(
            f"INSERT INTO series_interval_path ({', '.join(row)}) VALUES ({', '.join('?' for _ in row)})",
            list(row.values()),
        )

    def better(self, hour: int = 5, experiment_id: str = "line-shop") -> None:
        """Intervals at one block end from which `variant_better` follows."""
        self.interval(hour, 0.5, 2.5, experiment_id=experiment_id)
        self.interval(hour, -0.5, 0.5, metric="slippage_bps", experiment_id=experiment_id)

    def plan_hash(self, experiment_id: str = "line-shop") -> str:
        row = self.connection.execute(
            "SELECT plan_hash FROM experiments WHERE experiment_id = ?", [experiment_id]
        ).fetchone()
        assert row is not None
        return row[0]

    def _known_plan_hash(self, experiment_id: str) -> str:
        row = self.connection.execute(
            "SELECT plan_hash FROM experiments WHERE experiment_id = ?", [experiment_id]
        ).fetchone()
        return "0" * 64 if row is None else row[0]

    def verdict(self, experiment_id: str = "line-shop") -> dict[str, Any]:
        result = self.connection.execute("SELECT * FROM verdicts WHERE experiment_id = ?", [experiment_id])
        names = [column[0] for column in result.description]
        rows = result.fetchall()
        assert len(rows) == 1
        return dict(zip(names, rows[0], strict=True))

    def state(self, experiment_id: str = "line-shop") -> str:
        return self.verdict(experiment_id)["state"]

    def codes(self) -> list[str]:
        rows = self.connection.execute(
            "SELECT coalesce(reason_code, kind) FROM events ORDER BY seq"
        ).fetchall()
        return [row[0] for row in rows]

    def refusals(self) -> dict[str, str]:
        return dict(self.connection.execute("SELECT path, refusal FROM sign_offs WHERE NOT valid").fetchall())

    def person(self, name: str, options: str = "", *, listed: bool = True) -> Path:
        """A person with a real key, listed in `allowed_signers` unless asked otherwise."""
        if name not in self.keys:
            folder = self.settings.data_dir / "keys"
            folder.mkdir(exist_ok=True)
            self.keys[name] = folder / name
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.keys[name])],
                check=True,
            )
        if listed:
            public = self.keys[name].with_suffix(".pub").read_text(encoding="utf-8").split()[:2]
            with self.settings.allowed_signers_path.open("a", encoding="utf-8") as file:
                file.write(" ".join(part for part in (name, options, *public) if part) + "\n")
        return self.keys[name]

    def document(self, signer: str, **changes: Any) -> Document:
        """A sign-off for the promotion as it was announced, with changes."""
        identifier = changes.get("experiment_id", "line-shop")
        known = {
            "experiment_id": identifier,
            "plan_hash": self._known_plan_hash(identifier),
            "evidence_hash": "0" * 64,
            "purpose": "promotion",
            "decision": "approve",
            "reason": "The evidence is sound.",
            "signer": signer,
            "signed_at": self.now,
        }
        row = self.connection.execute(
            "SELECT announced_evidence_hash FROM verdicts WHERE experiment_id = ?", [identifier]
        ).fetchone()
        if row is not None and row[0] is not None:
            known["evidence_hash"] = row[0]
        return Document.model_validate({**known, **changes})

    def sign(self, signer: str, *, key: str | None = None, **changes: Any) -> Path:
        """Signs with the person's key (or another's) and puts the file into the folder."""
        self.now += timedelta(seconds=1)
        return write_sign_off(self.settings, self.document(signer, **changes), self.keys[key or signer])
