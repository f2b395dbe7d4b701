"""The report bus on NATS JetStream: connects to it and publishes the pipeline's own reports on it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.api import Header
from nats.js.errors import APIError, NoStreamResponseError
from nkeys import NkeysError  # type: ignore[import-untyped]

from et_pipeline.publishing.destinations import Message, RefusedError, Send, UnavailableError
from et_pipeline.settings import NatsSettings


class NatsBus:
    """Publishes messages with their event id as `Nats-Msg-Id`.

    A message counts as delivered when JetStream has acknowledged it, which it does after storing it.
    The server drops a message whose id it received within its duplicate window. After that window, readers recognise a
    duplicate by its `report_id`.
    """

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings

    @contextmanager
    def open(self) -> Iterator[Send]:
        """Connects once, to send some messages."""
        with asyncio.Runner() as runner:
            connection = connected(self._settings)
            client = runner.run(connection.__aenter__())
            try:
                yield lambda message: runner.run(self._publish(client, message))
            finally:
                runner.run(connection.__aexit__(None, None, None))

    async def _publish(self, client: Client, message: Message) -> str:
        settings = self._settings
        try:
            receipt = await client.jetstream(timeout=settings.timeout_s).publish(
                settings.publish_subject,
                message.body,
                stream=settings.stream,
                headers={Header.MSG_ID: message.event_id},
            )
        except MaxPayloadError as error:
            raise RefusedError(f"{len(message.body)} bytes are more than the server takes at once") from error
        except NoStreamResponseError as error:
            raise UnavailableError(
                f"no JetStream stream takes {settings.publish_subject}: add the subject to {settings.stream}"
            ) from error
        except (NatsError, OSError) as error:
            raise unavailable(settings, error) from error
        duplicate = ", which had it already" if receipt.duplicate else ""
        return f"stored in {receipt.stream}{duplicate}, sequence {receipt.seq}"


@asynccontextmanager
async def connected(settings: NatsSettings) -> AsyncIterator[Client]:
    """A connection that raises an error instead of waiting for ever; its user tries again.

    Raises:
        UnavailableError: The server cannot be reached, or refuses the credentials.
    """
    if settings.creds_file is not None:
        _check_credentials(settings.creds_file)
    problems: list[Exception] = []

    async def note(error: Exception) -> None:
        problems.append(error)

    try:
        async with asyncio.timeout(settings.timeout_s):
            client = await nats.connect(
                settings.url,
                name="gov.experimenttracker",
                error_cb=note,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # also applies to the first connection, which otherwise takes minutes
                reconnect_time_wait=0,
                tls=None if settings.ca_file is None else ssl.create_default_context(cafile=settings.ca_file),
                user_credentials=None if settings.creds_file is None else str(settings.creds_file),
            )
    except (NatsError, OSError, ValueError, NkeysError) as error:
        raise unavailable(settings, problems[-1] if problems else error) from error
    try:
        yield client
    finally:
        await client.close()


def _check_credentials(path: Path) -> None:
    """Refuses a file that is not a credentials file; the client's own error would name neither file nor cause."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"ET_NATS_CREDS: {path.name} cannot be read: {type(error).__name__}") from None
    if not all(f"-----BEGIN {part}-----" in text for part in ("NATS USER JWT", "USER NKEY SEED")):
        raise UnavailableError(f"ET_NATS_CREDS: {path.name} is no NATS credentials file (JWT and seed)")


def unavailable(settings: NatsSettings, error: BaseException) -> UnavailableError:
    """An error with a message that names the server, since the client's own messages are often empty."""
    if isinstance(error, APIError):
        return UnavailableError(
            f"JetStream at {settings.url} says: {error.description} (code {error.err_code})"
        )
    return UnavailableError(f"NATS at {settings.url} is unavailable: {str(error) or type(error).__name__}")
