"""The commands in the documentation are valid, and the first steps work as they are described."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from et_pipeline.cli import app

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
INLINE = re.compile(r"`((?:ET_\w+=\S+ )*et [^`]+)`")
LINE = re.compile(r"^(?: {4,}|)((?:ET_\w+=\S+ )*et [a-z-].*)$", re.MULTILINE)
USAGE_ERROR = typer.BadParameter.__mro__[1]
"""What Typer raises for an option that it does not have; it exports only this class's children."""
PLACEHOLDER = re.compile(r"…|\.\.\.|\b[A-Z][A-Z_]+\b")


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `et` of a page: in backticks, in code blocks, and in what `&&` joins."""
    for found in [*INLINE.findall(text), *LINE.findall(text)]:
        for part in re.split(r"&&|\|| > ", found.split(" #")[0]):
            words = [word for word in shlex.split(part) if not re.match(r"ET_\w+=", word)]
            if (
                words[:1] == ["et"] and "--install-completion" not in words
            ):  # writes into the shell's own files
                yield [word for word in words[1:] if word != "…"]


COMMANDS = sorted(
    {(page.name, *words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))}
)


def refusal(arguments: list[str]) -> str | None:
    """Why the command line does not take these words; None where it does, or only lacks what a mention leaves out."""
    command, context = get_command(app), None
    while True:
        try:
            context = command.make_context("et", list(arguments), parent=context, allow_extra_args=True)
        except typer.Exit:  # --help and --version end here
            return None
        except typer.BadParameter as error:
            if type(error).__name__ == "MissingParameter":
                return None
            return (
                None
                if any(map(PLACEHOLDER.search, arguments)) or "does not exist" in str(error)
                else str(error)
            )
        except USAGE_ERROR as error:
            return str(error)
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if not isinstance(command, TyperGroup):
            return f"too many arguments: {rest}" if rest else None
        if not rest:
            return None
        found = command.get_command(context, rest[0])
        if found is None:
            return f"no such command: {rest[0]}"
        command, arguments = found, rest[1:]


def test_there_is_much_to_test() -> None:
    assert len(COMMANDS) > 60
    assert {words[1] for words in COMMANDS if len(words) > 1} > {
        "tick",
        "show",
        "status",
        "plan",
        "sign-off",
        "new",
    }
    assert isinstance(app, typer.Typer)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_of_the_docs_is_one(command: tuple[str, ...]) -> None:
    assert refusal(list(command[1:])) is None


@pytest.mark.parametrize("wrong", ["show x --jsn", "shwo x", "plan x.yaml --uplift 2 --lik y", "tick now"])
def test_a_wrong_command_is_found(wrong: str) -> None:
    assert refusal(wrong.split()) is not None


def test_the_first_steps_end_in_a_result_that_agrees_with_the_truth(tmp_path: Path) -> None:
    text = (PROJECT / "docs" / "first-steps.md").read_text(encoding="utf-8")
    section = text.split("## 4.")[1].split("\n## ")[0]
    lines = re.findall(r"^ {4}((?:ET_DATA_DIR=\w+ )?et .*)$", section, flags=re.MULTILINE)
    assert len(lines) == 4
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )  # fmt: skip
        # The last one finds the lines that are broken on purpose.
        assert done.returncode == (1 if " validate " in line else 0), f"{line}: {done.stdout}{done.stderr}"
    shown = subprocess.run(
        [sys.executable, "-m", "et_pipeline", "show", "generated-1", "--json"],
        env={**os.environ, "ET_DATA_DIR": str(tmp_path / "truth")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (primary,) = [row for row in json.loads(shown.stdout)["intervals"] if row["role"] == "primary"]
    assert primary["ci_lower"] < 2 < primary["ci_upper"]
