"""Event → messages for an audience.

Rules: pages to responders and approvers go at once, and only over routes that are known as theirs; everything else counts
as a message to users and is held until a quorum approved its exact text (design D4). A voter is told over his own channels
what his signed vote was counted for, so that a door that swaps documents under his code is found out.
"""

from dataclasses import replace

import structlog

from service.domain import letters
from service.domain.approval import ApprovalState, Draft, Subject, parse, sentences
from service.domain.attention import Audience, MessageState
from service.domain.authorisation import check_document, opened_vote
from service.domain.errors import ApprovalError, NotFoundError
from service.domain.events import ApprovalRequested, MessageQueued
from service.domain.ids import ApprovalId, ConnectionId, IncidentId, MessageId, PersonId, StepId
from service.domain.incident import Severity
from service.domain.looks import not_final_note
from service.domain.requests import requested_entry
from service.domain.timeline import Entry
from service.flow.notify.drafts import Writing, item, to_channels, to_person
from service.ports.store.unit import Database, UnitOfWork

_log = structlog.get_logger(__name__)


def incident(db: Database, incident_id: IncidentId) -> None:
    """Tell the responders' shared channels that an incident opened, or that people are to be woken for it anew."""
    with db.begin() as uow:
        found = uow.incidents.incident(incident_id)
        if found.severity > Severity.LOW:
            how = "opened" if found.alarm == 1 else "has grown worse, or goes on although loosening was asked for"
            text = (f"[{found.severity.word}] {found.title}", f"Incident {found.id} {how}; containment is running.")
            to_channels(uow, Writing(found.id, Audience.RESPONDERS, text, f"opened:{found.id}:{found.alarm}"))


def contained(db: Database, incident_id: IncidentId) -> None:
    """Tell the responders, and hold a message to users until it is approved.

    Does nothing when the incident is not contained: the event was invented, or more was found meanwhile.
    """
    with db.begin() as uow:
        found = uow.incidents.incident(incident_id)
        if found.contained_at is None:
            _log.warning("an incident that is not contained was called so", incident=incident_id)
            return
        text = letters.contained_for_responders(found)
        to_channels(uow, Writing(found.id, Audience.RESPONDERS, text, f"contained:{found.id}"))
        if not uow.once(f"notify.users:{incident_id}"):
            return
        text = letters.contained_for_users(found)
        draft = Writing(found.id, Audience.USERS, text, f"contained:{found.id}", MessageState.HELD)
        held = to_channels(uow, draft)
        if held:
            _ask(uow, found.id, held)


def released(db: Database, authority_pem: bytes, approval_id: ApprovalId) -> None:
    """Queue the messages that an approved document lists; `deliver` checks the votes again before each is sent."""
    with db.begin() as uow:
        if uow.approvals.document(approval_id).subject is not Subject.MESSAGE:
            return
        check_document(uow.approvals.evidence(approval_id), public_key_pem=authority_pem, now=uow.now)
        queued = uow.attention.release_messages(approval_id)
        if queued and uow.approvals.end(approval_id, ApprovalState.EXECUTED):
            entry = Entry(
                kind="message.released",
                at=uow.now,
                subject=approval_id,
                sentence=f"Messages to users that are on their way: {len(queued)}",
                incident_id=uow.attention.message(queued[0]).incident_id,
                facts={"messages": list(queued)},
            )
            uow.record(entry, *(MessageQueued(m) for m in queued))


def step(db: Database, step_id: StepId) -> None:
    """Tell the responders about a step that failed, was refused, or whose outcome is unknown."""
    with db.begin() as uow:
        found = uow.plans.step(step_id)
        about = uow.incidents.incident(found.incident_id)
        text = letters.step_trouble(about.id, f"{found.action} on {found.target.value}: {found.reason}")
        _page_level_one(uow, about.id, text, f"step:{step_id}:{found.state.value}:{found.attempt}")


def not_final(db: Database, step_id: StepId) -> None:
    """Tell the responders that a step on a chain is in no final block after a day; nothing unless a worker noted it."""
    with db.begin() as uow:
        found = uow.plans.step(step_id)
        note = not_final_note(found)
        if uow.noted(note):
            text = letters.not_final(found.incident_id, f"{found.action} on {found.target.value}")
            _page_level_one(uow, found.incident_id, text, note)


def connection(db: Database, connection_id: ConnectionId, incident_id: IncidentId) -> None:
    """Tell the responders and everyone on call that a platform answers nothing, once an outage.

    Does nothing when no worker noted it: the event was invented, or it is over.
    """
    with db.begin() as uow:
        line = uow.lines.line(connection_id)
        if line is None or not line.told:
            return
        about = uow.incidents.incident(incident_id)
        text = letters.connection_lost(connection_id, about.id, line.since)
        draft = Writing(
            about.id, Audience.RESPONDERS, text, f"line:{connection_id}:{line.since.isoformat()}", page=True
        )
        to_channels(uow, draft)
        for person in uow.attention.reachable():
            if person.oncall_level is not None:
                to_person(uow, draft, person)


def approvers(db: Database, approval_id: ApprovalId) -> None:
    """Page everybody who could approve, on every channel, from minute zero."""
    with db.begin() as uow:
        document = uow.approvals.document(approval_id)
        wanted = {place.role.value for places in document.quorum.values() for place in places}
        text = letters.approval_request(
            document.incident or None,
            approval_id,
            sentences(document),
            document.approve_by.strftime("%Y-%m-%d %H:%M UTC"),
        )
        draft = Writing(document.incident or None, Audience.APPROVERS, text, f"approve:{approval_id}", page=True)
        for person in uow.attention.reachable():
            if wanted & set(person.roles) and person.person_id != document.requester:
                to_person(uow, draft, person)


def voted(db: Database, authority_pem: bytes, approval_id: ApprovalId, person_id: PersonId) -> None:
    """Tell a voter what his vote was counted for; safe to repeat.

    Raises ApprovalError when no vote of his, signed by the authority, is stored for exactly this document.
    """
    with db.begin() as uow:
        evidence = uow.approvals.evidence(approval_id)
        document = parse(evidence.document)
        cast = [opened_vote(signed, authority_pem) for signed in evidence.votes]
        about = (person_id, document.id, document.digest)
        mine = next((v for v in cast if (v.person, v.approval, v.digest) == about), None)
        if mine is None:
            raise ApprovalError(f"there is no vote of {person_id} on request {approval_id} as it is stored")
        text = letters.vote_receipt(document, mine)
        draft = Writing(document.incident or None, Audience.APPROVERS, text, f"voted:{approval_id}")
        for person in uow.attention.reachable():
            if person.person_id == person_id:
                to_person(uow, draft, person)


def factor(db: Database, person_id: PersonId, factor_id: str, what: str) -> None:
    """Tell a person, by mail too, that a factor of his was shown or confirmed; safe to repeat.

    Raises NotFoundError when that did not happen to a factor of his.
    """
    with db.begin() as uow:
        at = uow.registry.factor_moments(person_id, factor_id).get(what)
        if at is None:
            raise NotFoundError(f"no factor {factor_id} of {person_id} was {what}")
        draft = Writing(None, Audience.APPROVERS, letters.factor_changed(what, at), f"factor:{factor_id}:{what}")
        for person in uow.attention.reachable():
            if person.person_id == person_id:
                also = () if person.last_resort is None else (person.last_resort,)
                to_person(uow, draft, replace(person, routes=(*person.routes, *also)))


def _page_level_one(uow: UnitOfWork, incident_id: IncidentId, text: tuple[str, str], key: str) -> None:
    draft = Writing(incident_id, Audience.RESPONDERS, text, key, page=True)
    to_channels(uow, draft)
    for person in uow.attention.reachable():
        if person.oncall_level == 1:
            to_person(uow, draft, person)


def _ask(uow: UnitOfWork, incident_id: IncidentId, held: list[MessageId]) -> None:
    """Ask for approval of the held messages' exact texts; they stay held when nobody could approve."""
    draft = Draft(
        what=[item(uow.attention.message(m)) for m in held],
        why="Tell the users what was done and what they should do.",
        requester="portcullis",
        incident=incident_id,
    )
    try:
        document = uow.approvals.propose(draft)
    except ApprovalError as error:
        entry = Entry(
            kind="approval.impossible",
            at=uow.now,
            subject=incident_id,
            sentence=f"Messages to users stay held: {error}",
            incident_id=incident_id,
        )
        uow.record(entry)
        return
    uow.attention.bind_messages(held, document.id)
    uow.record(requested_entry(document), ApprovalRequested(document.id))
