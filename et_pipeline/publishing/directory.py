"""Who gets which notifications: `notifications.yaml`, with addresses and the routes to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from et_pipeline.contracts.plan import MAX_PLAN_BYTES
from et_pipeline.contracts.plan_yaml import UNREADABLE, read_yaml, unreadable
from et_pipeline.contracts.refusals import Refusal, explain
from et_pipeline.settings import Secret, Settings

Topic = Literal[
    "review_request",
    "split_request",
    "result",
    "drift",
    "stalled",
    "verdict_contradicted",
    "verdict_weakened",
    "check_failed",
    "check_warning",
    "run_failed",
]
TOPICS: tuple[Topic, ...] = get_args(Topic)
"""The topics of notifications: the kinds that a route may have."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class DirectoryError(ValueError):
    """`notifications.yaml`, or a secret that it refers to, cannot be used; the message says which and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Address(_Strict):
    """The place of an address. The address itself is an Apprise URL with passwords or tokens, so it is not in this
    file.

    Attributes:
        env: The environment variable with the address.
        file: The file with the address in its first line, relative to the folder of `notifications.yaml`.
    """

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError(
                "an address is a reference to where its URL stands; allowed: either env (the name of an environment "
                "variable) or file (the path of a file)"
            )
        return self


class Route(_Strict):
    """Which notifications go to which addresses; a condition that is left out matches everything.

    Attributes:
        to: Names of addresses.
        kinds: Topics, see `TOPICS`.
        owners: Owners of experiments, as plans name them; `*` stands for any characters.
        experiments: Ids of experiments; `*` stands for any characters.
    """

    to: Annotated[list[Name], Field(min_length=1)]
    kinds: list[Topic] | None = None
    owners: list[str] | None = None
    experiments: list[str] | None = None

    def takes(self, topic: str, owner: str | None, experiment_id: str | None) -> bool:
        """Whether a notification takes this route. One about no experiment takes only routes without owners and ids."""
        return (
            (self.kinds is None or topic in self.kinds)
            and _matches(self.owners, owner)
            and _matches(self.experiments, experiment_id)
        )


def _matches(patterns: list[str] | None, value: str | None) -> bool:
    return patterns is None or (
        value is not None and any(fnmatchcase(value, pattern) for pattern in patterns)
    )


class _File(_Strict):
    addresses: dict[Name, Address]
    routes: list[Route]

    @model_validator(mode="after")
    def _known_addresses(self) -> Self:
        unknown = sorted({name for route in self.routes for name in route.to} - set(self.addresses))
        if unknown:
            raise ValueError(
                f"routes: {', '.join(unknown)} is not one of the addresses; "
                f"allowed: {', '.join(sorted(self.addresses))}"
            )
        return self


class Directory(NamedTuple):
    """Addresses and routes.

    Attributes:
        path: The file from which they were read.
        addresses: The place of each address.
        routes: The routes, in the order of the file.
    """

    path: Path
    addresses: Mapping[str, Address]
    routes: list[Route]

    def recipients(self, topic: str, owner: str | None, experiment_id: str | None) -> list[str]:
        """Names of the addresses to which a notification is sent, each of them once."""
        found = [
            name for route in self.routes if route.takes(topic, owner, experiment_id) for name in route.to
        ]
        return list(dict.fromkeys(found))

    def url(self, name: str, environ: Mapping[str, str] | None = None) -> Secret:
        """The Apprise URL of an address.

        Raises:
            KeyError: There is no such address.
            DirectoryError: Its variable or file does not exist, or is empty.
        """
        address = self.addresses[name]
        if address.env is not None:
            text = (os.environ if environ is None else environ).get(address.env, "")
            where = f"the environment variable {address.env}"
        else:
            path = self.path.parent / str(address.file)
            where = f"the file {path}"
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise DirectoryError(
                    f"address {name}: {where} cannot be read ({getattr(error, 'strerror', 'no UTF-8')})"
                ) from None
        first = text.strip().splitlines()[:1]
        if not first:
            raise DirectoryError(
                f"address {name}: {where} is not set or empty; it has to hold an Apprise URL"
            )
        return Secret(first[0].strip())


def read_directory(settings: Settings) -> Directory:
    """Reads `notifications.yaml`; without this file there are no addresses and no routes.

    Raises:
        DirectoryError: The file cannot be read, or its content is not allowed.
    """
    path = settings.notify_path
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PLAN_BYTES + 1)
    except FileNotFoundError:
        return Directory(path, {}, [])
    except OSError as error:
        raise DirectoryError(f"{path}: not readable: {error.strerror}") from error
    found = parse_directory(content, path)
    if isinstance(found, Directory):
        return found
    raise DirectoryError("; ".join(str(refusal) for refusal in found))


def parse_directory(content: bytes, path: Path) -> Directory | list[Refusal]:
    """Reads the file's content.

    Returns:
        Addresses and routes, or every reason why the file is refused.
    """
    if len(content) > MAX_PLAN_BYTES:
        return [Refusal(str(path), None, "", "", f"larger than the {MAX_PLAN_BYTES} bytes it may have")]
    try:
        document, scalars = read_yaml(content)
    except UNREADABLE as error:
        return [Refusal(str(path), None, "", "", unreadable(content, error))]
    try:
        parsed = _File.model_validate(document)
    except ValidationError as error:
        without_secrets = {key: scalar for key, scalar in scalars.items() if not key.startswith("addresses")}
        return [
            Refusal(str(path), None, *explain(_shy(problem), without_secrets, keys="docs/notifications.md"))
            for problem in error.errors(include_url=False)
        ]
    return Directory(path, parsed.addresses, parsed.routes)


def _shy(problem: Any) -> dict[str, Any]:
    """A fault without any values under `addresses`, since somebody may have written the secret itself there."""
    return {**problem, "input": "(not shown)"} if problem["loc"][:1] == ("addresses",) else dict(problem)
