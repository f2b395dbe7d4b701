"""The StrategyRegistry over HTTP, with a real server whose failures the tests choose."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from et_pipeline.publishing.delivery import Policy, deliver
from et_pipeline.publishing.destinations import Message, RefusedError, UnavailableError
from et_pipeline.publishing.http_registry import HttpRegistry
from et_pipeline.publishing.outbox import dead_letters
from et_pipeline.settings import RegistrySettings, Secret, Settings
from et_pipeline.warehouse.connection import open_warehouse

TOKEN = "tok-3n_very.secret~value+of/this=="
MESSAGE = Message("ab" * 16, "drift_signal", "exp-0", None, '{"metric": "edge_bps", "message": "½"}'.encode())
FAST = Policy(tries=4, first_wait_s=0.01, longest_wait_s=0.05, first_pause_s=0, longest_pause_s=0)


def send(registry: Any, timeout_s: float = 5.0, **settings: Any) -> str:
    return send_to(registry.url, timeout_s, **settings)


def send_to(url: str, timeout_s: float = 5.0, **settings: Any) -> str:
    chosen = RegistrySettings(url, Secret(TOKEN), timeout_s=timeout_s, **settings)
    with HttpRegistry(chosen).open() as deliver_one:
        return deliver_one(MESSAGE)


def test_a_signal_is_posted_as_json_with_key_and_token(registry):
    assert send(registry) == "HTTP 200"
    ((path, headers, body),) = registry.requests
    assert path == "/v1/drift-signals"
    assert body == MESSAGE.body
    assert headers["Idempotency-Key"] == MESSAGE.event_id
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/json; charset=utf-8"


def test_without_a_token_no_credentials_are_sent_not_even_those_of_a_netrc(registry, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with HttpRegistry(RegistrySettings(registry.url)).open() as deliver_one:
        deliver_one(MESSAGE)
    assert "Authorization" not in registry.requests[0][1]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_is_delivered(registry, status):
    registry.script = [registry.answer(status, body=b"" if status == 204 else b"{}")]
    assert send(registry) == f"HTTP {status}"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 451])
def test_every_other_4xx_is_final_and_says_what_the_registry_said(registry, status):
    registry.script = [registry.answer(status, body=b'{"error":\n "no such\x00 field"}')]
    with pytest.raises(RefusedError, match=f'^HTTP {status} from localhost:.*"no such� field"'):
        send(registry)


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504])
def test_busy_and_broken_registries_are_asked_again(registry, status):
    registry.script = [registry.answer(status)]
    with pytest.raises(UnavailableError, match=f"^HTTP {status} from localhost") as caught:
        send(registry)
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), (" 0 ", 0), ("999999999", 86_400), ("soon", None), ("-5", None), ("", None), ("1.5", None)],
)
def test_retry_after_in_seconds(registry, text, seconds):
    registry.script = [registry.answer(429, {"Retry-After": text})]
    with pytest.raises(UnavailableError) as caught:
        send(registry)
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(("offset", "expected"), [(60, 60), (-60, 0)])
def test_retry_after_as_a_date(registry, offset, expected):
    moment = datetime.now(UTC) + timedelta(seconds=offset)
    registry.script = [registry.answer(503, {"Retry-After": format_datetime(moment, usegmt=True)})]
    with pytest.raises(UnavailableError) as caught:
        send(registry)
    assert caught.value.retry_after_s == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(registry, serve, status):
    with serve(None) as elsewhere:
        registry.script = [registry.answer(status, {"Location": elsewhere.url})]
        with pytest.raises(RefusedError, match="redirects are not followed"):
            send(registry)
        assert elsewhere.requests == []


def test_a_registry_that_does_not_answer_in_time_is_unavailable(registry):
    registry.script = [registry.answer(hang=1.5)]
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="timed out"):
        send(registry, timeout_s=0.2)
    assert time.monotonic() - start < 1.4


def test_a_connection_that_breaks_or_is_refused_is_unavailable(registry):
    registry.script = [registry.answer(drop=True)]
    with pytest.raises(UnavailableError, match=r"localhost:\d+: \w+Error: "):
        send(registry)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(UnavailableError, match="refused"):
        send_to(nobody)


def test_a_host_without_a_name_is_unavailable():
    with pytest.raises(UnavailableError, match=r"^registry\.invalid: "):
        send_to("https://registry.invalid/")


def test_a_body_that_breaks_off_does_not_undo_the_status(registry):
    registry.script = [
        registry.answer(201, body=b"", lie_about_length=True),
        registry.answer(400, body=b"", lie_about_length=True),
    ]
    assert send(registry) == "HTTP 201"
    with pytest.raises(RefusedError, match=r"^HTTP 400 from localhost"):
        send(registry)


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate of this test, is not installed")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} "
        f"-addext subjectAltName=DNS:{name} -keyout {key.name} -out {certificate.name}".split(),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def test_a_certificate_nobody_vouches_for_gets_no_token(serve, tmp_path, monkeypatch):
    trusted, context = certificate(tmp_path, "localhost")
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    with serve(context) as registry:
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            send(registry)
        assert registry.requests == []
        assert send(registry, ca_file=trusted) == "HTTP 200"
        assert len(registry.requests) == 1


def test_a_certificate_of_another_host_gets_no_token(serve, tmp_path):
    trusted, context = certificate(tmp_path, "registry.example")
    with serve(context) as registry:
        with pytest.raises(UnavailableError, match=r"(?i)certificate"):
            send(registry, ca_file=trusted)
        assert registry.requests == []


def connect(settings: Settings, registry: Any) -> Settings:
    return Settings(
        data_dir=settings.data_dir, registry=RegistrySettings(registry.url, Secret(TOKEN), timeout_s=5.0)
    )


def test_a_signal_gets_through_once_the_registry_recovers(registry, settings, put_events, signals, reports):
    (key,) = put_events(settings, signals(1))
    put_events(settings, reports(1))
    registry.script = [registry.answer(500), registry.answer(drop=True), registry.answer(503)]
    delivery = deliver(connect(settings, registry), policy=FAST, sleep=lambda _: None)
    assert [(o.destination, o.status) for o in delivery.outcomes] == [
        ("report_bus", "delivered"),
        ("strategy_registry", "delivered"),
    ]
    assert registry.keys == [key] * 4
    assert len({body for _, _, body in registry.requests}) == 1
    assert json.loads(registry.requests[0][2])["signal_id"] == key


def test_a_slow_answer_leads_to_the_same_key_again(registry, settings, put_events, signals):
    (key,) = put_events(settings, signals(1))
    registry.script = [registry.answer(hang=0.6)]
    slow = RegistrySettings(registry.url, Secret(TOKEN), timeout_s=0.2)
    delivery = deliver(Settings(data_dir=settings.data_dir, registry=slow), policy=FAST, sleep=lambda _: None)
    assert [o.status for o in delivery.outcomes] == ["delivered"]
    assert registry.keys == [key, key]


def test_a_refused_signal_waits_on_the_dead_letter_list(registry, settings, put_events, signals):
    keys = put_events(settings, signals(2))
    registry.script = [registry.answer(400, body=b"unknown strategy")]
    deliver(connect(settings, registry), policy=FAST)
    with open_warehouse(settings) as connection:
        (letter,) = dead_letters(connection)
    assert letter.event_id == keys[0]
    assert letter.detail.endswith("unknown strategy")
    assert registry.keys == keys


@pytest.mark.parametrize("status", [400, 503])
def test_an_echoed_token_reaches_no_record(registry, status):
    for body in (TOKEN, "x" * 380 + TOKEN, "long " * 10 + TOKEN * 200):
        registry.script = [registry.answer(status, body=body.encode())]
        with pytest.raises((RefusedError, UnavailableError)) as caught:
            send(registry)
        assert TOKEN[:8] not in str(caught.value)
        assert len(str(caught.value)) <= 400


def test_settings_never_show_the_token(registry, settings):
    assert TOKEN not in repr(connect(settings, registry))
    assert TOKEN not in str(Secret(TOKEN))
