"""What asks for people's attention: timers, pages, messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from service.domain.ids import IncidentId, MessageId
from service.domain.incident import Severity
from service.domain.plan import Step


class Audience(StrEnum):
    """Who reads a message. Messages to users are loosening in the sense of design D4: each waits for a quorum."""

    RESPONDERS = "responders"
    APPROVERS = "approvers"
    USERS = "users"


class MessageState(StrEnum):
    """`unknown`: handed over, the answer was lost; it is not sent again blindly."""

    HELD = "held"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one recipient over one channel."""

    id: MessageId
    incident_id: IncidentId | None
    approval_id: str | None
    audience: Audience
    channel: str
    recipient: str
    subject: str
    body: str
    state: MessageState
    idempotency_key: str
    attempt: int
    page: bool = False
    """Asks one person to act now: it goes before what merely tells."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A moment that must not be missed; unique by kind and subject."""

    id: str
    kind: str
    subject: str
    payload: Mapping[str, str]
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Reachable:
    """One person and how to reach him: channel id and recipient, in order of preference."""

    person_id: str
    name: str
    roles: tuple[str, ...]
    oncall_level: int | None
    routes: tuple[tuple[str, str], ...]
    last_resort: tuple[str, str] | None = None
    """His e-mail, when it is none of the routes and there is a mail channel."""


@dataclass(frozen=True, slots=True)
class StandingMandate:
    """An approval in advance, as its row says; only the votes of its approval lend it authority."""

    id: str
    scope: str
    limits: Mapping[str, tuple[str, ...]]
    approval_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """One person paged for an incident."""

    incident_id: IncidentId
    level: int
    person_id: str
    reason: str
    paged_at: datetime
    acknowledged_at: datetime | None


_PATIENCE: Final[Mapping[Severity, timedelta]] = {
    Severity.CRITICAL: timedelta(minutes=3),
    Severity.HIGH: timedelta(minutes=5),
    Severity.MEDIUM: timedelta(minutes=15),
    Severity.LOW: timedelta(hours=4),
}


def hour_of(moment: datetime) -> str:
    """Return the hour of a moment, as notes and events name it."""
    return f"{moment:%Y-%m-%dT%H}"


class Spent(StrEnum):
    """What of the guardian's gas of an hour is used up: the half that rejections get, or all of it, so that locks wait."""

    REJECTIONS = "rejections"
    EVERYTHING = "everything"


def guardian_note(chain: str, hour: str, what: str) -> str:
    """Return the key under which workers note what (Spent) of the guardian's hour is used up on a chain."""
    return f"guardian.spent:{chain}:{hour}:{what}"


def patience(severity: Severity) -> timedelta:
    """Return how long a level may stay silent before the next one is due."""
    return _PATIENCE[severity]


ENDS: Final = "step.ends"
"""The timer that tells people of a step that will soon hold no longer; its subject is the step."""
TOLD_BEFORE: Final = timedelta(hours=2)
"""How long before: enough for two approvers to be woken and to vote."""


def before_it_ends(step: Step, ends_at: datetime) -> tuple[str, str, datetime, Mapping[str, str]]:
    """Return kind, subject, due time and payload of the timer that tells people of the end of a step."""
    return ENDS, step.id, ends_at - TOLD_BEFORE, {"incident": step.incident_id, "ends_at": ends_at.isoformat()}


RETRY_AFTER_S: Final = (2, 5, 15, 60, 300, 900, 1800)
"""Pauses between delivery attempts, in seconds; after the last the message is tried once more, then it has failed."""
FALL_BACK_AFTER: Final = 3
"""After so many attempts over one channel a person is also reached over his next one."""
