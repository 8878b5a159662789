"""Who is woken, and when the next one is: on-call level by level, with durable timers and acknowledgement.

Rules: level one is paged at once and needs nobody's leave; every later level needs a standing mandate that covers the
incident and whose votes verify, or a quorum (design D4, D7). One exception: when the hour's blast radius is used up,
everyone on call is paged, whatever the level, once per incident (D4). Paging those who must approve is not an escalation
and is done by `notify`. A timer row decides when the next level is due, so a restart or a lost message changes nothing; an
incident that grows worse brings it forward. Acknowledging ends it, until the incident grows worse or goes on after
loosening was asked for (its `alarm`): then level one is paged again, and it has to be acknowledged anew. A tightening step
that nobody confirms in time stays in force and pages again, one level higher each time. Two hours before a step ends by
itself (a platform's freeze of a day) level one is paged, acknowledged or not, unless it was asked for again.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from service.domain.approval import ApprovalState, Draft, Subject, lists
from service.domain.attention import ENDS, Audience, Message, MessageState, Page, Reachable, patience
from service.domain.authorisation import check_document
from service.domain.errors import ApprovalError, ForbiddenError
from service.domain.events import ApprovalRequested, MessageQueued
from service.domain.ids import ApprovalId, IncidentId, MessageId, StepId, new_id
from service.domain.incident import Incident, IncidentState, Severity
from service.domain.mandate import require_mandate
from service.domain.plan import FINISHED, StepState, limit_note
from service.domain.requests import escalation_item, requested_entry
from service.domain.timeline import Entry
from service.playbooks.planner import newest
from service.ports.store.unit import Database, UnitOfWork

LAST_LEVEL: Final = 3
_NO_LONGER: Final = FINISHED - {StepState.DONE}
ALARM: Final = "alarm"
"""How the reason of a page begins for an incident that people were woken for before."""
BLAST_LIMIT: Final = "blast_limit"
"""The reason of a page to everyone on call."""
ENDS_SOON: Final = "ends_soon"
"""How the reason of a page begins that tells of a step which will soon hold no longer."""
_USUAL: Final = "What tightens is already being done."
_SITUATION: Final[Mapping[str, str]] = {
    ALARM: (
        "It is worse than when people were woken for it before, or it goes on although loosening was asked for. Whoever had "
        "taken it took on less: take it anew. What tightens is being done again."
    ),
    ENDS_SOON: (
        "Something that holds only for a time ends by itself soon: the timeline says what, and how to ask for it again."
    ),
    BLAST_LIMIT: (
        "The hour's blast radius is used up: nothing wider runs by itself. The gate keeps holding every flagged transfer; "
        "what else must stop waits for approval."
    ),
}


def start(db: Database, incident_id: IncidentId) -> None:
    """Page level one, once for each alarm, and have the next level's timer set; one that runs may only come forward.

    Incidents of low severity wake nobody, until something makes them worse.
    """
    with db.begin() as uow:
        incident = uow.incidents.lock_incident(incident_id)
        if incident.severity is Severity.LOW or incident.state is IncidentState.CLOSED:
            return
        runs = uow.attention.hasten_timers(incident.id, uow.now + patience(incident.severity))
        if uow.once(f"escalate.start:{incident_id}:{incident.alarm}"):
            _page(uow, incident, level=1, reason="on_call" if incident.alarm == 1 else f"{ALARM}:{incident.alarm}")
            if not runs:
                _set_next(uow, incident, level=2)


def everyone(db: Database, incident_id: IncidentId) -> None:
    """Page every person on call, of whatever level: the blast radius is used up, so nothing wider runs by itself.

    Once per incident, also when somebody has acknowledged it: what must be decided now is more than he took on. Raises
    ForbiddenError when no plan of the incident reached the limit: the message was invented, and nobody is woken for it.
    """
    with db.begin() as uow:
        incident = uow.incidents.lock_incident(incident_id)
        if not uow.noted(limit_note(incident_id)):
            raise ForbiddenError(f"no plan of incident {incident_id} reached the hour's blast radius: nobody is paged")
        if incident.state is IncidentState.CLOSED or not uow.once(f"escalate.everyone:{incident_id}"):
            return
        on_call = [p for p in uow.attention.reachable() if p.oncall_level is not None]
        _page_people(uow, incident, on_call, BLAST_LIMIT)
        who = _names(on_call) or "nobody, no active person is on call"
        entry = _entry(
            uow,
            incident,
            "escalation.everyone_paged",
            f"Everyone on call paged, the hour's blast radius is used up: {who}",
            {"reason": BLAST_LIMIT, "people": [p.person_id for p in on_call]},
        )
        uow.record(entry)


def acknowledged(db: Database, incident_id: IncidentId) -> None:
    """Stop escalating: somebody took it, or it is closed; not because an event says so while its row does not."""
    with db.begin() as uow:
        incident = uow.incidents.incident(incident_id)
        if incident.acknowledged_at is None and incident.state is not IncidentState.CLOSED:
            return
        uow.attention.acknowledge_pages(incident_id)
        uow.attention.cancel_timers(incident_id)


def timer(db: Database, authority_pem: bytes, timer_id: str) -> None:
    """Act on a due timer: the next on-call level, an unconfirmed step, or one that soon holds no longer."""
    with db.begin() as uow:
        fired = uow.attention.claim_timer(timer_id)
        if fired is None:
            return
        incident = uow.incidents.lock_incident(IncidentId(fired.payload["incident"]))
        if incident.state is IncidentState.CLOSED:
            return
        if fired.kind == ENDS:
            _ends(uow, incident, StepId(fired.subject), fired.payload["ends_at"])
        elif fired.kind.startswith("step.confirm"):
            _unconfirmed(uow, incident, fired.subject, int(fired.payload.get("level", "1")), authority_pem)
        elif incident.acknowledged_at is None:
            level = int(fired.payload["level"])
            _raise_to(uow, incident, level, f"Nobody acknowledged it at on-call level {level - 1}.", authority_pem)
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
        levels = [n for n in range(2, LAST_LEVEL + 1) if lists(document, escalation_item(incident.id, n))]
        if not levels:
            raise ApprovalError(f"document {approval_id} asks for no on-call level of its own incident")
        if incident.state is IncidentState.CLOSED:
            uow.approvals.end(approval_id, ApprovalState.VOID, "the incident was closed before")
        elif uow.approvals.end(approval_id, ApprovalState.EXECUTED):
            for level in levels:
                _page(uow, incident, level=level, reason=f"quorum:{approval_id}")


def _unconfirmed(uow: UnitOfWork, incident: Incident, step_id: str, level: int, authority_pem: bytes) -> None:
    if uow.plans.confirmed(step_id):
        return
    if level == 1:
        _page(uow, incident, level=1, reason=f"unconfirmed:{step_id}")
    else:
        _raise_to(uow, incident, level, f"Nobody confirmed step {step_id}, which stays in force.", authority_pem)
    if level < LAST_LEVEL:
        uow.attention.set_timer(
            f"step.confirm.{level + 1}",
            step_id,
            uow.now + patience(incident.severity),
            {"incident": incident.id, "level": str(level + 1)},
        )


def _ends(uow: UnitOfWork, incident: Incident, step_id: StepId, ends_at: str) -> None:
    """Page those on call, unless it was asked for again: then the approvers were paged, or a timer of its own is set."""
    ending = uow.plans.step(step_id)
    last = newest(ending.action, ending.target, uow.plans.steps_of(incident.id))
    if ending.state is not StepState.DONE or last is None or (last.id != ending.id and last.state not in _NO_LONGER):
        return
    sentence = (
        f"{ending.action} on {ending.target.value} ends by itself at {ends_at}. Where it is still needed, ask for it again: "
        f"portcullis request {incident.id} {ending.action}"
    )
    uow.record(_entry(uow, incident, "step.ends_soon", sentence, {"step": ending.id, "ends_at": ends_at}))
    _page(uow, incident, level=1, reason=f"{ENDS_SOON}:{ending.id}")


def _raise_to(uow: UnitOfWork, incident: Incident, level: int, why: str, authority_pem: bytes) -> None:
    if not uow.once(f"escalate.level:{incident.id}:{incident.alarm}:{level}"):
        return
    mandate = _mandate(uow, incident, level, authority_pem)
    if mandate is not None:
        _page(uow, incident, level=level, reason=f"mandate:{mandate}:{incident.alarm}")
        return
    draft = Draft(what=[escalation_item(incident.id, level)], why=why, requester="portcullis", incident=incident.id)
    try:
        document = uow.approvals.propose(draft)
    except ApprovalError as error:
        # Nobody could approve it: whoever was paged before is paged again, louder than silence.
        sentence = f"On-call level {level} cannot be asked for: {error}"
        uow.record(_entry(uow, incident, "approval.impossible", sentence))
        _page(uow, incident, level=1, reason=f"again:{level}:{incident.alarm}")
    else:
        uow.record(requested_entry(document), ApprovalRequested(document.id))


def _mandate(uow: UnitOfWork, incident: Incident, level: int, authority_pem: bytes) -> str | None:
    facts = {"kind": incident.kind.value, "severity": incident.severity.word, "level": str(level)}
    for mandate in uow.attention.mandates_in_force("escalation", facts):
        evidence = uow.approvals.evidence(ApprovalId(mandate.approval_id))
        try:
            require_mandate(mandate, evidence, public_key_pem=authority_pem, now=uow.now)
        except ApprovalError as error:
            sentence = f"Mandate {mandate.id} does not count: {error}"
            uow.record(_entry(uow, incident, "mandate.refused", sentence))
        else:
            return mandate.id
    return None


def _page(uow: UnitOfWork, incident: Incident, *, level: int, reason: str) -> None:
    on_call = [p for p in uow.attention.reachable() if p.oncall_level == level]
    _page_people(uow, incident, on_call, reason)
    who = _names(on_call) or "nobody, no active person is on call at this level"
    sentence = f"On-call level {level} paged: {who}"
    facts = {"level": level, "reason": reason, "people": [p.person_id for p in on_call]}
    uow.record(_entry(uow, incident, "escalation.paged", sentence, facts))


def _page_people(uow: UnitOfWork, incident: Incident, people: Sequence[Reachable], reason: str) -> None:
    for person in people:
        level = person.oncall_level or 0
        if uow.attention.add_page(Page(incident.id, level, person.person_id, reason, uow.now, None)):
            _write(uow, incident, person, level, reason)


def _names(people: Sequence[Reachable]) -> str:
    return ", ".join(p.person_id + ("" if p.routes else " (no channel)") for p in people)


def _write(uow: UnitOfWork, incident: Incident, person: Reachable, level: int, reason: str) -> None:
    text = (
        f"{incident.title}.\nIncident {incident.id}, {incident.value_at_risk_usd:,.0f} USD in reach.\n"
        f"{_SITUATION.get(reason.partition(':')[0], _USUAL)} Look and acknowledge: portcullis incident {incident.id}\n"
        f"You are on-call level {level} ({reason.partition(':')[0].replace('_', ' ')})."
    )
    for channel, recipient in person.routes:
        message = Message(
            id=MessageId(new_id("msg")),
            incident_id=incident.id,
            approval_id=None,
            audience=Audience.RESPONDERS,
            channel=channel,
            recipient=recipient,
            subject=f"[{incident.severity.word}] {incident.title}",
            body=text,
            state=MessageState.QUEUED,
            idempotency_key=f"page:{incident.id}:{level}:{reason}:{person.person_id}:{channel}:{recipient}",
            attempt=0,
            page=True,
        )
        if uow.attention.add_message(message):
            facts = {"channel": channel, "person": person.person_id, "message": message.id}
            entry = _entry(uow, incident, "message.queued", f"Page to {person.person_id} over {channel}", facts)
            uow.record(entry, MessageQueued(message.id))


def _set_next(uow: UnitOfWork, incident: Incident, level: int) -> None:
    uow.attention.set_timer(
        f"escalate.{incident.alarm}.level.{level}",
        incident.id,
        uow.now + patience(incident.severity),
        {"incident": incident.id, "level": str(level)},
    )


def _entry(
    uow: UnitOfWork, incident: Incident, kind: str, sentence: str, facts: Mapping[str, object] | None = None
) -> Entry:
    return Entry(
        kind=kind, at=uow.now, subject=incident.id, sentence=sentence, incident_id=incident.id, facts=facts or {}
    )
