"""An HTTP server on a free loopback port, for tests that play the other side: one function answers every request."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as it came; `path` with its query, header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is answered; its length is told."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(status: int, document: object) -> Answer:
    """Return an answer whose body is a JSON document."""
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what went wrong here; that a caller hung up or was killed is what many tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(answer: Callable[[Asked], Answer | None], *, keep_alive: bool = False) -> Iterator[str]:
    """Serve until the block ends; yields the base URL. Where `answer` returns None, the connection ends unanswered."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if keep_alive else "HTTP/1.0"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = answer(Asked(self.command, self.path, headers, body))
            if found is None:
                self.close_connection = True
                return
            self.send_response(found.status)
            for name, value in (*found.headers.items(), ("Content-Length", str(len(found.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = _serve  # noqa: N815  the base class names it so
        do_POST = _serve  # noqa: N815  as above
        do_PUT = _serve  # noqa: N815  as above

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
