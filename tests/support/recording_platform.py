"""A `standard` platform that keeps its own ledger of effects and can stall, lose answers or refuse, as told.

It speaks only HTTP and knows nothing of the service: what its ledger says is what truly happened.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support import http_server
from tests.support.http_server import Answer, Asked, as_json


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

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return as_json(*platform.act(json.loads(asked.body)))
        return as_json(*platform.state(asked.path.rpartition("/")[2]))

    with http_server.serving(answer, keep_alive=True) as url:
        try:
            yield url
        finally:
            platform.go_on.set()
