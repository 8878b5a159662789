"""Watches the service as a person with a screen would: hears event names over SSE, then re-reads under his own rights.

Rules: the stream carries ids only; a broken stream is taken up again after the last event heard; what is told comes from
the service's own timeline.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from drills.runner.approvers import Approvers
from drills.runner.errors import ApiError, DrillError
from drills.runner.events import Told
from drills.runner.service import Json, Service
from drills.runner.story import Story, tone_of

QUIET_S = 1.5
SETTLED_S = QUIET_S + 1.0
"""After that every open incident was read again, so that nothing older is told any more."""
REOPEN_S = 0.3
SILENT_KINDS = ("step.started", "step.ready", "message.queued", "message.held", "approval.requested")
TOLD_ONCE = ("message.sent", "alert.joined")
"""Kinds that come again and again: each of their sentences, up to its first comma, is told once."""
FINISHED = frozenset({"done", "failed", "refused", "expired", "undone"})


@dataclass(slots=True)
class Watch:
    """What the drill knows of the service. Use as a context manager; call `look` often."""

    service: Service
    reader: str = field(repr=False)
    story: Story
    approvers: Approvers
    incidents: dict[str, Json] = field(default_factory=dict)
    _heard: "queue.SimpleQueue[Told]" = field(default_factory=queue.SimpleQueue)
    _stop: threading.Event = field(default_factory=threading.Event)
    _listening: threading.Event = field(default_factory=threading.Event)
    _looked_at: float = 0.0

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, name="events", daemon=True).start()
        if not self._listening.wait(10):
            raise DrillError("the stream of events did not open; look into logs/api.log of the home")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def look(self) -> None:
        """Take in what was heard and vote on what waits."""
        ids = self._drain()
        if time.monotonic() - self._looked_at > QUIET_S:
            ids |= {i for i, incident in self.incidents.items() if incident["state"] != "closed"}
            self._looked_at = time.monotonic()
        for incident_id in sorted(ids):
            self._read(incident_id)
        self.approvers.vote()
        self.story.show(time.time() - SETTLED_S)

    def steps(self, incident_id: str) -> list[Json]:
        """Return the steps of an incident as last read."""
        return list(self.incidents[incident_id]["steps"])

    def unfinished(self, incident_id: str) -> list[Json]:
        """Return the steps of an incident that have not ended."""
        return [step for step in self.steps(incident_id) if step["state"] not in FINISHED]

    def _drain(self) -> set[str]:
        found: set[str] = set()
        with contextlib.suppress(queue.Empty):
            while True:
                told = self._heard.get_nowait()
                found |= set(_ids(told.ids.values(), "inc_"))
                if told.name == "approval_requested":
                    for approval_id in _ids(told.ids.values(), "apr_"):
                        self.approvers.heard(approval_id)
                elif not found:
                    found |= set(self.incidents)
        return found

    def _read(self, incident_id: str) -> None:
        incident = self.service.get(f"/v1/incidents/{incident_id}", self.reader)
        self.incidents[incident_id] = incident
        for entry in incident["timeline"]:
            kind, sentence = str(entry["kind"]), str(entry["sentence"])
            if kind not in SILENT_KINDS:
                key = sentence.partition(",")[0] if kind in TOLD_ONCE else str(entry["id"])
                self.story.tell_once(f"{incident_id}/{key}", tone_of(kind), sentence, seconds(entry["at"]))

    def _listen(self) -> None:
        last = ""
        while not self._stop.is_set():
            with contextlib.suppress(ApiError), self.service.events(self.reader, last) as stream:
                self._listening.set()
                for told in stream:
                    last = told.number or last
                    self._heard.put(told)
                    if self._stop.is_set():
                        return
            self._stop.wait(REOPEN_S)


def seconds(text: Any) -> float:
    """Return an RFC 3339 time as Unix seconds."""
    return datetime.fromisoformat(str(text)).timestamp()


def _ids(values: Iterable[str], prefix: str) -> list[str]:
    return [value for value in values if value.startswith(prefix)]
