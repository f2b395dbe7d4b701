"""Plans, sign-offs, settings and the command line with any input: there is always an answer, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline import cli
from et_pipeline.settings import Settings, SettingsError
from et_pipeline_tests.conftest import SAMPLE_PLANS
from et_pipeline_tests.faults import targets

SOUND_PLANS = [path.read_bytes() for path in sorted(SAMPLE_PLANS.glob("*.yaml"))]
SOUND_SIGN_OFF = (targets.CORPUS / "sign_off" / "sound").read_bytes()
PLAN_TOKENS = [
    *(b"!!int ''", b"!!timestamp x", b"!!binary x", b"!x", b"&a ", b"*a", b"<<: {a: 1}", b"? ", b"---\n"),
    *(b".nan", b".inf", b"1e999", b"0x", b"0b_", b"1:60", b"2026-02-30", b"9999-12-31T23:59:59-23:00"),
    *(
        b"0001-01-01T00:00:00+23:00",
        b'"\\ud800"',
        b'"\\0"',
        b"\x00",
        b"\xff",
        b"\t",
        b"\r",
        b"\n  ",
        b": ",
        b"[",
        b"{",
    ),
    *(b"9" * 400, b"-1", b"=", b"~", b"null", b"yes", b"'", b'"', b"|\n", b">\n", b"%YAML 1.2\n", b"#"),
]
SIGN_OFF_TOKENS = [
    *(
        b"9999-12-31T23:59:59-23:00",
        b"0001-01-01T00:00:00+23:00",
        b"1e999",
        b"NaN",
        b"9" * 5000,
        b"null",
        b"\\ud800",
    ),
    *(b"\\u0000", b"\\u001b[2J", b"\xff", b"[" * 3000, b'{"a":', b",", b'"', b"\n", b"-O", b"../", b"\x00"),
]


@st.composite
def mutated(draw: st.DrawFn, sound: list[bytes], tokens: list[bytes]) -> bytes:
    """A sound file with pieces cut out, put in or moved."""
    content = draw(st.sampled_from(sound))
    for _ in range(draw(st.integers(1, 6))):
        at, length = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 0, 1, 5, 40]))
        new = draw(
            st.one_of(st.sampled_from(tokens), st.binary(max_size=3), st.just(content[at : at + length]))
        )
        content = content[:at] + new + content[at + length :]
    return content


@st.composite
def with_another_value(draw: st.DrawFn) -> bytes:
    """A sound plan in which the value of one key is another one."""
    lines = draw(st.sampled_from(SOUND_PLANS)).split(b"\n")
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] = lines[at].partition(b":")[0] + b": " + draw(st.sampled_from(PLAN_TOKENS))
    return b"\n".join(lines)


@settings(max_examples=200)
@given(st.one_of(mutated(SOUND_PLANS, PLAN_TOKENS), with_another_value(), st.binary(max_size=200)))
def test_any_plan(content: bytes) -> None:
    targets.plan(content)


@settings(max_examples=200)
@given(
    st.one_of(
        mutated([SOUND_SIGN_OFF], SIGN_OFF_TOKENS),
        st.dictionaries(
            st.sampled_from([*json.loads(SOUND_SIGN_OFF), "other"]),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                max_leaves=5,
            ),
        ).map(lambda changes: json.dumps({**json.loads(SOUND_SIGN_OFF), **changes}).encode()),
    )
)
def test_any_sign_off(content: bytes) -> None:
    targets.sign_off(content)


@settings(max_examples=30)
@given(
    content=mutated(
        [(targets.CORPUS / "packed" / name).read_bytes() for name in ("sound-gz", "sound-zst")], [b"\x00"]
    )
)
def test_any_packed_snapshot(content: bytes) -> None:
    targets.packed(content)


VARIABLES = [
    *(
        "ET_MODE",
        "ET_MAX_CLOCK_SKEW",
        "ET_STALL_AFTER",
        "ET_NOW",
        "ET_MEMORY_LIMIT",
        "ET_LOCK_TIMEOUT",
        "ET_LOG_LEVEL",
    ),
    *(
        "ET_DELIVERY_ATTEMPTS",
        "ET_REGISTRY_URL",
        "ET_REGISTRY_TOKEN",
        "ET_REGISTRY_CA_FILE",
        "ET_REGISTRY_TIMEOUT",
    ),
    *(
        "ET_NATS_URL",
        "ET_NATS_STREAM",
        "ET_NATS_SUBJECT",
        "ET_NATS_CREDS",
        "ET_NATS_TIMEOUT",
        "ET_DATA_DIR",
        "ET_LOG",
    ),
]
VALUES = st.text(st.characters(blacklist_characters="\0"), max_size=30) | st.sampled_from(
    [
        "1e999",
        "-1",
        "nan",
        "9999-12-31T23:59:59-23:00",
        "https://[",
        "https://a:99999",
        "nats://a@b",
        "९",
        "1GB",
        "99d",
    ]
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(VARIABLES), VALUES, max_size=3))
def test_any_settings(environment: dict[str, str]) -> None:
    try:
        Settings.from_env(environment)
    except SettingsError as error:
        assert any(name in str(error) for name in environment)


COMMANDS = [
    *(["status"], ["show"], ["validate"], ["spec"], ["plan"], ["sign-off"], ["audit"], ["audit", "verify"]),
    *(["outbox"], ["outbox", "list"], ["outbox", "redeliver"], ["bus", "snapshot"], ["parquet"], []),
]
WORDS = [
    *(
        "--json",
        "--help",
        "--version",
        "-v",
        "--",
        "-",
        "",
        "line-shop-v4",
        "'; DROP TABLE reports; --",
        "../../etc",
    ),
    *(
        "approve",
        "--signer",
        "--key",
        "--reason",
        "--uplift",
        "edge_bps=1",
        "edge_bps=nan",
        "=",
        "[/red]",
        "[link=x]",
    ),
    *("\x1b[2J", "-I", "-O", "*", "{x}", "%s", "$(true)", "`true`", "9" * 400, "\udcff", "ü", "--seed", "-1"),
]


@pytest.fixture(scope="module")
def looked_at(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sample, which commands may change."""
    folder = tmp_path_factory.mktemp("looked-at") / "data"
    shutil.copytree(sample_run, folder, ignore=shutil.ignore_patterns("dagster"))
    return folder


COMMAND_LINES = {
    "command": st.sampled_from(COMMANDS),
    "words": st.lists(
        st.sampled_from(WORDS) | st.text(st.characters(blacklist_characters="\0"), max_size=12), max_size=5
    ),
}


@pytest.mark.xdist_group("sample_run")
@settings(max_examples=40)
@given(**COMMAND_LINES)
def test_any_command_line(looked_at: Path, command: list[str], words: list[str]) -> None:
    answers(looked_at, command, words)


@pytest.mark.faults
@settings(max_examples=400)
@given(**COMMAND_LINES)
def test_any_of_many_command_lines(looked_at: Path, command: list[str], words: list[str]) -> None:
    answers(looked_at, command, words)


def answers(looked_at: Path, command: list[str], words: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ET_DATA_DIR", str(looked_at))
        patch.setattr(sys, "argv", ["et", *command, *words])
        # A terminal's stream: it refuses what is no UTF-8, and keeps the command's own output out of the test's.
        with open(os.devnull, "w", encoding="utf-8") as sink:  # noqa: PTH123
            patch.setattr(sys, "stdout", sink)
            patch.setattr(sys, "stderr", sink)
            try:
                cli.main()
            except SystemExit as end:
                assert end.code in (None, 0, 1, 2)
