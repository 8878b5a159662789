"""A running emulator, and a receiver that plays the other side: webhooks and co-signer callbacks."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from drills.emulator.server import EmulatorServer
from tests.integration.drills.harness import Drill, OtherSide, Received, key_of, seed_of


@pytest.fixture
def other_side() -> Iterator[OtherSide]:
    side = OtherSide(key_of("callback"))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = side.answer(Received(self.path, dict(self.headers), body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    side.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield side
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def make_drill(other_side: OtherSide, tmp_path: Path) -> Iterator[Callable[..., Drill]]:
    started: list[tuple[EmulatorServer, httpx.Client]] = []

    def make(**changes: object) -> Drill:
        server = EmulatorServer(record=tmp_path / "exchanges.jsonl")
        server.__enter__()
        http = httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {server.emulator.token}"}, trust_env=False
        )
        started.append((server, http))
        api_key = key_of("api user")
        drill = Drill(server, http, api_key, {})
        drill.seeded = drill.post("/seed", seed_of(other_side, api_key) | changes)
        return drill

    yield make
    for server, http in started:
        http.close()
        server.__exit__(None, None, None)


@pytest.fixture
def drill(make_drill: Callable[..., Drill]) -> Drill:
    return make_drill()
