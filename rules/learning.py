"""One row of the learning sequence, and what may happen to an observation in it.

Rules: the sequence is the only input of replay. A row is applied from its own bytes alone; operation and payload say
everything that the baselines depend on.
"""

from enum import StrEnum

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


class LearningRecord(msgspec.Struct, frozen=True):
    """One row.

    ``payload`` by kind: ``activity`` and ``clearance`` the encoded observation; ``incident_opened`` and
    ``incident_closed`` ``{"entities": ["account:ID", "actor:ID", "destination:ID"]}``; ``verdict``
    ``{"verdict": "true_positive" | "false_positive", "detectors": [ID]}``; ``settings`` the encoded settings;
    ``rules`` ``{"digest": HEX}``; ``peer_group`` ``{"account": ID, "peer_group": NAME | null}``.
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
    """Payload of ``verdict``."""

    verdict: str
    detectors: tuple[str, ...] = ()


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
