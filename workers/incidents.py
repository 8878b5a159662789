"""The jobs of the `flow` queue: from an alert to its incident, plan, escalation, release, evidence and review."""

from collections.abc import Callable

from service.domain.ids import ActivityId, AlertId, ApprovalId, IncidentId, StepId
from service.flow import (
    approve,
    blinding,
    clearance,
    closure,
    escalate,
    forensics,
    respond,
    review,
    settle,
    spent,
    triage,
    vouching,
)
from service.flow.forensics import Tracer
from service.flow.respond import Desk
from service.store.audit import sequence
from service.store.database import SqlDatabase
from workers.jobs import Jobs


def jobs(db: SqlDatabase, desk: Desk, votes_key_pem: Callable[[], bytes], tracer: Tracer) -> Jobs:
    """Return the functions behind the names."""
    return {
        "triage.alert": lambda p: triage.triage(db, AlertId(p["alert_id"])),
        "respond.plan": lambda p: respond.plan(desk, IncidentId(p["incident_id"])),
        "respond.extend": lambda p: respond.extend(desk, IncidentId(p["incident_id"])),
        "respond.request": lambda p: respond.request(
            desk, IncidentId(p["incident_id"]), p["action"], p["requester"], p.get("numbers", ""), p.get("request", "")
        ),
        "respond.advance": lambda p: respond.advance(desk, StepId(p["step_id"])),
        "escalate.start": lambda p: escalate.start(db, IncidentId(p["incident_id"])),
        "escalate.everyone": lambda p: escalate.everyone(db, IncidentId(p["incident_id"])),
        "escalate.acknowledged": lambda p: escalate.acknowledged(db, IncidentId(p["incident_id"])),
        "escalate.timer": lambda p: escalate.timer(db, votes_key_pem(), p["timer_id"]),
        "escalate.guardian": lambda p: spent.guardian(db, p["chain"], p["hour"], p["what"]),
        "escalate.released": lambda p: escalate.released(db, votes_key_pem(), ApprovalId(p["approval_id"])),
        "approve.release": lambda p: approve.release(db, ApprovalId(p["approval_id"])),
        "approve.expire": lambda _: approve.expire(db),
        "approve.closed": lambda p: approve.closed(db, IncidentId(p["incident_id"])),
        "approve.ended": lambda p: approve.ended(db, ApprovalId(p["approval_id"])),
        "review.close": lambda p: closure.released(db, votes_key_pem(), ApprovalId(p["approval_id"])),
        "review.clear": lambda p: clearance.released(db, votes_key_pem(), ApprovalId(p["approval_id"])),
        "review.blind": lambda p: blinding.released(db, votes_key_pem(), ApprovalId(p["approval_id"])),
        "review.settle": lambda p: settle.released(db, desk.actions, votes_key_pem(), ApprovalId(p["approval_id"])),
        "reconcile.suppressions": lambda _: blinding.compare_suppressions(db),
        "review.vouched": lambda p: vouching.vouched(db, ActivityId(p["activity_id"])),
        "review.write": lambda p: review.write(db, IncidentId(p["incident_id"])),
        "forensics.gather": lambda p: forensics.gather(tracer, IncidentId(p["incident_id"])),
        "forensics.again": lambda p: forensics.gather(
            tracer, IncidentId(p["incident_id"]), anew=True, past_labels=bool(p.get("past_labels"))
        ),
        "audit.sequence": lambda _: _sequence(db),
    }


def _sequence(db: SqlDatabase) -> None:
    with db.begin() as uow:
        sequence(uow.connection, uow.now)
