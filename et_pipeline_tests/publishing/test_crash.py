"""Delivery killed with SIGKILL at every point: no message is lost or invented, and the same ids are sent again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from et_pipeline.publishing.delivery import deliver
from et_pipeline.publishing.outbox import counts
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

DIES = """
import contextlib, os, signal, sys
from et_pipeline.publishing import delivery, outbox
from et_pipeline.settings import Settings

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

@contextlib.contextmanager
def dies_before_commit(connection):
    connection.execute("BEGIN TRANSACTION")
    yield
    die()

where = sys.argv[1]
if where == "before sending":
    delivery._Round.send = die
elif where == "after sending, before recording":
    delivery.record = die
elif where == "while recording":
    outbox.transaction = dies_before_commit
elif where == "after recording":
    delivery._log = die
delivery.deliver(Settings.from_env())
"""


@pytest.mark.parametrize(
    ("where", "attempts"),
    [
        ("before sending", 1),
        ("after sending, before recording", 2),
        ("while recording", 2),
        ("after recording", 1),
    ],
)
def test_a_killed_delivery_loses_and_invents_nothing(
    registry, settings, put_events, signals, *, where, attempts
):
    ids = put_events(settings, signals(3))
    environment = {
        **os.environ,
        "ET_DATA_DIR": str(settings.data_dir),
        "ET_REGISTRY_URL": registry.url,
        "ET_REGISTRY_TOKEN": "secret-token",
    }
    killed = subprocess.run(
        [sys.executable, "-c", DIES, where], env=environment, capture_output=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    deliver(Settings.from_env(environment))

    assert sorted(registry.keys) == sorted(ids * attempts)
    bodies = {(headers["Idempotency-Key"], body) for _, headers, body in registry.requests}
    assert len(bodies) == 3  # the same key always carries the same bytes
    with open_warehouse(settings) as connection:
        assert counts(connection) == {"strategy_registry": {"delivered": 3}}
        assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (3,)
    assert deliver(Settings.from_env(environment)).outcomes == []


def test_a_process_killed_in_the_middle_of_a_request_sends_it_again(registry, settings, put_events, signals):
    (key,) = put_events(settings, signals(1))
    registry.script = [registry.answer(hang=30)]
    environment = {**os.environ, "ET_DATA_DIR": str(settings.data_dir), "ET_REGISTRY_URL": registry.url}
    process = subprocess.Popen([sys.executable, "-c", DIES, "never"], env=environment)
    registry.wait_for(1)
    process.kill()
    assert process.wait(timeout=20) == -signal.SIGKILL
    assert [o.status for o in deliver(Settings.from_env(environment)).outcomes] == ["delivered"]
    assert registry.keys == [key, key]
