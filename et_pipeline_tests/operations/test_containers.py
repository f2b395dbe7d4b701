"""The container files agree with docs/production.md. `make containers` builds and runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from et_pipeline_tests.conftest import PROJECT

CONTAINERFILE = (PROJECT / "Containerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("code", "daemon", "webserver")


def test_the_linter_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, PROJECT / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_into_the_image_is_in_its_context() -> None:
    kept = {
        line.removeprefix("!")
        for line in (PROJECT / ".containerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        name
        for arguments in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, flags=re.MULTILINE)
        for name in arguments.split()[:-1]
    }
    assert copied == kept
    assert all((PROJECT / name).exists() for name in copied)


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == "experimenttracker"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "cap_add" not in service and "user" not in service
    assert re.findall(r"^USER (.*)$", CONTAINERFILE, flags=re.MULTILINE)[-1] == "10001:10001"


def test_only_the_code_location_sees_the_data_and_only_this_machine_the_web_server() -> None:
    with_data = {
        name for name in OURS if any(mount.endswith(":/data") for mount in SERVICES[name].get("volumes", []))
    }
    assert with_data == {"code"}
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"webserver": ["127.0.0.1:3000:3000"]}


def test_each_service_has_what_the_configuration_asks_of_its_environment() -> None:
    folder = PROJECT / "docs" / "several-machines"
    asked = {
        name for path in folder.glob("*.yaml") for name in re.findall(r"\{env: (\w+)\}", path.read_text())
    }
    assert asked
    for name in OURS:
        assert asked <= SERVICES[name]["environment"].keys(), name
    code = SERVICES["code"]
    assert code["environment"]["ET_CODE_HOST"] == "code"
    assert code["command"][-1] == code["environment"]["ET_CODE_PORT"] == code["healthcheck"]["test"][-1]
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == code["environment"]["ET_POSTGRES_USER"]


def test_no_password_stands_in_the_file() -> None:
    given = [
        value
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
        if name.endswith("PASSWORD")
    ]
    assert len(given) == 4
    assert all(re.fullmatch(r"\$\{ET_POSTGRES_PASSWORD:\?.+\}", value) for value in given)


@pytest.mark.parametrize("name", OURS)
def test_what_a_service_starts_is_installed_and_knows_its_options(name: str) -> None:
    command = SERVICES[name]["command"]
    first_option = next(place for place, word in enumerate(command) if word.startswith("-"))
    program, *words = command[:first_option]
    asked = [Path(sys.executable).with_name(program), *words, "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for option in (word.partition("=")[0] for word in command if word.startswith("--")):
        assert option in done.stdout, option
