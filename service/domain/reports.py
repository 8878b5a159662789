"""What people say of activities that the engine let pass: a theft that it missed, or that nothing was wrong.

Rules: a report raises an alert that stops whatever an alert of the engine would, and teaches what it says only once its
incident is closed as true. For ordinary activities people may vouch, but nobody chooses for which: a share of them, drawn
by the digest of an id that the service makes itself, one in two days about each destination (actor, account where there is
none), and nothing that an open incident is about. So who moves money does not decide what is called good, and who holds a
judge's token can wash a destination slowly at best.
"""

import hashlib
from typing import Final

from rules.observation import decode
from service.domain.activity import Family
from service.domain.explaining import Assessed
from service.domain.ids import AlertId, new_id
from service.domain.incident import Alert, IncidentKind, Severity
from service.domain.observing import KIND_OF_FAMILY

SAMPLED: Final = 655
"""Of 65,536 activities so many are drawn: one in a hundred."""
_REPORTED: Final = "hold"
"""People who report a theft are as sure as the engine is when it holds."""


def is_sampled(activity_id: str) -> bool:
    """Say whether an activity is one of those that people may vouch for (`SAMPLED`)."""
    return int.from_bytes(hashlib.sha256(activity_id.encode()).digest()[:2]) < SAMPLED


def reported(assessed: Assessed, kind: IncidentKind | None, by: str) -> tuple[Alert, str]:
    """Return the alert that a person raises on an activity, and its title; without a kind the activity's family tells it.

    It dates from when we received the activity, as every alert does: what its sender says of time would move an incident's
    first harm, and with it where the money is looked for.
    """
    family = Family(assessed.kind.partition(".")[0])
    alert = Alert(
        id=AlertId(new_id("alr")),
        connection=assessed.connection,
        activity_id=assessed.id,
        dedup_key=f"reported|{assessed.id}",
        kind=kind or KIND_OF_FAMILY[family],
        severity=Severity.HIGH,
        decision=_REPORTED,
        score=assessed.score or 0.0,
        p_value=1.0 if assessed.p_value is None else assessed.p_value,
        entities=entities_of(assessed),
        amount_usd=assessed.amount_usd,
        raised_at=assessed.received_at,
        reported_by=by,
    )
    return alert, f"Reported by a person: {assessed.kind.replace('.', ' ').replace('_', ' ')}"


def subject_of(assessed: Assessed) -> tuple[str, str] | None:
    """Return the column and value by which vouching is bounded: destination, else actor, else account; None without any."""
    told = {"destination": assessed.destination, "actor": assessed.actor, "account": assessed.account}
    return next(((name, value) for name, value in told.items() if value), None)


def entities_of(assessed: Assessed) -> tuple[str, ...]:
    """Return what incidents join on, as `domain.observing.entities_of` does; the device is known of what was scored."""
    here = f"{assessed.connection}/"
    device = None if assessed.observation is None else decode(assessed.observation).device
    named = (
        ("account", assessed.account and here + assessed.account),
        ("actor", assessed.actor and here + assessed.actor),
        ("destination", assessed.destination),
        ("device", device),
    )
    return tuple(f"{sort}:{name}" for sort, name in named if name)
