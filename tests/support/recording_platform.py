"""A `standard` platform that keeps its own ledger of effects and can stall, lose answers or refuse, as told.

It speaks only HTTP and knows nothing of the service: what its ledger says is what truly happened.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RecordingPlatform:
    """Effects by id; `stall` lets an action take effect and then not answer until released."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.effects: list[tuple[str, str]] = []
        """(id, action) in order: one entry for each time something truly happened."""
        self.states: dict[str, str] = {}
        self.stall_before = threading.Event()
        self.stall_after = threading.Event()
        self.arrived = threading.Event()
        self.go_on = threading.Event()
        self.blind = False
        self.status_for_posts = 200
        self.lock = threading.Lock()

    def act(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take one action; the same id again has no second effect."""
        with self.lock:
            self.requests.append(body)
        if self.stall_before.is_set():
            self.arrived.set()
            self.go_on.wait(60)
        with self.lock:
            if self.status_for_posts == 200 and body["id"] not in self.states:
                self.states[body["id"]] = "done"
                self.effects.append((body["id"], body["action"]))
        if self.stall_after.is_set():
            self.arrived.set()
            self.go_on.wait(60)
        return self.status_for_posts, {"receipt": f"r-{body['id'][:8]}", "state": "done"}

    def state(self, identity: str) -> tuple[int, dict[str, Any]]:
        """Answer what became of an id."""
        if self.blind:
            return 500, {}
        with self.lock:
            found = self.states.get(identity)
        return (404, {}) if found is None else (200, {"state": found})


@contextmanager
def serving(platform: RecordingPlatform) -> Iterator[str]:
    """Serve on a free loopback port; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*platform.act(body))

        def do_GET(self) -> None:
            self._answer(*platform.state(self.path.rpartition("/")[2]))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A caller that was killed is what the tests are about: no trace of it."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        platform.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
