"""What a verdict tells the engine: the row of the learning sequence, whole, so that replay needs nothing else.

Rules: entities and event time are those that the engine itself read of the judged activity, from the sequence, not from
tables that people may change. An alert that does not stem from its activity's own assessment (one event
id that came with two bodies) says nothing about that assessment, so its verdict tells neither entities nor detectors.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from rules.networks import block_of
from rules.observation import Observation, decode
from service.domain.explaining import Assessed
from service.domain.incident import Alert, CaseVerdict
from service.domain.observing import microseconds

TOLD: Final = frozenset({CaseVerdict.TRUE_POSITIVE, CaseVerdict.FALSE_POSITIVE})
"""Verdicts from which the engine learns; it makes nothing of an inconclusive one."""


def payload(alert: Alert, verdict: CaseVerdict, assessed: Assessed | None, known_at: datetime) -> bytes:
    """Return the payload of one verdict's row (`rules.learning.Verdict`, with the ids that people look for beside it)."""
    told: dict[str, object] = {
        "activity": alert.activity_id,
        "alert": alert.id,
        "verdict": verdict.value,
        "known_at_us": microseconds(known_at),
    }
    if assessed is not None and (assessed.decision in ("alert", "hold") or alert.reported_by is not None):
        told |= _of(assessed, alert.score, alert.judged)
    return msgspec.json.encode(told, order="deterministic")


def ordinary(assessed: Assessed, known_at: datetime) -> bytes:
    """Return the payload of the row that says: this was let pass, and rightly so."""
    told: dict[str, object] = {
        "activity": assessed.id,
        "verdict": CaseVerdict.FALSE_POSITIVE.value,
        "known_at_us": microseconds(known_at),
    }
    return msgspec.json.encode(told | _of(assessed, assessed.score or 0.0, ()), order="deterministic")


def _of(assessed: Assessed, score: float, judged: Sequence[float]) -> dict[str, object]:
    told: dict[str, object] = {"detectors": list(assessed.detectors)}
    if assessed.observation is not None:
        read = decode(assessed.observation)
        told |= {
            "account": read.account,
            "actor": read.actor,
            "destination": read.destination,
            "device": read.device,
            "network": network_of(read),
            "occurred_at_us": read.occurred_at_us,
            "score": score,
            "judged": list(judged),
        }
    return told


def network_of(read: Observation) -> str | None:
    """Return the network that the engine keeps of an observation: the AS where told, else the block of the address.

    /24 of IPv4, /48 of IPv6; an address that is none is its own text.
    """
    if read.asn is not None:
        return f"as{read.asn}"
    return block_of(read.ip) if read.ip else None
