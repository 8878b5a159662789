"""What happened, as sentences in order: the attacker's moves, the service's own timeline, the people's votes.

Rules: every time is wall time; what is shown beside a line is the seconds since the service answered the first harmful
activity with 2xx. A line of the service's timeline is told once.
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
    """All lines so far. `listen` is called for each, from whichever thread tells it; `names` stand in for ids."""

    listen: Callable[[Line], None] = lambda _line: None
    first_harm_s: float | None = None
    names: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, tone: Tone, sentence: str, at_s: float | None = None) -> None:
        """Add a line."""
        for known, name in self.names.items():
            sentence = sentence.replace(known, name)
        line = Line(time.time() if at_s is None else at_s, tone, sentence)
        with self._lock:
            self.lines.append(line)
        self.listen(line)

    def tell_once(self, key: str, tone: Tone, sentence: str, at_s: float) -> None:
        """Add a line unless one of the same key was told."""
        with self._lock:
            if key in self._known:
                return
            self._known.add(key)
        self.tell(tone, sentence, at_s)

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
