"""The StrategyRegistry over HTTP, the destination of drift signals."""

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
"""The 4xx answers that are not about the message itself, so that it is sent again."""
MAX_RETRY_AFTER_S = 86_400.0
MAX_BODY = 4096
MAX_DETAIL = 400


class HttpRegistry:
    """Posts each message as JSON, with its event id as the `Idempotency-Key`.

    2xx means delivered. After 408, 429, 5xx, timeouts and broken connections the message is sent again, after the time
    in `Retry-After` if the registry gives one. Every other answer is final, including redirects: to follow one could
    send the token to another host. Certificates are always verified.
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
            # The library's message may contain headers, so only the type and text of the innermost cause are used.
            raise UnavailableError(self._redacted(f"{self._host}: {_cause(error)}")) from None

    def _judge(self, response: requests.Response) -> str:
        status = response.status_code
        answer = f"HTTP {status}"
        if 200 <= status < 300:
            _beginning(
                response
            )  # a body that was read to its end lets the next message use the same connection
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
        """The text, shortened, and cut off before the token in case the registry sent it back."""
        token = self._settings.token
        if token is not None:
            text = text.partition(token.reveal()[:8])[0]
        return text[:MAX_DETAIL].removesuffix(": ")


class _Bearer(AuthBase):
    """Sets the token, and prevents `requests` from using other credentials of a `.netrc` file."""

    def __init__(self, token: Secret | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


def _beginning(response: requests.Response) -> str:
    """The beginning of an answer's body, on one line. It reads only once, since a server may send a body without
    end."""
    try:
        raw = response.raw.read1(MAX_BODY)
    except (urllib3.exceptions.HTTPError, OSError):
        return ""  # only the status matters, and it is known already
    text = " ".join(raw.decode("utf-8", "replace").split())
    return "".join(character if character.isprintable() else "�" for character in text)


def _cause(error: BaseException) -> str:
    """The innermost cause of an exception, for example `ConnectionRefusedError: …`."""
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
    """Seconds to wait according to `Retry-After`, which is a number or a date (RFC 9110, section 10.2.3)."""
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
