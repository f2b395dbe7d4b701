"""Sign-offs with the real `ssh-keygen`: which ones count, and why the others do not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from et_pipeline.governance.sign_offs import (
    MAX_BYTES,
    REFUSALS,
    Document,
    SignOffError,
    with_name_keys,
    write_sign_off,
)
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.governance.world import World
from et_pipeline_tests.migrated import put_warehouse


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], World]:
    """Worlds with an experiment under review that needs so many approvals, each made once and closed."""

    @cache
    def make(approvers: int) -> World:
        settings = Settings(data_dir=tmp_path_factory.mktemp("under-review"))
        settings.experiments_dir.mkdir()
        settings.report_bus_dir.mkdir()
        put_warehouse(settings)
        with open_warehouse(settings) as connection:
            world = World(settings, connection)
            world.write_plan(promotion={"request_review": True, "approvers": approvers})
            for name in ("anna", "bert", "olga"):
                world.person(name)
            world.tick()
            world.better()
            world.tick(hours=6)
            if approvers > 1:
                world.sign("anna")
                world.tick()
            assert world.state() == "promotion_review"
        return world

    return make


@pytest.fixture
def copied(made: Callable[[int], World], tmp_path: Path) -> Iterator[Callable[[int], World]]:
    """A copy of such a world, for one test."""
    with ExitStack() as opened:

        def copy(approvers: int) -> World:
            first = made(approvers)
            settings = Settings(data_dir=shutil.copytree(first.settings.data_dir, tmp_path / "data"))
            keys = {name: settings.data_dir / "keys" / name for name in first.keys}
            return World(settings, opened.enter_context(open_warehouse(settings)), first.now, keys)

        yield copy


@pytest.fixture
def reviewed(copied: Callable[[int], World]) -> World:
    """An experiment under review; anna and bert may sign, olga owns the plan."""
    return copied(1)


def refused(world: World, refusal: str) -> None:
    """After a tick exactly this refusal stands, in table and audit log, and nothing moved."""
    world.tick()
    assert world.state() == "promotion_review"
    assert list(world.refusals().values()) == [refusal]
    world.tick()
    rows = world.connection.execute(
        "SELECT detail->>'$.refusal', detail->>'$.sentence' FROM audit_log WHERE action = 'sign_off_refused'"
    ).fetchall()
    assert len(rows) == 1, "recorded once"
    assert rows[0][0] == refusal
    assert REFUSALS[refusal] in rows[0][1]


def test_a_valid_approval_counts(reviewed):
    reviewed.sign("anna")
    result = reviewed.tick()
    assert result.transitions == [("line-shop", "promotion_review", "signed_off")]
    assert result.events == [], "nothing is sent: the promotion is made by humans"
    detail = json.loads(
        reviewed.connection.execute("SELECT detail FROM audit_log WHERE to_state = 'signed_off'").fetchone()[
            0
        ]
    )
    assert detail["signers"] == ["anna"]


def test_a_valid_decline_ends_it(reviewed):
    reviewed.sign("anna", decision="decline", reason="One market makes all of it.")
    reviewed.tick()
    assert reviewed.state() == "declined"
    reviewed.sign("bert")
    reviewed.tick()
    assert reviewed.state() == "declined"


def test_a_decline_and_an_approval_in_one_tick_decline(reviewed):
    reviewed.sign("anna")
    reviewed.sign("bert", decision="decline")
    reviewed.tick()
    assert reviewed.state() == "declined"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda text: text.replace("decline", "approve"), "bad_signature"),
        (lambda text: text.replace("sound", "solid"), "bad_signature"),
        (lambda text: text + "\n", "bad_signature"),
        (lambda text: text.replace("1", "2", 1), "malformed"),
        (lambda text: text.replace('"purpose"', '"purpose": "split", "purpose"'), "malformed"),
        (lambda text: text.replace('"reason"', '"promote": true, "reason"'), "malformed"),
        (lambda text: text[: len(text) // 2], "malformed"),
        (lambda text: "[" * 8000, "malformed"),
        (lambda text: text.replace("line-shop", "../../etc/passwd"), "malformed"),
        (lambda text: text + " " * MAX_BYTES, "too_large"),
    ],
)
def test_an_altered_file_does_not_count(reviewed, change, refusal):
    path = reviewed.sign("anna", decision="decline", reason="The evidence is sound.")
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    refused(reviewed, refusal)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe\x00", b"-----BEGIN SSH SIGNATURE-----\n"])
def test_a_broken_signature_does_not_count(reviewed, content):
    path = reviewed.sign("anna")
    path.with_name(f"{path.name}.sig").write_bytes(content)
    refused(reviewed, "unsigned" if not content else "bad_signature")


def test_a_signature_of_another_file_does_not_count(reviewed):
    first = reviewed.sign("anna", evidence_hash="1" * 64)
    second = reviewed.sign("anna")
    second.with_name(f"{second.name}.sig").write_bytes(first.with_name(f"{first.name}.sig").read_bytes())
    first.unlink()
    refused(reviewed, "bad_signature")


def test_no_signature_does_not_count(reviewed):
    path = reviewed.sign("anna")
    path.with_name(f"{path.name}.sig").unlink()
    refused(reviewed, "unsigned")


def test_another_namespace_does_not_count(reviewed):
    path = reviewed.sign("anna")
    signature = path.with_name(f"{path.name}.sig")
    signature.unlink()
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(reviewed.keys["anna"]), "-n", "git", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    assert signature.exists()
    refused(reviewed, "wrong_namespace")


def test_an_unknown_key_does_not_count(reviewed):
    reviewed.person("eve", listed=False)
    reviewed.sign("eve")
    refused(reviewed, "unknown_signer")


def test_a_stranger_in_the_name_of_another_does_not_count(reviewed):
    reviewed.person("eve", listed=False)
    reviewed.sign("anna", key="eve")
    refused(reviewed, "unknown_signer")


def test_a_listed_person_in_the_name_of_another_does_not_count(reviewed):
    reviewed.sign("anna", key="bert")
    refused(reviewed, "not_the_signer")


@pytest.mark.parametrize("option", ['valid-before="20261101000000Z"', 'valid-after="20261201000000Z"'])
def test_a_key_outside_its_time_does_not_count(reviewed, option):
    reviewed.person("carl", option)
    reviewed.sign("carl")
    refused(reviewed, "key_not_valid")


def test_backdating_does_not_revive_an_expired_key(reviewed):
    reviewed.person("carl", 'valid-before="20261101000000Z"')
    reviewed.sign("carl", signed_at=reviewed.now - timedelta(days=30))
    refused(reviewed, "key_not_valid")


def test_a_key_limited_to_another_namespace_does_not_count(reviewed):
    reviewed.person("carl", 'namespaces="git"')
    reviewed.sign("carl")
    reviewed.tick()
    assert reviewed.state() == "promotion_review"
    assert next(iter(reviewed.refusals().values())) in ("unknown_signer", "not_the_signer", "wrong_namespace")


def test_a_sign_off_that_counted_outlives_its_key(reviewed):
    """What a person validly decided stays decided; a first of two approvals is not undone by an expiry."""
    reviewed.connection.execute("UPDATE experiments SET approvers = 2")
    reviewed.sign("anna")
    reviewed.tick()
    lines = reviewed.settings.allowed_signers_path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("anna")]
    reviewed.settings.allowed_signers_path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    reviewed.tick()
    assert reviewed.state() == "promotion_review"
    reviewed.sign("bert")
    reviewed.tick()
    assert reviewed.state() == "signed_off"


def test_the_owner_may_not_approve_but_may_decline(reviewed):
    path = reviewed.sign("olga")
    refused(reviewed, "self_approval")
    path.unlink()
    reviewed.sign("olga", decision="decline")
    reviewed.tick()
    assert reviewed.state() == "declined"


def test_the_owner_may_not_approve_after_handing_the_plan_on(reviewed):
    reviewed.write_plan(owner="somebody-else")
    reviewed.sign("olga")
    refused(reviewed, "self_approval")


def test_the_owner_may_not_approve_under_another_name(reviewed):
    public = " ".join(reviewed.keys["olga"].with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    with reviewed.settings.allowed_signers_path.open("a", encoding="utf-8") as file:
        file.write(f"olga-private {public}\n")
    reviewed.sign("olga-private", key="olga")
    refused(reviewed, "self_approval")


@pytest.mark.parametrize(
    "owner", ["Anna", "ANNA", "\uff21nna", "an\u00adna", " anna", "anna\u200b", "\u24d0nna"]
)
def test_the_owner_may_not_approve_under_another_spelling_of_the_name(reviewed, owner):
    reviewed.write_plan(owner=owner)
    reviewed.sign("anna")
    refused(reviewed, "self_approval")


def test_the_owner_may_not_approve_with_a_key_listed_under_another_spelling_of_the_name(reviewed):
    public = " ".join(reviewed.keys["anna"].with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    with reviewed.settings.allowed_signers_path.open("a", encoding="utf-8") as file:
        file.write(f'"Ana Mar\u00cda" {public}\n')
    reviewed.write_plan(owner="ana mari\u0301a")
    reviewed.sign("anna")
    refused(reviewed, "self_approval")


def test_a_name_that_is_another_one_is_no_owner(reviewed):
    reviewed.write_plan(owner="anna2")
    reviewed.sign("anna")
    reviewed.tick()
    assert reviewed.state() == "signed_off"


@pytest.mark.parametrize("listed", ["ANNA", '"Anna,Zoe"', "zoe,aNNa", "A*", "\tAnna", "AN?A", "AN\u00adNA"])
@pytest.mark.parametrize("signer", ["anna", "Anna"])
def test_the_list_of_signers_and_the_sign_off_may_differ_in_the_spelling_of_a_name(reviewed, listed, signer):
    public = " ".join(reviewed.keys["anna"].with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    content = f'# who may sign\r\n\r\n{listed} namespaces="et-sign-off" {public}\r\n'
    reviewed.settings.allowed_signers_path.write_bytes(content.encode())
    reviewed.sign(signer, key="anna")
    reviewed.tick()
    assert reviewed.state() == "signed_off"


@pytest.mark.parametrize("excluded", ["!anna,*", "!Anna,*", '"!ANNA,*"', "*,!An?a"])
@pytest.mark.parametrize("signer", ["anna", "Anna"])
def test_an_excluded_name_is_excluded_in_every_spelling(reviewed, excluded, signer):
    public = " ".join(reviewed.keys["anna"].with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    reviewed.settings.allowed_signers_path.write_text(f"{excluded} {public}\n", encoding="utf-8")
    reviewed.sign(signer, key="anna")
    refused(reviewed, "not_the_signer")


def test_a_wide_asterisk_in_the_list_of_signers_is_no_pattern():
    line = "\uff0a@desk ssh-ed25519 AAAA\n".encode()
    assert with_name_keys(line) == line


def test_self_approval_counts_where_the_plan_allows_it(world):
    world.write_plan(promotion={"request_review": True, "allow_self_approval": True})
    world.person("olga")
    world.tick()
    world.better()
    world.tick(hours=6)
    world.sign("olga")
    world.tick()
    assert world.state() == "signed_off"


def test_another_plan_does_not_count(reviewed):
    reviewed.sign("anna", plan_hash="1" * 64)
    refused(reviewed, "other_plan")


def test_other_evidence_does_not_count(reviewed):
    reviewed.sign("anna", evidence_hash="1" * 64)
    refused(reviewed, "other_evidence")


def test_a_sign_off_for_another_experiment_does_not_count(reviewed):
    reviewed.write_plan(experiment_id="other-shop", variant={"strategy_id": "strat.other"})
    reviewed.tick()
    reviewed.sign("anna", experiment_id="other-shop", plan_hash=reviewed.plan_hash("other-shop"))
    refused(reviewed, "other_evidence")


def test_an_unknown_experiment_does_not_count(reviewed):
    reviewed.sign("anna", experiment_id="nobody-knows")
    refused(reviewed, "unknown_experiment")


def test_a_time_in_the_future_does_not_count(reviewed):
    reviewed.sign("anna", signed_at=reviewed.now + timedelta(hours=1))
    refused(reviewed, "signed_in_future")


def test_without_allowed_signers_nobody_signs(reviewed):
    reviewed.settings.allowed_signers_path.unlink()
    reviewed.sign("anna")
    refused(reviewed, "no_allowed_signers")


def test_links_are_not_followed(reviewed, tmp_path_factory):
    path = reviewed.sign("anna")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "sign-off"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    refused(reviewed, "not_a_file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_does_not_count(reviewed):
    reviewed.sign("anna").chmod(0)
    refused(reviewed, "unreadable")


def test_without_ssh_keygen_nothing_counts_and_nothing_breaks(reviewed, monkeypatch, tmp_path):
    reviewed.sign("anna")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(reviewed, "cannot_check")
    monkeypatch.undo()
    reviewed.tick()
    assert reviewed.state() == "signed_off", "it is checked again"


@pytest.fixture
def two(copied: Callable[[int], World]) -> World:
    """An experiment under review that needs two different people; anna has signed."""
    return copied(2)


def test_two_different_people_suffice(two):
    two.sign("bert")
    two.tick()
    assert two.state() == "signed_off"


def test_the_same_person_twice_is_one(two):
    two.sign("anna", reason="I say it again.")
    refused(two, "same_person")


def test_one_key_under_two_names_is_one_person(two):
    public = " ".join(two.keys["anna"].with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    with two.settings.allowed_signers_path.open("a", encoding="utf-8") as file:
        file.write(f"anna-again {public}\n")
    two.sign("anna-again", key="anna")
    refused(two, "same_person")


def test_one_person_with_two_keys_is_one_person(two):
    second = two.person("anna-laptop", listed=False)
    public = " ".join(second.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    with two.settings.allowed_signers_path.open("a", encoding="utf-8") as file:
        file.write(f"anna {public}\n")
    two.sign("anna", key="anna-laptop")
    refused(two, "same_person")


@pytest.mark.parametrize("name", ["Anna", "ANNA"])
def test_two_spellings_of_one_name_are_one_person(two, name):
    two.person(name)
    two.sign(name)
    refused(two, "same_person")


def test_a_copy_of_a_file_is_no_second_sign_off(two):
    path = next(two.settings.sign_offs_dir.glob("*.json"))
    copy = path.with_name("copy.json")
    copy.write_bytes(path.read_bytes())
    copy.with_name("copy.json.sig").write_bytes(path.with_name(f"{path.name}.sig").read_bytes())
    two.tick()
    assert two.state() == "promotion_review"


def test_the_owner_is_not_the_second_person(two):
    two.sign("olga")
    refused(two, "self_approval")


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real ssh-agent, ended afterwards."""
    socket = tmp_path_factory.mktemp("agent") / "socket"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield
    process.terminate()
    process.wait(timeout=10)
    process.stdout.close()


@pytest.mark.usefixtures("agent")
def test_a_key_in_an_agent_signs(reviewed):
    key = reviewed.keys["anna"]
    subprocess.run(["ssh-add", "-q", str(key)], check=True, env=dict(os.environ), capture_output=True)
    key.unlink()
    write_sign_off(reviewed.settings, reviewed.document("anna"), key.with_suffix(".pub"))
    reviewed.tick()
    assert reviewed.state() == "signed_off"


def test_what_ssh_keygen_writes_by_hand_counts(reviewed):
    """The format is plain: a person needs no `et` to sign."""
    folder = reviewed.settings.sign_offs_dir
    folder.mkdir(exist_ok=True)
    path = folder / "by-hand.json"
    document = reviewed.document("anna").model_dump(mode="json")
    path.write_text(json.dumps(document), encoding="utf-8")
    command = ["ssh-keygen", "-Y", "sign", "-f", str(reviewed.keys["anna"]), "-n", "et-sign-off", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    reviewed.tick()
    assert reviewed.state() == "signed_off"


def test_a_key_that_cannot_sign_leaves_nothing(reviewed):
    wrong = reviewed.settings.data_dir / "no-key"
    wrong.write_text("no key", encoding="utf-8")
    with pytest.raises(SignOffError, match="could not sign"):
        write_sign_off(reviewed.settings, reviewed.document("anna"), wrong)
    assert list(reviewed.settings.sign_offs_dir.iterdir()) == []


def test_a_file_that_is_there_is_not_overwritten(reviewed):
    document = reviewed.document("anna")
    path = write_sign_off(reviewed.settings, document, reviewed.keys["anna"])
    before = path.read_bytes()
    with pytest.raises(SignOffError, match="exists already"):
        write_sign_off(reviewed.settings, document, reviewed.keys["anna"])
    assert path.read_bytes() == before


def test_a_document_reads_back_as_it_was_written(reviewed):
    document = reviewed.document("anna", reason="Größer ist besser: 100 % sicher.")
    assert Document.parse(document.content()) == document


def test_late_reports_that_change_figures_but_not_the_verdict_undo_no_approval(two):
    """The first approval counts although the evidence moved a little before the second one."""
    two.interval(5, 0.6, 2.4)
    two.tick(hours=1)
    row = two.verdict()
    assert row["evidence_hash"] != row["announced_evidence_hash"]
    assert not row["contradicted"]
    two.sign("bert", evidence_hash=row["evidence_hash"])
    two.tick()
    assert two.state() == "signed_off"


def test_the_same_files_in_a_fresh_warehouse_count_the_same(two, tmp_path_factory):
    """Sign-offs are input: with the same plans, reports and files another warehouse ends the same."""
    two.sign("bert")
    two.tick()
    fresh = Settings(data_dir=two.settings.data_dir)
    with open_warehouse(fresh, path=tmp_path_factory.mktemp("fresh") / "warehouse.duckdb") as connection:
        again = World(fresh, connection, now=two.now - timedelta(hours=6), keys=two.keys)
        again.tick()
        again.better()
        again.tick(hours=6)
        assert again.state() == "signed_off"


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many processes of the real `ssh-keygen` were started since the last question."""
    real, log = shutil.which("ssh-keygen"), tmp_path / "started"
    program = tmp_path / "bin" / "ssh-keygen"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$2" >> {log}\nexec {real} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    def started() -> int:
        count = len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0
        log.unlink(missing_ok=True)
        return count

    return started


@pytest.mark.parametrize(
    ("signer", "changes", "refusal"),
    [("eve", {}, "unknown_signer"), ("anna", {"evidence_hash": "1" * 64}, "other_evidence")],
)
def test_an_unchanged_sign_off_starts_no_process(reviewed, processes, signer, changes, refusal):
    reviewed.person("eve", listed=False)
    reviewed.sign(signer, **changes)
    processes()
    reviewed.tick()
    assert processes() > 0
    before = reviewed.connection.execute("SELECT * EXCLUDE checked_at FROM sign_offs").fetchall()
    for _ in range(3):
        reviewed.tick(hours=1)
    assert processes() == 0
    assert list(reviewed.refusals().values()) == [refusal]
    assert reviewed.connection.execute("SELECT * EXCLUDE checked_at FROM sign_offs").fetchall() == before


def test_a_sign_off_is_checked_anew_when_the_allowed_signers_change(reviewed, processes):
    reviewed.person("eve", listed=False)
    reviewed.sign("eve")
    refused(reviewed, "unknown_signer")
    reviewed.person("eve")
    processes()
    reviewed.tick()
    assert reviewed.state() == "signed_off"
    assert processes() > 0


def test_a_sign_off_is_checked_anew_when_the_owner_changes(reviewed):
    public = " ".join(reviewed.keys["bert"].with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    with reviewed.settings.allowed_signers_path.open("a", encoding="utf-8") as file:
        file.write(f"bert-private {public}\n")
    reviewed.sign("bert-private", key="bert", evidence_hash="1" * 64)
    reviewed.tick()
    remembered = "SELECT refusal, by_owner FROM signature_checks"
    assert reviewed.connection.execute(remembered).fetchall() == [(None, False)]
    reviewed.write_plan(owner="bert")
    reviewed.tick()
    assert reviewed.connection.execute(remembered).fetchall() == [(None, True)]


def test_a_key_that_expires_is_noticed_within_a_day(reviewed):
    reviewed.person("carl", 'valid-before="20261102120000Z"')
    reviewed.sign("carl", evidence_hash="1" * 64)
    refused(reviewed, "other_evidence")
    expired = datetime(2026, 11, 2, 12, tzinfo=UTC)
    reviewed.now = expired + timedelta(days=1)
    reviewed.tick()
    assert list(reviewed.refusals().values()) == ["key_not_valid"]


def test_what_is_remembered_is_only_what_lies_there(reviewed):
    paths = [reviewed.sign("anna", evidence_hash=digit * 64) for digit in "12"]
    reviewed.tick()
    remembered = "SELECT count(*) FROM signature_checks"
    assert reviewed.connection.execute(remembered).fetchone() == (2,)
    paths[0].unlink()
    reviewed.tick()
    assert reviewed.connection.execute(remembered).fetchone() == (1,)
    reviewed.connection.execute("DELETE FROM signature_checks")
    reviewed.tick()
    assert reviewed.connection.execute(remembered).fetchone() == (1,), "without a memory it is made again"
