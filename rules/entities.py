"""References to entities, ``account:ID`` and so on: which are under incident, and whose findings are suppressed.

Rules: a reference names one word of a row and the fingerprint that stands there; text never reaches the kernel. A
suppressed finding is still told, and says by which suppression; it expires by the later of event time and receipt. A
network may be suppressed and is never under incident: too many people share one.
"""

from typing import Final

import msgspec

from rules.arrays import F8
from rules.event import (
    E_ACCOUNT,
    E_ACTOR,
    E_BLOCK,
    E_DESTINATION,
    E_DEVICE,
    E_NETWORK,
    E_RECEIVED_US,
    E_SESSION,
    fingerprint,
)
from rules.features.frame import N_NOW_US, Frame
from rules.learning import Suppression
from rules.networks import NAMED, is_block, is_system
from rules.observation import Observation
from rules.signal import Decision, Signal

WORDS: Final = {
    "account": E_ACCOUNT,
    "actor": E_ACTOR,
    "destination": E_DESTINATION,
    "device": E_DEVICE,
    "session": E_SESSION,
}
"""Sorts of entities that may be under incident, with the word of a row."""

Place = tuple[int, float]


def entities_of(observation: Observation) -> tuple[str, ...]:
    """The references under which an observation's entities are frozen: ``account:ID``, ``actor:ID`` and so on."""
    named = (
        ("account", observation.account),
        ("actor", observation.actor),
        ("destination", observation.destination),
        ("device", observation.device),
        ("session", observation.session),
    )
    return tuple(f"{sort}:{name}" for sort, name in named if name)


def place_of(reference: str, salt: str) -> Place | None:
    """The word of a row and the fingerprint that a reference means, or ``None`` for sorts that rows do not hold."""
    sort, _, name = reference.partition(":")
    word = WORDS.get(sort)
    return None if word is None or not name else (word, fingerprint(name, salt))


def network_word(name: str) -> int | None:
    """The word of a row that a network's name is compared with, or ``None`` for what names none."""
    if is_system(name):
        return E_NETWORK
    return E_BLOCK if is_block(name) else None


def _suppressed_place(reference: str, salt: str) -> Place | None:
    """As ``place_of``, of what may be suppressed: networks too."""
    sort, _, name = reference.partition(":")
    if sort != "network":
        return place_of(reference, salt)
    word = network_word(name)
    return None if word is None else (word, fingerprint(name, salt))


class Frozen:
    """Entities under incident, by how many."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._places: set[Place] = set()

    def change(self, reference: str, by: int, salt: str) -> None:
        """Add to or take from the incidents of an entity."""
        self.put(reference, max(0, self.counts.get(reference, 0) + by), salt)

    def put(self, reference: str, count: int, salt: str) -> None:
        """Set how many incidents an entity is under."""
        self.counts[reference] = count
        place = place_of(reference, salt)
        if place is not None and count > 0:
            self._places.add(place)
        elif place is not None:
            self._places.discard(place)

    def holds(self, row: F8) -> bool:
        """Whether any of a row's entities is under incident."""
        return bool(self._places) and any((word, float(row[word])) in self._places for word in WORDS.values())

    def words(self) -> dict[int, list[float]]:
        """Fingerprints under incident by word of a row."""
        found: dict[int, list[float]] = {}
        for word, key in self._places:
            found.setdefault(word, []).append(key)
        return found


class Suppressions:
    """Suppressions by id, as stored; lifted ones stay as empty bytes."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self._active: dict[str, tuple[Place, Suppression]] = {}

    def put(self, identity: str, stored: bytes, salt: str) -> None:
        """Add one, or lift it with empty bytes. Raises ``msgspec.DecodeError`` or ``ValueError``, and then does nothing."""
        if not stored:
            self._active.pop(identity, None)
        else:
            one = msgspec.json.decode(stored, type=Suppression)
            place = _suppressed_place(one.entity, salt)
            if place is None:
                raise ValueError(
                    f"suppression {identity}: entity must be {':ID, '.join(WORDS)}:ID or network: and {NAMED}"
                )
            self._active[identity] = (place, one)
        self.stored[identity] = stored

    def _of(self, frame: Frame, detector: str | None) -> str | None:
        now_us = max(frame.now[N_NOW_US], frame.event[E_RECEIVED_US])
        for (word, key), one in self._active.values():
            if one.detector == detector and frame.event[word] == key and now_us < one.until_us:
                return f"suppression {one.id} of {one.owner}: {one.reason}"
        return None

    def of_score(self, frame: Frame) -> str | None:
        """What lets the score of this event decide nothing, or ``None``."""
        return self._of(frame, None)

    def apply(self, signal: Signal, frame: Frame) -> Signal:
        """The signal as it counts."""
        told = self._of(frame, signal.detector)
        if told is None:
            return signal
        return msgspec.structs.replace(signal, decision=Decision.ALLOW, silenced=told)
