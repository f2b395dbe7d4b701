"""A StrategyRegistry as a process of its own: takes signals, notes their ids, and is down while a file says so."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve(down: Path, received: Path) -> None:
    """Prints its port, then answers for ever: 503 while `down` exists, else 200 and a line in `received`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            up = not down.exists()
            if up:
                with received.open("a") as log:
                    log.write(f"{self.headers['Idempotency-Key']}\n")
            self.send_response(200 if up else 503)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
