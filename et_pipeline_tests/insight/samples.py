"""A warehouse with the sample experiments: plans, cells and intervals through the real stages, pairs simulated."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import duckdb
import numpy as np
import polars as pl

from et_pipeline.contracts.messages import event_id
from et_pipeline.contracts.plan import content_hash
from et_pipeline.contracts.reason_codes import INSUFFICIENT_SAMPLES, LARGE_SPLIT_WARN, REASON_CODES, RESULT, STARTED
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.experiments.registration import register
from et_pipeline.governance.terms import Point, Rule, Terms
from et_pipeline.governance.verdict import assess
from et_pipeline.pairing.cells import build_cells
from et_pipeline.resources import audit
from et_pipeline.resources.frames import ArrowStream
from et_pipeline.resources.settings import Settings
from et_pipeline.resources.warehouse import open_warehouse

PLANS = Path(__file__).parents[2] / "data" / "experiments"
NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
START = datetime(2026, 10, 1)
SAMPLES = {"line-shop-v4": (3000, 4.0), "basket-rebalance-fast": (2500, -4.0), "quote-refresh-2s": (4000, 0.0),
           "late-news-filter": (90, 0.3)}
"""Pairs and true uplift of edge_bps; the fifth plan has no pairs: it waits for a sign-off."""
METRICS = {"edge_bps": 9.0, "slippage_bps": 2.0, "fill_ratio": 0.12, "latency_ms": 60.0, "toxicity_bps": 3.0}


def sample_settings(folder: Path) -> Settings:
    """Settings over a data folder that holds the sample plans."""
    copytree(PLANS, folder / "experiments")
    return Settings(data_dir=folder)


def simulated_pairs(experiment_id: str, n: int, uplift: float, seed: int, start: datetime, hours: int) -> pl.DataFrame:
    """Pairs whose uplift moves together within markets and within hours."""
    rng = np.random.default_rng(seed)
    hour, market = np.sort(rng.integers(0, hours, n)), rng.integers(0, 60, n)
    seconds = hour * 3600 + rng.integers(0, 3600, n)
    times = [start + timedelta(seconds=int(second)) for second in seconds]
    columns: dict[str, object] = {
        "experiment_id": [experiment_id] * n,
        "pair_time": times,
        "block": [time.replace(minute=0, second=0) for time in times],
        "market_id": [f"nba-{number:03d}" for number in market],
        "outcome_id": ["yes"] * n,
        "side": ["BUY"] * n,
        "correlation_id": [f"{experiment_id}-{number}" for number in range(n)],
        "control_report_id": [f"{experiment_id}-c{number}" for number in range(n)],
        "variant_report_id": [f"{experiment_id}-v{number}" for number in range(n)],
        "opportunity_key": np.arange(n, dtype=np.uint64),
        "candidates": np.ones(n, dtype=np.int32),
    }
    for metric, sd in METRICS.items():
        together = rng.normal(0, 0.25 * sd, 60)[market] + rng.normal(0, 0.2 * sd, hours)[hour]
        mean = uplift if metric == "edge_bps" else 0.02 * sd
        difference = mean + together + rng.normal(0, sd, n)
        base = {"fill_ratio": 0.7, "latency_ms": 180.0}.get(metric, 5.0)
        columns[f"{metric}_control"] = np.full(n, base)
        columns[f"{metric}_variant"] = base + difference
        columns[f"{metric}_uplift"] = difference
    return pl.DataFrame(columns)


def fill_samples(settings: Settings) -> None:
    """Fills the warehouse: better, worse, equal, too young, and one that waits for a sign-off."""
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        connection.execute("DELETE FROM reason_codes")
        connection.executemany("INSERT INTO reason_codes VALUES (?, ?, ?, ?)", [tuple(code) for code in REASON_CODES])
        for seed, (experiment_id, (n, uplift)) in enumerate(SAMPLES.items()):
            young = experiment_id == "late-news-filter"
            frame = simulated_pairs(
                experiment_id, n, uplift, seed, datetime(2026, 10, 30) if young else START, 48 if young else 740
            )
            stream = ArrowStream(frame)  # noqa: F841 - DuckDB scans it by its name
            connection.execute("INSERT INTO pairs BY NAME SELECT * FROM stream")
            connection.execute(
                "INSERT INTO unmatched SELECT experiment_id, CASE WHEN hash(correlation_id) % 20 = 0 THEN 'variant' "
                "ELSE 'control' END, CASE WHEN hash(correlation_id) % 20 = 0 THEN 'superseded' ELSE 'no_partner' END, "
                "'u' || control_report_id, pair_time, block, market_id, outcome_id, side, correlation_id, "
                "opportunity_key FROM pairs WHERE experiment_id = ? AND hash(correlation_id) % 10 = 0",
                [experiment_id],
            )
            connection.execute(
                "INSERT INTO stale_cells SELECT DISTINCT experiment_id, block, market_id FROM pairs "
                "WHERE experiment_id = ?",
                [experiment_id],
            )
        build_cells(connection, list(SAMPLES))
        connection.execute("INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM cells")
        build_evidence(connection, list(SAMPLES))
        for (experiment_id,) in connection.execute("SELECT experiment_id FROM experiments ORDER BY ALL").fetchall():
            _decide(connection, experiment_id)


def _terms(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> Terms:
    row = connection.execute(
        "SELECT experiment_id, plan_hash, min_samples_for_decision, alpha, alarm_alpha, g, ends_at "
        "FROM experiments WHERE experiment_id = ?",
        [experiment_id],
    ).fetchone()
    assert row is not None
    rules = connection.execute(
        "SELECT metric, role, non_inferiority_margin, equivalence_margin FROM experiment_metrics "
        "WHERE experiment_id = ?",
        [experiment_id],
    ).fetchall()
    return Terms(*row, tuple(Rule(*rule) for rule in rules))


def _decide(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> None:
    terms = _terms(connection, experiment_id)
    points = [
        Point(*row)
        for row in connection.execute(
            f"SELECT {', '.join(Point._fields)} FROM interval_path WHERE experiment_id = ? ORDER BY as_of, metric",
            [experiment_id],
        ).fetchall()
    ]
    found = assess(terms, points, ended=terms.ends_at < datetime(2026, 11, 2))
    waits = experiment_id == "wide-split-props"
    state = "awaiting_sign_off" if waits else "sampling"
    if found.verdict:
        state = "promotion_review" if found.verdict == "variant_better" else "concluded"
    primary = found.points.get(terms.primary.metric)
    connection.execute(
        f"INSERT INTO verdicts BY NAME SELECT * FROM (VALUES ({', '.join('?' * 15)})) AS v(experiment_id, state, verdict, "
        "reason, decided_as_of, n_pairs, effective_clusters, evidence_hash, plan_hash, sentence, missing, evidence, "
        "announced_verdict, announced_as_of, contradicted)",
        [
            experiment_id, state, found.verdict, found.reason, found.decided_as_of,
            primary.n_pairs if primary else 0, primary.effective_clusters if primary else 0.0,
            content_hash(found.evidence) if found.evidence else None, terms.plan_hash,
            "More than half of the traffic would go to the variant: a human has to agree first." if waits
            else found.sentence,
            json.dumps([item._asdict() for item in found.missing]),
            json.dumps(found.evidence) if found.evidence else None, found.verdict, found.decided_as_of, False,
        ],
    )  # fmt: skip
    codes = [STARTED, LARGE_SPLIT_WARN] if waits else [STARTED, RESULT if found.verdict else INSUFFICIENT_SAMPLES]
    steps = [(None, "registered"), ("registered", "awaiting_sign_off" if waits else "sampling")]
    if found.verdict:
        steps.append(("sampling", "concluded"))
    for before, after in steps:
        audit.append(connection, NOW, experiment_id, "transition", from_state=before, to_state=after,
                     detail={"trigger": "sample"})  # fmt: skip
    for number, code in enumerate(codes):
        identifier = event_id(experiment_id, code.code, terms.plan_hash, "")
        connection.execute(
            "INSERT INTO events SELECT ?, 'reason_code', ?, ?, ?, ?, ?, '{}', ?",
            [identifier, experiment_id, code.code, code.severity, f"{experiment_id}: {code.meaning}",
             NOW.replace(tzinfo=None), number],
        )  # fmt: skip
        connection.execute(
            "INSERT INTO deliveries BY NAME SELECT ? AS event_id, 'report_bus' AS destination, 1 AS attempt, "
            "'delivered' AS status, '' AS detail, ? AS attempted_at",
            [identifier, NOW.replace(tzinfo=None)],
        )
