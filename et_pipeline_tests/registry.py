"""A StrategyRegistry: a real HTTP server on this machine that stores what it receives and gives the answers that
tests choose."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """One scripted answer; `hang` seconds before it, `drop` to break the connection instead."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    hang: float = 0.0
    drop: bool = False
    lie_about_length: bool = False


@dataclass
class Registry:
    """The server's address and everything it was sent.

    Attributes:
        url: Where it takes drift signals.
        script: The next answers; once they are used up, it takes what comes, unless it is down.
        down: Whether it answers 503 to what no script answers.
        requests: Path, headers and body of each request.
        taken: Idempotency key and body of each request that it took.
    """

    url: str
    script: list[Answer] = field(default_factory=list)
    down: bool = False
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    taken: list[tuple[str, bytes]] = field(default_factory=list)

    answer = Answer

    def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Waits until so many requests came in."""
        deadline = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"only {len(self.requests)} requests came"
            time.sleep(0.02)

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for _, headers, _ in self.requests]

    @property
    def bodies(self) -> dict[str, set[bytes]]:
        """What it took, by idempotency key: one body each, unless a key was used for different ones."""
        found: dict[str, set[bytes]] = {}
        for key, body in self.taken:
            found.setdefault(key, set()).add(body)
        return found

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Keeps a request; its answer."""
        self.requests.append((path, headers, body))
        answer = self.script.pop(0) if self.script else Answer(503 if self.down else 200)
        if answer.status == 200 and not answer.drop:
            self.taken.append((headers.get("Idempotency-Key", ""), body))
        return answer


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Registry]:
    """A registry for as long as the `with` lasts, perhaps with TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = registry.take(self.path, dict(self.headers), body)
            time.sleep(answer.hang)
            if answer.drop:
                # A reset, as from a process that was killed.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            with contextlib.suppress(OSError):
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) + 99 * answer.lie_about_length))
                self.end_headers()
                self.wfile.write(answer.body)
                self.close_connection = answer.lie_about_length

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

        def finish(self) -> None:
            with contextlib.suppress(OSError):
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that was killed

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    registry = Registry(f"{scheme}://localhost:{server.server_port}/v1/drift-signals")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
