"""What happened, as sentences in order: the attacker's moves, the service's own timeline, the people's votes.

Rules: every time is wall time; what is shown beside a line is the seconds since the service answered the first harmful
activity with 2xx. A line of the service's timeline is told once. Lines are shown in the order of their times: what was read
late stands where it belongs, so each waits until whoever calls `show` says that nothing older comes any more.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["quiet", "harm", "detect", "act", "vote", "good", "bad", "people"]
ICONS: dict[Tone, str] = {
    "quiet": "·",
    "harm": "✗",
    "detect": "◉",
    "act": "▶",
    "vote": "✓",
    "good": "★",
    "bad": "!",
    "people": "✉",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence; `at_s` in Unix seconds."""

    at_s: float
    tone: Tone
    sentence: str


@dataclass(slots=True)
class Story:
    """All lines so far. `listen` is called for each by `show`, in order of time; `names` stand in for ids."""

    listen: Callable[[Line], None] = lambda _line: None
    first_harm_s: float | None = None
    names: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    _waiting: list[tuple[float, Line]] = field(default_factory=list)
    """(when it may be shown, at the earliest; line)."""
    _known: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, tone: Tone, sentence: str, at_s: float | None = None) -> None:
        """Add a line."""
        for known, name in self.names.items():
            sentence = sentence.replace(known, name)
        now = time.time()
        line = Line(now if at_s is None else at_s, tone, sentence)
        with self._lock:
            self.lines.append(line)
            self._waiting.append((min(now, line.at_s), line))  # a clock that is ahead of ours keeps no line back

    def tell_once(self, key: str, tone: Tone, sentence: str, at_s: float) -> None:
        """Add a line unless one of the same key was told."""
        with self._lock:
            if key in self._known:
                return
            self._known.add(key)
        self.tell(tone, sentence, at_s)

    def show(self, until_s: float | None = None) -> None:
        """Show what is as old as `until_s` (Unix seconds; None: everything), and what is older than any of that."""
        with self._lock:
            due = [line.at_s for told_s, line in self._waiting if until_s is None or told_s <= until_s]
            last_s = max(due, default=None)
            if last_s is None:
                return
            ready = [line for _, line in self._waiting if line.at_s <= last_s]
            self._waiting = [one for one in self._waiting if one[1].at_s > last_s]
            for line in sorted(ready, key=lambda line: line.at_s):
                self.listen(line)

    def since_harm(self, at_s: float) -> float | None:
        """Return the seconds since the first harm, None before it is known."""
        return None if self.first_harm_s is None else at_s - self.first_harm_s


_TONES: tuple[tuple[str, Tone], ...] = (
    ("incident.opened", "detect"),
    ("incident.contained", "good"),
    ("incident.", "people"),
    ("alert.", "detect"),
    ("step.verified", "act"),
    ("step.refused", "bad"),
    ("step.failed", "bad"),
    ("step.unknown", "bad"),
    ("step.", "quiet"),
    ("approval.", "people"),
    ("vote.cast", "vote"),
    ("vote.", "bad"),
    ("plan.", "act"),
    ("escalation.", "people"),
    ("message.", "people"),
    ("review.", "good"),
)


def tone_of(kind: str) -> Tone:
    """Return how an entry of the service's timeline is shown."""
    return next((tone for start, tone in _TONES if kind.startswith(start)), "quiet")
