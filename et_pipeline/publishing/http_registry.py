"""The StrategyRegistry over HTTP: where drift signals go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from et_pipeline import __version__
from et_pipeline.publishing.destinations import Message, RefusedError, Send, UnavailableError
from et_pipeline.settings import RegistrySettings, Secret

RETRIED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""The 4xx answers that say nothing against the message itself."""
MAX_RETRY_AFTER_S = 86_400.0
MAX_BODY = 4096
MAX_DETAIL = 400


class HttpRegistry:
    """Posts each message as JSON, with its event id as the `Idempotency-Key`.

    2xx is delivered. 408, 429, 5xx, timeouts and broken connections are tried again, after `Retry-After`
    where the registry gives one. Every other answer is final, redirects included: following one could carry
    the token to another host. Certificates are verified; nothing turns that off.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._host = urlsplit(settings.url).netloc

    @contextmanager
    def open(self) -> Iterator[Send]:
        """A session, so that messages share a connection; it connects with the first message."""
        with requests.Session() as session:
            session.auth = _Bearer(self._settings.token)
            session.headers.update(
                {
                    "Content-Type": "application/json; charset=utf-8",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "User-Agent": f"gov.experimenttracker/{__version__}",
                }
            )
            yield partial(self._send, session)

    def _send(self, session: requests.Session, message: Message) -> str:
        settings = self._settings
        try:
            with session.post(
                settings.url,
                data=message.body,
                headers={"Idempotency-Key": message.event_id},
                timeout=(settings.timeout_s, settings.timeout_s),
                verify=True if settings.ca_file is None else str(settings.ca_file),
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._judge(response)
        except requests.exceptions.RequestException as error:
            # The library's own text may quote headers; its type and the deepest cause say enough.
            raise UnavailableError(self._redacted(f"{self._host}: {_cause(error)}")) from None

    def _judge(self, response: requests.Response) -> str:
        status = response.status_code
        answer = f"HTTP {status}"
        if 200 <= status < 300:
            _beginning(response)  # a short body read to its end lets the next message share the connection
            return answer
        if 300 <= status < 400:
            raise RefusedError(
                f"{answer} from {self._host}: redirects are not followed; "
                "set ET_REGISTRY_URL to the final address"
            )
        text = self._redacted(f"{answer} from {self._host}: {_beginning(response)}")
        if status in RETRIED or status >= 500:
            raise UnavailableError(text, _retry_after(response))
        raise RefusedError(text)

    def _redacted(self, text: str) -> str:
        """The text up to where the token begins, should the registry have echoed it, and not too long."""
        token = self._settings.token
        if token is not None:
            text = text.partition(token.reveal()[:8])[0]
        return text[:MAX_DETAIL].removesuffix(": ")


class _Bearer(AuthBase):
    """Sets the token, and keeps `requests` from taking other credentials out of a `.netrc`."""

    def __init__(self, token: Secret | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


def _beginning(response: requests.Response) -> str:
    """The beginning of an answer's body, on one line; one read only, since a body may drip for ever."""
    try:
        raw = response.raw.read1(MAX_BODY)
    except (urllib3.exceptions.HTTPError, OSError):
        return ""  # the status has arrived, and the status decides
    text = " ".join(raw.decode("utf-8", "replace").split())
    return "".join(character if character.isprintable() else "�" for character in text)


def _cause(error: BaseException) -> str:
    """What lies at the bottom of a chain of exceptions, for example `ConnectionRefusedError: …`."""
    seen: set[int] = set()
    cause = error
    while id(cause) not in seen:
        seen.add(id(cause))
        inner = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
        if not isinstance(inner, BaseException):
            inner = next((item for item in cause.args if isinstance(item, BaseException)), None)
        if inner is None:
            break
        cause = inner
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that `Retry-After` asks for, given as seconds or as a date (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
