"""The jobs of the `delivery` queue: writing messages and handing them over, asking platforms for events."""

from collections.abc import Callable, Mapping

from service.domain.ids import ApprovalId, ConnectionId, IncidentId, MessageId, PersonId, StepId
from service.flow import notify, poll
from service.flow.poll import Asking
from service.ports.notify import Channel
from service.ports.store.unit import Database
from workers.jobs import Jobs


def jobs(
    db: Database, channels: Callable[[], Mapping[str, Channel]], votes_key_pem: Callable[[], bytes], owner: str
) -> Jobs:
    """Return the functions behind the names."""
    return {
        "notify.incident": lambda p: notify.incident(db, IncidentId(p["incident_id"])),
        "notify.contained": lambda p: notify.contained(db, IncidentId(p["incident_id"])),
        "notify.step": lambda p: notify.step(db, StepId(p["step_id"])),
        "notify.connection": lambda p: notify.connection(
            db, ConnectionId(p["connection_id"]), IncidentId(p["incident_id"])
        ),
        "notify.approvers": lambda p: notify.approvers(db, ApprovalId(p["approval_id"])),
        "notify.voted": lambda p: notify.voted(
            db, votes_key_pem(), ApprovalId(p["approval_id"]), PersonId(p["person_id"])
        ),
        "notify.factor": lambda p: notify.factor(db, PersonId(p["person_id"]), p["factor_id"], p["what"]),
        "notify.released": lambda p: notify.released(db, votes_key_pem(), ApprovalId(p["approval_id"])),
        "notify.deliver": lambda p: notify.deliver(db, channels(), votes_key_pem(), MessageId(p["message_id"]), owner),
    }


def asking_jobs(asking: Asking) -> Jobs:
    """Return the functions behind the names of what asks platforms."""
    return {"poll.connection": lambda p: poll.poll(asking, ConnectionId(p["connection_id"]))}
