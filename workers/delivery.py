"""The jobs of the `delivery` queue: writing messages and handing them over, asking platforms for events."""

from collections.abc import Callable, Mapping

from service.domain.ids import ApprovalId, ConnectionId, IncidentId, MessageId, PersonId, StepId
from service.flow import poll
from service.flow.notify import delivery, telling
from service.flow.poll import Asking
from service.ports.notify import Channel
from service.ports.store.unit import Database
from workers.jobs import Jobs


def jobs(
    db: Database, channels: Callable[[], Mapping[str, Channel]], votes_key_pem: Callable[[], bytes], owner: str
) -> Jobs:
    """Return the functions behind the names."""
    return {
        "notify.incident": lambda p: telling.incident(db, IncidentId(p["incident_id"])),
        "notify.contained": lambda p: telling.contained(db, IncidentId(p["incident_id"])),
        "notify.step": lambda p: telling.step(db, StepId(p["step_id"])),
        "notify.not_final": lambda p: telling.not_final(db, StepId(p["step_id"])),
        "notify.connection": lambda p: telling.connection(
            db, ConnectionId(p["connection_id"]), IncidentId(p["incident_id"])
        ),
        "notify.approvers": lambda p: telling.approvers(db, ApprovalId(p["approval_id"])),
        "notify.voted": lambda p: telling.voted(
            db, votes_key_pem(), ApprovalId(p["approval_id"]), PersonId(p["person_id"])
        ),
        "notify.factor": lambda p: telling.factor(db, PersonId(p["person_id"]), p["factor_id"], p["what"]),
        "notify.released": lambda p: telling.released(db, votes_key_pem(), ApprovalId(p["approval_id"])),
        "notify.deliver": lambda p: delivery.deliver(
            db, channels(), votes_key_pem(), MessageId(p["message_id"]), owner
        ),
    }


def asking_jobs(asking: Asking) -> Jobs:
    """Return the functions behind the names of what asks platforms."""
    return {"poll.connection": lambda p: poll.poll(asking, ConnectionId(p["connection_id"]))}
