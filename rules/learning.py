"""One row of the learning sequence, and what may happen to an observation in it.

Rules: the sequence is the only input of replay. A row is applied from its own bytes alone; operation and payload say
everything that the baselines depend on.
"""

from enum import StrEnum
from typing import Annotated

import msgspec


class Operation(StrEnum):
    """What was done with one observation."""

    LEARN = "learn"
    """Scored, remembered and learned."""
    SKIP = "skip"
    """Scored and remembered (it happened), but not learned: it alerted, or its entity is under incident."""
    LATE_LEARN = "late_learn"
    """Learned after people cleared it; not scored or remembered a second time."""


class RecordKind(StrEnum):
    """Kinds of rows in the learning sequence."""

    ACTIVITY = "activity"
    INCIDENT_OPENED = "incident_opened"
    INCIDENT_CLOSED = "incident_closed"
    CLEARANCE = "clearance"
    VERDICT = "verdict"
    SETTINGS = "settings"
    RULES = "rules"
    PEER_GROUP = "peer_group"
    SUPPRESSION = "suppression"
    SUPPRESSION_LIFTED = "suppression_lifted"
    LISTS = "lists"


class LearningRecord(msgspec.Struct, frozen=True):
    """One row.

    ``payload`` by kind: ``activity`` and ``clearance`` the encoded observation; ``incident_opened`` and
    ``incident_closed`` ``{"entities": ["account:ID", "actor:ID", "destination:ID"]}``; ``verdict``
    a :class:`Verdict`; ``settings`` the encoded settings; ``rules`` ``{"digest": HEX}``; ``peer_group``
    ``{"account": ID, "peer_group": NAME | null}``; ``suppression`` a :class:`Suppression`; ``suppression_lifted``
    ``{"id": ID}``; ``lists`` ``{"lists": [ID]}``, which changes nothing here: what they say is told with each observation.
    """

    seq: int
    kind: str
    operation: str | None
    payload: bytes
    engine_version: str
    settings_digest: str


class Entities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of ``incident_opened`` and ``incident_closed``; each entity is ``account:ID``, ``actor:ID`` or so."""

    entities: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """Payload of ``verdict``: what people made of one alert, maybe days later.

    The entities and the event time are those of the judged activity, ``score`` is what its assessment said and
    ``judged`` the same field of the assessment, which says what the score was made of; without it the score alone is
    judged. Without an event time only the detectors' counts change.
    """

    verdict: str
    detectors: tuple[str, ...] = ()
    account: str | None = None
    actor: str | None = None
    destination: str | None = None
    device: str | None = None
    network: str | None = None
    occurred_at_us: int | None = None
    known_at_us: int | None = None
    score: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 0.0
    judged: tuple[float, ...] = ()


class Suppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of ``suppression``: what is found about an entity decides nothing until a time.

    It is about one detector, or without one about the score alone. ``entity`` is ``account:ID``, ``actor:ID``,
    ``destination:ID``, ``device:ID``, ``session:ID`` or ``network:`` and a name of ``rules.networks``.
    """

    id: str
    entity: str
    until_us: int
    owner: str
    reason: str
    detector: str | None = None


class Lifted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of ``suppression_lifted``."""

    id: str


class ListsInForce(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Payload of ``lists``: the address lists that count from here on."""

    lists: tuple[str, ...]


class RuleSet(msgspec.Struct, frozen=True):
    """Payload of ``rules``."""

    digest: str


class Membership(msgspec.Struct, frozen=True):
    """Payload of ``peer_group``."""

    account: str
    peer_group: str | None


class StateChange(msgspec.Struct, frozen=True, order=True):
    """One baseline record as the store keeps it, unique on (kind, entity)."""

    kind: int
    entity: str
    state: bytes
