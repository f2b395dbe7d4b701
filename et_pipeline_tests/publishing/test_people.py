"""Notifications to people: a real mail server and a real web server on this machine, and the outbox between."""

from __future__ import annotations

import email
import email.policy
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from et_pipeline.definitions import publish
from et_pipeline.defs.publishing import publish_pending
from et_pipeline.defs.resource import Warehouse
from et_pipeline.governance.notices import FailedCheck, Notice, note_checks, run_failed, write
from et_pipeline.publishing.delivery import Policy, deliver
from et_pipeline.publishing.directory import (
    TOPICS,
    Directory,
    DirectoryError,
    parse_directory,
    read_directory,
)
from et_pipeline.publishing.outbox import counts, dead_letters, not_addressed, redeliver
from et_pipeline.publishing.people import MAX_PARTS, TITLES, Occurrence, address, compose
from et_pipeline.settings import Settings
from et_pipeline.warehouse.backup import back_up, restore
from et_pipeline.warehouse.connection import open_warehouse, transaction
from et_pipeline_tests.conftest import call_et, run_et
from et_pipeline_tests.registry import serving

NOW = datetime(2026, 11, 3, 13, tzinfo=UTC)
PASSWORD = "mail-passw0rd-of-the-desk"


class Mailbox:
    """What a mail server took; it refuses whatever comes while `down` is true."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []
        self.down = False
        self.url = ""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.down:
            return "451 try again later"
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def texts(self) -> list[str]:
        return [mail.get_body(("plain",)).get_content() for mail in self.mails]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()

    def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(
        box, hostname="127.0.0.1", port=port, authenticator=login, auth_required=True, auth_require_tls=False
    )
    controller.start()
    box.url = (
        f"mailto://desk:{PASSWORD}@127.0.0.1:{port}?from=et@desk.example&to=anna@desk.example&mode=insecure"
    )
    yield box
    controller.stop()


@pytest.fixture
def chat() -> Iterator[object]:
    with serving() as server:
        yield server


def chat_url(chat: object, token: str = "chat-t0ken-abcdef") -> str:
    return chat.url.replace("http://localhost", "json://localhost") + f"/{token}"


def write_directory(settings: Settings, routes: str, **urls: str) -> None:
    """The file, and each address in a file beside it."""
    (settings.data_dir).mkdir(parents=True, exist_ok=True)
    lines = []
    for name, url in urls.items():
        (settings.data_dir / f"{name}.url").write_text(f"{url}\n")
        lines.append(f"  {name}: {{file: {name}.url}}")
    settings.notify_path.write_text("addresses:\n" + "\n".join(lines) + f"\nroutes:\n{routes}")


def addressed(settings: Settings) -> int:
    with open_warehouse(settings) as connection:
        return address(connection, settings, NOW)


def put_experiment(settings: Settings, name: str, owner: str) -> None:
    with open_warehouse(settings) as connection:
        columns = connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'experiments'"
        ).fetchall()
        values = {
            column: {"VARCHAR": "''", "TIMESTAMP": "TIMESTAMP '2026-11-01'"}.get(kind, "0")
            for column, kind in columns
        }
        values |= {"experiment_id": f"'{name}'", "owner": f"'{owner}'"}
        values |= {column: f"0::{kind}" for column, kind in columns if kind in ("BOOLEAN",)}
        connection.execute(
            f"INSERT INTO experiments ({', '.join(values)}) VALUES ({', '.join(values.values())})"
        )


def impatient() -> Policy:
    return Policy(tries=1, rounds=3, first_pause_s=0.0)


def test_mail_and_chat_get_a_review_request_with_the_link_and_the_command(
    settings, mailbox, chat, put_events, result_and_review
):
    settings = replace(settings, pages_url="https://et.example/pages")
    write_directory(
        settings,
        "  - {to: [anna, chat], kinds: [review_request]}\n",
        anna=mailbox.url,
        chat=chat_url(chat),
    )
    put_events(settings, result_and_review)
    assert addressed(settings) == 2
    statuses = {(item.destination, item.status) for item in deliver(settings).outcomes}
    assert {("people:anna", "delivered"), ("people:chat", "delivered")} <= statuses
    (mail,) = mailbox.mails
    assert mail["Subject"] == "ExperimentTracker: exp-0: a better variant waits for reviewers"
    assert mail["To"] == "anna@desk.example"
    (text,) = mailbox.texts()
    assert "Please review exp-0." in text
    assert "Page: https://et.example/pages/exp-0.html" in text
    assert "et sign-off exp-0 approve" in text
    ((path, _, body),) = chat.requests
    assert path.endswith("/chat-t0ken-abcdef")
    told = json.loads(body)
    assert told["title"] == mail["Subject"]
    assert "https://et.example/pages/exp-0.html" in told["message"]
    assert deliver(settings).outcomes == []
    assert addressed(settings) == 0
    assert len(mailbox.mails) == len(chat.requests) == 1


def test_a_mail_server_that_is_away_keeps_no_chat_waiting_and_gets_the_same_message_later(
    settings, mailbox, chat, put_events, signals
):
    write_directory(settings, "  - {to: [anna, chat]}\n", anna=mailbox.url, chat=chat_url(chat))
    put_events(settings, signals(1))
    addressed(settings)
    mailbox.down = True
    deliver(settings, policy=impatient())
    assert (len(mailbox.mails), len(chat.requests)) == (0, 1)
    with open_warehouse(settings) as connection:
        assert counts(connection)["people:anna"] == {"failed": 1}
    mailbox.down = False
    deliver(settings, policy=impatient(), clock=lambda: datetime.now(UTC) + timedelta(minutes=5))
    assert (len(mailbox.mails), len(chat.requests)) == (1, 1)
    with open_warehouse(settings) as connection:
        (identifier,) = connection.execute(
            "SELECT notification_id FROM notifications WHERE address = 'anna'"
        ).fetchone()
    assert f"Message {identifier}" in mailbox.texts()[0]


def test_what_is_given_up_is_a_dead_letter_that_an_operator_brings_back(
    settings, mailbox, put_events, signals
):
    write_directory(settings, "  - {to: [anna]}\n", anna=mailbox.url)
    put_events(settings, signals(1))
    addressed(settings)
    mailbox.down = True
    later = datetime.now(UTC)
    for _ in range(3):
        later += timedelta(hours=1)
        deliver(settings, policy=impatient(), clock=lambda moment=later: moment)
    with open_warehouse(settings) as connection:
        (letter,) = dead_letters(connection)
        assert (letter.kind, letter.destination, letter.experiment_id) == (
            "notification",
            "people:anna",
            "exp-0",
        )
        assert "given up after 3 rounds" in letter.detail
        assert PASSWORD not in letter.detail
        mailbox.down = False
        assert redeliver(connection, [letter.event_id]) == [letter.event_id]
    deliver(settings)
    assert len(mailbox.mails) == 1


def test_no_piece_of_an_address_reaches_a_table_a_log_or_a_message(
    settings, mailbox, chat, put_events, signals, capfd
):
    token = "t0ken/w1th-pieces/of-it"
    chat.script = [chat.answer(403, body=token.encode())] * 4
    write_directory(
        settings,
        "  - {to: [anna, chat, odd]}\n",
        anna=mailbox.url.replace(PASSWORD, "wrong-passw0rd"),
        chat=chat_url(chat, token),
        odd="no-such-service://hidden-t0ken",
    )
    put_events(settings, signals(1))
    warehouse = Warehouse(environment={"ET_DATA_DIR": str(settings.data_dir), "ET_DELIVERY_ATTEMPTS": "2"})
    with dg.DagsterInstance.ephemeral() as instance:
        result = publish.execute_in_process(
            resources={"warehouse": warehouse}, instance=instance, raise_on_error=False
        )
        everything = [str(entry) for entry in instance.all_logs(result.run_id)] + list(capfd.readouterr())
    assert not result.success
    everything += [path.read_text() for path in (settings.data_dir / "logs").iterdir()]
    with open_warehouse(settings) as connection:
        failed = connection.execute(
            "SELECT destination, detail FROM deliveries WHERE status = 'failed'"
        ).fetchall()
        assert {name for name, _ in failed} == {"people:anna", "people:chat", "people:odd"}
        for table in ("deliveries", "notifications"):
            everything.append(str(connection.execute(f"FROM {table}").fetchall()))
    for piece in ("wrong-passw0rd", "w1th-pieces", "t0ken", "hidden"):
        assert not [text for text in everything if piece in text], piece


def test_routes_are_by_kind_owner_and_experiment(settings, put_events, signals, result_and_review):
    write_directory(
        settings,
        "  - {to: [a], kinds: [drift]}\n  - {to: [b], owners: [olga]}\n  - {to: [c], experiments: ['exp-*2']}\n",
        a="json://a",
        b="json://b",
        c="json://c",
    )
    put_experiment(settings, "exp-1", "olga")
    put_events(settings, signals(3) + result_and_review)
    addressed(settings)
    with open_warehouse(settings) as connection:
        found = connection.execute(
            "SELECT address, topic, experiment_id, len(sources) FROM notifications ORDER BY ALL"
        ).fetchall()
    assert found == [
        ("a", "drift", None, 3),  # one message tells all three
        ("b", "drift", "exp-1", 1),
        ("c", "drift", "exp-2", 1),
    ]


def test_the_past_is_told_to_nobody_who_is_routed_later(settings, put_events, signals):
    put_events(settings, signals(2))
    assert addressed(settings) == 0
    write_directory(settings, "  - {to: [a]}\n", a="json://a")
    assert addressed(settings) == 0
    put_events(settings, [signals(3)[2]])
    assert addressed(settings) == 1


def test_an_address_that_was_taken_out_is_a_dead_letter(settings, put_events, signals):
    write_directory(settings, "  - {to: [a]}\n", a="json://a", b="json://b")
    put_events(settings, signals(1))
    addressed(settings)
    write_directory(settings, "  - {to: [b]}\n", b="json://b")
    deliver(settings)
    with open_warehouse(settings) as connection:
        (letter,) = dead_letters(connection)
    assert letter.detail == "notifications.yaml has no address a any more; it has: b"


def test_a_faulty_file_holds_notifications_back_and_nothing_else(settings, mailbox, put_events, signals):
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.notify_path.write_text("addresses: {a: {env: ET_A}}\nroutes: [{to: [b]}]\n")
    put_events(settings, signals(1))
    warehouse = Warehouse(environment={"ET_DATA_DIR": str(settings.data_dir)})
    with dg.DagsterInstance.ephemeral() as instance:
        run = publish.execute_in_process(
            resources={"warehouse": warehouse}, instance=instance, raise_on_error=False
        )
        assert not run.success
        assert run.output_for_node("deliver_events", "result") == 1  # the signal left
        failed = next(event for event in run.all_events if event.is_step_failure)
        assert "b is not one of the addresses; allowed: a" in failed.step_failure_data.error.message
        with dg.build_sensor_context(instance=instance, resources={"warehouse": warehouse}) as context:
            assert isinstance(publish_pending(context), dg.RunRequest)
        write_directory(settings, "  - {to: [anna]}\n", anna=mailbox.url)
        assert publish.execute_in_process(resources={"warehouse": warehouse}, instance=instance).success
    assert len(mailbox.mails) == 1


def test_addressing_killed_before_its_end_is_done_again_as_a_whole(
    settings, put_events, signals, monkeypatch
):
    write_directory(settings, "  - {to: [a, b]}\n", a="json://a", b="json://b")
    put_events(settings, signals(1))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        calls = []

        def die_second(connection, table, row):
            calls.append(row)
            if len(calls) == 2:
                raise KeyboardInterrupt
            connection.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' for _ in row)})",
                list(row.values()),
            )

        patched.setattr("et_pipeline.publishing.people.insert_row", die_second)
        with pytest.raises(KeyboardInterrupt):
            addressed(settings)
    with open_warehouse(settings) as connection:
        assert connection.execute("FROM notifications").fetchall() == []
        assert len(not_addressed(connection)) == 1
    assert addressed(settings) == 2


# what is told ---------------------------------------------------------------------------------------------


def told(count: int) -> list[Occurrence]:
    return [Occurrence(f"id{n}", "drift", f"exp-{n}", "olga", "WARN", f"Sentence {n}.") for n in range(count)]


def test_every_topic_has_its_title():
    assert set(TITLES) == set(TOPICS)


def test_a_message_about_many_experiments_names_so_many_and_counts_the_rest():
    text = compose("drift", told(MAX_PARTS + 5), None, "abc")
    assert text.title == f"ExperimentTracker: {MAX_PARTS + 5} experiments: a variant underperforms"
    assert "… and 5 more" in text.body
    assert f"Sentence {MAX_PARTS - 1}." in text.body
    assert f"Sentence {MAX_PARTS}." not in text.body
    assert "Look at it: et show exp-0" in text.body


def test_control_characters_of_others_reach_no_message():
    text = compose("drift", [told(1)[0]._replace(message="bell\x07 and \x1b[31mred")], None, "abc")
    assert "bell\\x07 and \\x1b[31mred" in text.body


def note(settings: Settings, checks: Sequence[FailedCheck], moment: datetime) -> list[tuple[str, str | None]]:
    with open_warehouse(settings) as connection:
        (before,) = connection.execute("SELECT count(*) FROM notices").fetchone()
        with transaction(connection):
            note_checks(connection, checks, moment)
        return connection.execute(
            "SELECT topic, experiment_id FROM notices WHERE seq > ? ORDER BY seq", [before]
        ).fetchall()


def test_a_failed_check_is_noticed_once_for_each_experiment_and_again_after_it_had_passed(settings):
    put_experiment(settings, "exp-1", "olga")
    put_experiment(settings, "exp-2", "olga")
    one = FailedCheck("unmatched.match_rate", True, ("exp-1: 40 % of the control's reports",))
    both = one._replace(problems=(*one.problems, "exp-2: 50 % of the variant's reports"))
    readable = FailedCheck("snapshots.snapshots_readable", False, ("a.ndjson: no such file",))
    hour = timedelta(hours=1)
    assert note(settings, [one, readable], NOW) == [("check_failed", None), ("check_warning", "exp-1")]
    assert note(settings, [one, readable], NOW + hour) == []
    assert note(settings, [both], NOW + 2 * hour) == [("check_warning", "exp-2")]
    assert note(settings, [], NOW + 3 * hour) == []
    assert note(settings, [one], NOW + 4 * hour) == [("check_warning", "exp-1")]


def test_a_failed_run_is_noticed_once_a_job_step_and_day(settings):
    with open_warehouse(settings) as connection:
        assert run_failed(connection, "publish", "delivery_report", "3 messages left", NOW)
        assert not run_failed(connection, "publish", "delivery_report", "4 messages left", NOW)
        assert run_failed(connection, "tick", "snapshots", "disk full", NOW)
        assert run_failed(connection, "publish", "delivery_report", "4 left", NOW + timedelta(days=1))
        notice = Notice("verdict_contradicted", "exp-1", "WARN", "exp-1: …", "a")
        assert write(connection, notice, NOW)
        assert not write(connection, notice, NOW)


# the file ---------------------------------------------------------------------------------------------------


def refused(text: str) -> str:
    found = parse_directory(text.encode(), Path("notifications.yaml"))
    assert not isinstance(found, Directory)
    return "; ".join(map(str, found))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("routes: []", "addresses: missing"),
        (
            "addresses: {a: {env: A}}\nroutes: [{to: [a], kinds: [reviews]}]",
            "routes.0.kinds.0: allowed: 'review_request'",
        ),
        (
            "addresses: {a: {env: A, file: b}}\nroutes: []",
            "either env (the name of an environment variable) or file",
        ),
        ("addresses: {a: {env: A}}\nroutes: [{to: []}]", "routes.0.to"),
        ("addresses: {a: {env: A}}\nroutes: [{to: [a], owner: olga}]", "docs/notifications.md"),
        ("addresses: {a: {env: A}, a: {env: B}}\nroutes: []", "occurs more than once"),
        ("- a", "notifications.yaml"),
    ],
)
def test_what_is_not_allowed_in_the_file_is_named(text, says):
    assert says in refused(text)


@pytest.mark.parametrize(
    "value", ['"slack://s3cret-a/b/c"', "{env: 'slack://s3cret-a/b/c'}", "{url: 's3cret'}", "77001122"]
)
def test_a_secret_in_the_file_itself_is_refused_and_not_shown(value):
    text = refused(f"addresses: {{a: {value}}}\nroutes: []")
    assert "addresses.a" in text
    assert "s3cret" not in text
    assert "77001122" not in text


def test_an_address_is_read_from_its_variable_or_file_when_it_delivers(settings, tmp_path):
    write_directory(settings, "  - {to: [a]}\n", a="json://a")
    with settings.notify_path.open("a") as file:
        file.write("")
    directory = read_directory(settings)
    assert directory.url("a").reveal() == "json://a"
    text = "addresses: {b: {env: B_URL}, c: {file: gone}}\nroutes: []"
    found = parse_directory(text.encode(), settings.notify_path)
    assert isinstance(found, Directory)
    assert found.url("b", {"B_URL": " json://b\n"}).reveal() == "json://b"
    with pytest.raises(DirectoryError, match="the environment variable B_URL is not set or empty"):
        found.url("b", {})
    with pytest.raises(DirectoryError, match="gone cannot be read"):
        found.url("c")


# the command ------------------------------------------------------------------------------------------------


def test_validate_knows_the_file(settings):
    write_directory(settings, "  - {to: [b]}\n", a="json://a")
    found = call_et(settings.data_dir, "validate", str(settings.data_dir), "--json")
    assert found.returncode == 1
    (result,) = json.loads(found.stdout)["results"]
    assert result["kind"] == "notifications"
    assert "b is not one of the addresses" in result["problems"][0]


def test_a_backup_holds_the_file_and_a_restore_puts_it_back(settings, tmp_path):
    write_directory(settings, "  - {to: [a]}\n", a="json://a")
    with open_warehouse(settings):
        pass
    before = settings.notify_path.read_bytes()
    back_up(settings, tmp_path / "backup")
    settings.notify_path.write_text("addresses: {}\nroutes: []\n")
    restore(settings, tmp_path / "backup")
    assert settings.notify_path.read_bytes() == before


def test_notify_test_tells_which_address_takes_a_message(settings, mailbox):
    write_directory(settings, "  - {to: [anna]}\n", anna=mailbox.url, gone="json://127.0.0.1:9/x")
    taken = run_et(settings.data_dir, "notify", "test", "anna")
    assert (taken.returncode, taken.stderr) == (0, "")
    assert mailbox.mails[0]["Subject"] == "ExperimentTracker: test message"
    both = call_et(settings.data_dir, "notify", "test", "--json")
    assert both.returncode == 1
    results = json.loads(both.stdout)["results"]
    assert [(result["address"], result["taken"]) for result in results] == [("anna", True), ("gone", False)]
    unknown = call_et(settings.data_dir, "notify", "test", "bert")
    assert unknown.returncode == 1
    assert "has no address bert; known addresses: anna, gone" in unknown.stderr


def test_a_tick_that_fails_tells_people_in_the_same_command(settings, mailbox):
    write_directory(settings, "  - {to: [anna], kinds: [run_failed]}\n", anna=mailbox.url)
    for folder in ("experiments", "report_bus"):
        (settings.data_dir / folder).mkdir()
    settings.published_dir.write_text("a file where the folder has to be")
    failed = call_et(settings.data_dir, "tick")
    assert failed.returncode == 1
    assert "failed in analyst_database" in failed.stderr
    (mail,) = mailbox.mails
    assert mail["Subject"] == "ExperimentTracker: a run failed"
    assert "A run of the job tick failed in analyst_database: " in mailbox.texts()[0]
