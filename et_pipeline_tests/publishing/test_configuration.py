"""`docs/configuration.md` agrees with the code, and settings refuse what is not allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from et_pipeline.settings import Settings, SettingsError

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
COMPLETE = {"ET_REGISTRY_URL": "https://registry.example/", "ET_NATS_URL": "tls://bus.example:4222"}


class Recording(Mapping[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values_, self.asked = values, set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def documented() -> dict[str, tuple[str, str]]:
    """Default and allowed values of each variable in the tables."""
    rows = re.findall(r"^\| `(ET_\w+)` \| (.*?) \| (.*?) \| .+ \|$", DOCS.read_text(encoding="utf-8"), re.M)
    return {name: (default.strip("`"), allowed) for name, default, allowed in rows}


def test_every_variable_that_is_read_is_documented_and_none_else():
    environment = Recording(COMPLETE)
    Settings.from_env(environment)
    assert set(documented()) == environment.asked


def test_the_documented_defaults_are_those_of_the_code():
    plain = Settings.from_env(COMPLETE)
    stated = {
        name: default.replace("<ET_DATA_DIR>", str(plain.data_dir))
        for name, (default, _) in documented().items()
        if default != "none" and name not in COMPLETE
    }
    assert Settings.from_env(COMPLETE | stated) == plain


def test_without_any_variable_messages_go_to_files():
    settings = Settings.from_env({})
    assert (settings.registry, settings.nats) == (None, None)
    assert settings == Settings.from_env({"ET_REGISTRY_URL": "", "ET_NATS_URL": ""})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ET_REGISTRY_URL", "http://registry.example/", "allowed: https"),
        ("ET_REGISTRY_URL", "ftp://registry.example/", "https://host"),
        ("ET_REGISTRY_URL", "registry.example", "https://host"),
        ("ET_REGISTRY_URL", "https://[bad/", "https://host"),
        ("ET_REGISTRY_URL", "https://", "https://host"),
        ("ET_REGISTRY_URL", "https://h:99999/", "https://host"),
        ("ET_REGISTRY_TIMEOUT", "0", "above 0"),
        ("ET_REGISTRY_TIMEOUT", "soon", "seconds"),
        ("ET_REGISTRY_CA_FILE", "/nowhere/ca.pem", "which is not a file"),
        ("ET_NATS_URL", "http://bus.example", "nats://host or tls://host"),
        ("ET_NATS_STREAM", "a.b", "letters, digits"),
        ("ET_NATS_DURABLE", "two words", "letters, digits"),
        ("ET_NATS_SUBJECT", "a..b", "NATS subject"),
        ("ET_NATS_SUBJECT", "a.>.b", "NATS subject"),
        ("ET_NATS_PUBLISH_SUBJECT", "reports.*", "NATS subject"),
        ("ET_NATS_CREDS", "/nowhere/bus.creds", "which is not a file"),
        ("ET_DELIVERY_ATTEMPTS", "0", "between 1 and 1000"),
        ("ET_DELIVERY_ATTEMPTS", "²", "between 1 and 1000"),
        ("ET_LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("ET_MODE", "live", "shadow_only, limited_live"),
    ],
)
def test_a_refusal_names_variable_value_and_what_is_allowed(variable, value, message):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(COMPLETE | {variable: value})
    assert variable in str(caught.value)
    assert message in str(caught.value)
    assert repr(value) in str(caught.value) or value == "0"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ET_REGISTRY_TOKEN", "s3cret\nX-Injected: yes"),
        ("ET_REGISTRY_TOKEN", "s3cret token"),
        ("ET_REGISTRY_URL", "https://user:s3cret@registry.example/"),
        ("ET_NATS_URL", "nats://s3cret@bus.example"),
        ("ET_NATS_URL", "ftp://s3cret@bus.example"),
    ],
)
def test_a_refusal_never_shows_a_secret(variable, value):
    with pytest.raises(SettingsError, match=variable) as caught:
        Settings.from_env(COMPLETE | {variable: value})
    assert "s3cret" not in str(caught.value)


def test_a_token_without_a_registry_is_refused_since_signals_would_go_to_files():
    with pytest.raises(SettingsError, match="set both or neither"):
        Settings.from_env({"ET_REGISTRY_TOKEN": "abc"})


@pytest.mark.parametrize("subject", [">", "a.>", "a.*.c", "*", "a.b-c.D_1"])
def test_subjects_that_nats_takes_are_taken(subject):
    settings = Settings.from_env(COMPLETE | {"ET_NATS_SUBJECT": subject})
    assert settings.nats is not None and settings.nats.subject == subject


def test_plain_http_is_for_this_machine_only():
    for host in ("localhost:8080", "127.0.0.1", "[::1]:80"):
        assert Settings.from_env({"ET_REGISTRY_URL": f"http://{host}/"}).registry is not None
