"""Who is woken, and when the next one is: on-call level by level, with durable timers and acknowledgement.

Rules: level one is paged at once and needs nobody's leave; every later level needs a standing mandate that covers the
incident, or a quorum (design D4). Paging those who must approve is not an escalation and is done by `notify`. A timer row
decides when the next level is due, so a restart or a lost message changes nothing. Acknowledging ends it; a tightening
step that nobody confirms in time stays in force and pages again.
"""

from typing import Final

from service.domain.approval import ApprovalState, Draft, Subject, lists
from service.domain.attention import Audience, Message, MessageState, Page, Reachable, patience
from service.domain.authorisation import check_document
from service.domain.errors import ApprovalError
from service.domain.events import ApprovalRequested, MessageQueued
from service.domain.ids import ApprovalId, IncidentId, MessageId, new_id
from service.domain.incident import Incident, IncidentState, Severity
from service.domain.requests import escalation_item, requested_entry
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork

LAST_LEVEL: Final = 3


def start(db: Database, incident_id: IncidentId) -> None:
    """Page level one and set the timer for the next; incidents of low severity wake nobody."""
    with db.begin() as uow:
        incident = uow.incidents.lock_incident(incident_id)
        if incident.severity > Severity.LOW and uow.once(f"escalate.start:{incident_id}"):
            _page(uow, incident, level=1, reason="on_call")
            _set_next(uow, incident, level=2)


def acknowledged(db: Database, incident_id: IncidentId) -> None:
    """Stop escalating: somebody took it."""
    with db.begin() as uow:
        uow.attention.acknowledge_pages(incident_id)
        uow.attention.cancel_timers(incident_id)


def timer(db: Database, timer_id: str) -> None:
    """Act on a due timer: the next on-call level, or an unconfirmed step."""
    with db.begin() as uow:
        fired = uow.attention.claim_timer(timer_id)
        if fired is None:
            return
        incident = uow.incidents.lock_incident(IncidentId(fired.payload["incident"]))
        if incident.state is IncidentState.CLOSED:
            return
        if fired.kind == "step.confirm":
            if not uow.plans.confirmed(fired.subject):
                _page(uow, incident, level=1, reason=f"unconfirmed:{fired.subject}")
        elif incident.acknowledged_at is None:
            level = int(fired.payload["level"])
            _raise_to(uow, incident, level)
            if level < LAST_LEVEL:
                _set_next(uow, incident, level + 1)


def released(db: Database, authority_pem: bytes, approval_id: ApprovalId) -> None:
    """Page the level that a quorum allowed, after checking the votes."""
    with db.begin() as uow:
        document = uow.approvals.document(approval_id)
        if document.subject is not Subject.ESCALATION:
            return
        document = check_document(uow.approvals.evidence(approval_id), public_key_pem=authority_pem, now=uow.now)
        incident = uow.incidents.lock_incident(IncidentId(document.incident))
        level = next(n for n in range(2, LAST_LEVEL + 1) if lists(document, escalation_item(incident.id, n)))
        if uow.approvals.end(approval_id, ApprovalState.EXECUTED):
            _page(uow, incident, level=level, reason="quorum")


def _raise_to(uow: UnitOfWork, incident: Incident, level: int) -> None:
    facts = {"kind": incident.kind.value, "severity": incident.severity.word, "level": str(level)}
    mandate = uow.attention.mandate_in_force("escalation", facts)
    if mandate is not None:
        _page(uow, incident, level=level, reason=f"mandate:{mandate}")
        return
    draft = Draft(
        what=[escalation_item(incident.id, level)],
        why=f"Nobody acknowledged the incident at on-call level {level - 1}.",
        requester="portcullis",
        incident=incident.id,
    )
    try:
        document = uow.approvals.propose(draft)
    except ApprovalError as error:
        # Nobody could approve it: whoever was paged before is paged again, louder than silence.
        uow.record(
            Entry(
                kind="approval.impossible",
                at=uow.now,
                subject=incident.id,
                sentence=f"On-call level {level} cannot be asked for: {error}",
                incident_id=incident.id,
            )
        )
        _page(uow, incident, level=1, reason=f"again:{level}")
    else:
        uow.record(requested_entry(document), ApprovalRequested(document.id))


def _page(uow: UnitOfWork, incident: Incident, *, level: int, reason: str) -> None:
    on_call = [p for p in uow.attention.reachable() if p.oncall_level == level]
    for person in on_call:
        page = Page(incident.id, level, person.person_id, reason, uow.now, None)
        if uow.attention.add_page(page):
            _write(uow, incident, person, level, reason)
    who = ", ".join(p.name for p in on_call) or "nobody: no active person is on call at this level"
    uow.record(
        Entry(
            kind="escalation.paged",
            at=uow.now,
            subject=incident.id,
            sentence=f"On-call level {level} paged: {who}",
            incident_id=incident.id,
            facts={"level": level, "reason": reason, "people": [p.person_id for p in on_call]},
        )
    )


def _write(uow: UnitOfWork, incident: Incident, person: Reachable, level: int, reason: str) -> None:
    for channel, recipient in person.routes:
        message = Message(
            id=MessageId(new_id("msg")),
            incident_id=incident.id,
            approval_id=None,
            audience=Audience.RESPONDERS,
            channel=channel,
            recipient=recipient,
            subject=f"[{incident.severity.word}] {incident.title}",
            body=(
                f"{incident.title}.\nIncident {incident.id}, {incident.value_at_risk_usd:,.0f} USD in reach.\n"
                f"What tightens is already being done. Look and acknowledge: portcullis incident {incident.id}\n"
                f"You are on-call level {level} ({reason.partition(':')[0].replace('_', ' ')})."
            ),
            state=MessageState.QUEUED,
            idempotency_key=f"page:{incident.id}:{level}:{person.person_id}:{channel}:{reason}",
            attempt=0,
        )
        if uow.attention.add_message(message):
            uow.record(
                Entry(
                    kind="message.queued",
                    at=uow.now,
                    subject=message.id,
                    sentence=f"Page to {person.name} over {channel}",
                    incident_id=incident.id,
                    facts={"channel": channel, "person": person.person_id},
                ),
                MessageQueued(message.id),
            )


def _set_next(uow: UnitOfWork, incident: Incident, level: int) -> None:
    uow.attention.set_timer(
        f"escalate.level.{level}",
        incident.id,
        uow.now + patience(incident.severity),
        {"incident": incident.id, "level": str(level)},
    )
