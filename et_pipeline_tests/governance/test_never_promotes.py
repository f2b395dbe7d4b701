"""Over random histories: only valid sign-offs lead to `signed_off`, and no message asks for anything.

The machine writes plans and changes them, lets reports say anything, breaks and mends the bus, ends the process
in the middle of a look, throws forged and foreign files into the folders, and signs validly or not. It knows by
itself which experiments humans validly signed off, and compares after each look.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from et_pipeline.contracts.messages import DriftSignal, Kind
from et_pipeline.contracts.reason_codes import REASON_CODES
from et_pipeline.governance.decide import decide
from et_pipeline.governance.lifecycle import TRANSITIONS, states
from et_pipeline.governance.sign_offs import split_evidence
from et_pipeline.publishing.routes import ROUTES
from et_pipeline.settings import Settings
from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.governance.world import World
from et_pipeline_tests.migrated import put_warehouse

NAMES = ("alpha", "beta")
REPORT_FIELDS = {
    *("schema_version", "report_id", "kind", "bot_id", "strategy_id", "mode", "correlation_id", "market_id"),
    *("outcome_id", "side", "emitted_at", "config_version", "metrics", "reason_code", "severity", "message"),
    *("experiment_id", "plan_hash", "payload"),
}
REVIEW_FIELDS = {
    *("request_id", "kind", "bot_id", "experiment_id", "plan_hash", "evidence_hash", "approvers"),
    *("addressed_to", "message", "emitted_at", "registered_in_hindsight", "already_there"),
}
SIGNAL_FIELDS = {*DriftSignal._fields, "message"}
CODE_PAYLOADS = {
    "EXPERIMENT_STARTED": {"plan", "plan_hash", "audit"},
    "EXPERIMENT_RESULT": {
        *("verdict", "reason", "evidence", "evidence_hash", "promotion_review_requested", "replay_fidelity"),
        "audit",
    },
    "EXPERIMENT_INSUFFICIENT_SAMPLES": {
        *("period", "n_pairs", "min_samples_for_decision", "effective_clusters", "min_effective_clusters"),
        *("missing", "expected_further_pairs", "audit"),
    },
    "EXPERIMENT_LARGE_SPLIT_WARN": {"traffic_split_pct", "evidence_hash", "waits_for", "audit"},
    "EXPERIMENT_STALLED": {"source", "since", "reason", "audit"},
}
"""Everything that a message may say. Nothing in it names a stage, an order or a trade to be changed."""


class KilledError(Exception):
    """The process ended here."""


class Dying:
    """A connection whose process ends after so many statements."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, statements: int) -> None:
        self._connection = connection
        self._left = statements

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise KilledError

    def execute(self, query: str, *rest: Any) -> Any:
        if query != "ROLLBACK":
            self._step()
        return self._connection.execute(query, *rest)

    def executemany(self, query: str, *rest: Any) -> Any:
        self._step()
        return self._connection.executemany(query, *rest)


def killed_look(world: World, experiments: tuple[str, ...], statements: int) -> bool:
    """A look whose process ends after so many statements; says whether it got that far."""
    dying = Dying(world.connection, statements)
    try:
        decide(dying, world.settings, world.now, experiments)  # type: ignore[arg-type]
    except KilledError:
        with suppress(duckdb.TransactionException):
            world.connection.execute("ROLLBACK")
        return True
    return False


class History(RuleBasedStateMachine):
    """Anything may happen, in any order."""

    keys: dict[str, Path]

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="et-history-")))
        for name in ("experiments", "report_bus", "sign_offs"):
            (folder / name).mkdir()
        known = Settings(data_dir=folder)
        put_warehouse(known)
        connection = self._stack.enter_context(open_warehouse(known))
        self.world = World(known, connection, keys=dict(self.keys))
        self.approvals: dict[str, set[str]] = {}
        self.told: list[tuple[Any, ...]] = []
        self.hour = 1

    @initialize(approvers=st.sampled_from([1, 2]), split=st.sampled_from([10, 80]), review=st.booleans())
    def people_and_plans(self, approvers: int, split: int, review: bool) -> None:
        for name in ("anna", "bert", "olga"):
            self.world.person(name)
        self.approvers = approvers
        for number, name in enumerate(NAMES):
            self.plan(name, split=split if number else 10)
        self.world.tick()
        if review:
            self.a_clear_win("alpha")
            self.tick(1)

    @rule(
        name=st.sampled_from(NAMES),
        split=st.sampled_from([10, 50, 80]),
        days=st.sampled_from([3, 10]),
        alpha=st.sampled_from([0.05, 0.1]),
    )
    def plan(self, name: str, split: int = 10, days: int = 10, alpha: float = 0.05) -> None:
        self.world.write_plan(
            experiment_id=name,
            variant={"strategy_id": f"strat.{name}"},
            traffic_split_pct=split,
            alpha=alpha,
            ends_at=self.world.now.replace(month=11, day=1 + days, hour=0, minute=0, second=0, microsecond=0),
            promotion={"request_review": True, "approvers": self.approvers},
        )

    @rule(
        name=st.sampled_from(NAMES),
        edge=st.floats(-3, 3),
        slippage=st.floats(-3, 3),
        back=st.integers(0, 3),
        closed=st.booleans(),
        n_pairs=st.sampled_from([50, 500]),
    )
    def reports(self, name: str, edge: float, slippage: float, back: int, closed: bool, n_pairs: int) -> None:
        if not self._registered(name):
            return
        self.hour += 1
        at = max(1, self.hour - back)
        for metric, mean in (("edge_bps", edge), ("slippage_bps", slippage)):
            self.world.interval(
                at, mean - 1, mean + 1, metric=metric, experiment_id=name, closed=closed, n_pairs=n_pairs
            )

    @rule(name=st.sampled_from(NAMES))
    def a_clear_win(self, name: str) -> None:
        if self._registered(name):
            self.hour += 1
            self.world.better(self.hour, name)

    @rule(hours=st.sampled_from([0, 1, 30]))
    def tick(self, hours: float) -> None:
        self.world.tick(hours)
        self._compare()

    @rule(statements=st.integers(1, 60))
    def a_tick_that_is_killed(self, statements: int) -> None:
        killed_look(self.world, NAMES, statements)
        self._compare()

    @rule()
    def the_bus_breaks_or_mends(self) -> None:
        folder = self.world.settings.report_bus_dir
        if folder.exists():
            shutil.rmtree(folder)
        else:
            folder.mkdir()

    @rule(name=st.sampled_from(NAMES), signer=st.sampled_from(["anna", "bert"]))
    def a_valid_approval(self, name: str, signer: str) -> None:
        row = self._verdict(name)
        if row is not None and row["state"] == "promotion_review":
            self._sign(signer, name, row["announced_evidence_hash"])
            self.approvals.setdefault(name, set()).add(signer)

    @rule(name=st.sampled_from(NAMES))
    def a_valid_split_approval(self, name: str) -> None:
        if self._registered(name):
            self._sign("anna", name, split_evidence(name, 80), purpose="split")

    @rule(
        name=st.sampled_from(NAMES),
        kind=st.sampled_from(
            ["owner", "stranger", "other plan", "other evidence", "split", "altered", "junk"]
        ),
        looked_at=st.booleans(),
    )
    def an_invalid_approval(self, name: str, kind: str, looked_at: bool = False) -> None:
        row = self._verdict(name)
        if row is None:
            return
        evidence = row["announced_evidence_hash"] or "2" * 64
        if kind == "owner":
            self._sign("olga", name, evidence)
        elif kind == "stranger":
            self._sign("anna", name, evidence, key="eve")
        elif kind == "other plan":
            self._sign("anna", name, evidence, plan_hash="3" * 64)
        elif kind == "other evidence":
            self._sign("anna", name, "4" * 64)
        elif kind == "split":
            self._sign("anna", name, evidence, purpose="split")
        elif kind == "altered":
            path = self._sign("anna", name, "5" * 64)
            path.write_text(path.read_text(encoding="utf-8").replace("5" * 64, evidence), encoding="utf-8")
        else:
            (self.world.settings.sign_offs_dir / f"junk-{self.hour}.json").write_bytes(b'{"approve": true}')
        if looked_at:
            self.tick(0)

    @rule(folder=st.sampled_from(["experiments", "sign_offs", "published", "outbox", "."]))
    def a_file_that_claims_it(self, folder: str) -> None:
        claim = json.dumps({"experiment_id": "alpha", "state": "signed_off", "to_state": "signed_off"})
        path = self.world.settings.data_dir / folder / "claim.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(claim, encoding="utf-8")
        path.with_suffix(".yaml").write_text(claim, encoding="utf-8")

    @invariant()
    def messages_only_inform(self) -> None:
        for kind, code, text in self._rows("SELECT kind, reason_code, payload FROM events"):
            payload = json.loads(text)
            if kind == "reason_code":
                assert set(payload) == REPORT_FIELDS
                assert payload["kind"] == "OperationsReport"
                assert set(payload["payload"]) == CODE_PAYLOADS[code]
            elif kind == "promotion_review":
                assert set(payload) == REVIEW_FIELDS
                assert payload["addressed_to"] == "human reviewers"
            else:
                assert kind == "drift_signal"
                assert set(payload) == SIGNAL_FIELDS

    @invariant()
    def nothing_is_told_twice_or_taken_back(self) -> None:
        told = self._rows("SELECT seq, event_id, payload FROM events ORDER BY seq")
        assert told[: len(self.told)] == self.told
        assert [row[0] for row in told] == list(range(1, len(told) + 1))
        assert len({row[1] for row in told}) == len(told)
        self.told = told

    @invariant()
    def the_log_is_intact_and_legal(self) -> None:
        noted = audit.read_anchor(self.world.settings)
        anchors = audit.event_anchors(self.world.connection) + ([noted] if noted else [])
        assert audit.verify(self.world.connection, anchors) is None
        allowed = {(item.from_state, item.to_state) for item in TRANSITIONS}
        last: dict[str, str] = {}
        for name, before, after in self._rows(
            "SELECT experiment_id, from_state, to_state FROM audit_log WHERE action = 'transition' ORDER BY seq"
        ):
            assert last.get(name) == before
            assert (before, after) in allowed
            last[name] = after

    def teardown(self) -> None:
        self._stack.close()

    def _compare(self) -> None:
        for name, state in states(self.world.connection).items():
            if state == "signed_off":
                assert len(self.approvals.get(name, ())) >= self.approvers

    def _sign(self, signer: str, name: str, evidence: str, **changes: Any) -> Path:
        return self.world.sign(
            signer,
            **{
                "experiment_id": name,
                "plan_hash": self.world.plan_hash(name),
                "evidence_hash": evidence,
                **changes,
            },
        )

    def _registered(self, name: str) -> bool:
        return bool(self._rows("SELECT 1 FROM experiments WHERE experiment_id = ?", [name]))

    def _verdict(self, name: str) -> dict[str, Any] | None:
        known = self._rows("SELECT 1 FROM verdicts WHERE experiment_id = ?", [name])
        return self.world.verdict(name) if known else None

    def _rows(self, query: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        return self.world.connection.execute(query, parameters or []).fetchall()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real keys, made once."""
    folder = tmp_path_factory.mktemp("people")
    maker = World(Settings(data_dir=folder), None)  # type: ignore[arg-type]
    for name in ("anna", "bert", "olga", "eve"):
        maker.person(name)
    return maker.keys


def run(machine: Callable[[], History], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_only_valid_sign_offs_lead_to_signed_off(keys):
    machine = type("HistoryWithKeys", (History,), {"keys": keys})
    run(machine, examples=10, steps=25)


def test_the_history_can_reach_signed_off(keys):
    """So that the test above says something: the same steps, with enough valid approvals, do arrive there."""
    machine = type("HistoryWithKeys", (History,), {"keys": keys})()
    machine.people_and_plans(approvers=2, split=10, review=False)
    machine.tick(1)
    machine.a_clear_win("alpha")
    machine.tick(1)
    for kind in ("owner", "stranger", "other plan", "other evidence", "split", "altered", "junk"):
        machine.an_invalid_approval("alpha", kind)
    machine.tick(1)
    assert states(machine.world.connection)["alpha"] == "promotion_review"
    machine.a_valid_approval("alpha", "anna")
    machine.a_valid_approval("alpha", "anna")
    machine.tick(1)
    assert states(machine.world.connection)["alpha"] == "promotion_review"
    machine.a_valid_approval("alpha", "bert")
    machine.tick(1)
    assert states(machine.world.connection)["alpha"] == "signed_off"
    machine.messages_only_inform()
    machine.teardown()


def test_every_kind_of_message_is_held_to_its_fields():
    kinds: tuple[Kind, ...] = ("reason_code", "promotion_review", "drift_signal")
    assert set(ROUTES) == set(kinds), "a new kind of message needs its fields listed here"
    assert set(CODE_PAYLOADS) == {code.code for code in REASON_CODES}


def test_a_look_killed_anywhere_is_as_if_it_never_was(world: World):
    """After every single statement the process may end: the next look tells the same, once."""
    world.write_plan()
    world.person("anna")
    world.tick()
    world.better()
    world.interval(6, -3, -1)
    world.now += timedelta(hours=7)

    def tables() -> list[object]:
        return [
            world.connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
            for table in ("audit_log", "events", "verdicts", "drift_signals", "sign_offs", "outages")
        ]

    before = tables()
    statements = 1
    while killed_look(world, ("line-shop",), statements) and tables() == before:
        statements += 1
    assert statements > 20
    after = tables()
    assert decide(world.connection, world.settings, world.now, ["line-shop"]).events == []
    assert tables()[:2] == after[:2]
    assert world.state() == "promotion_review"
