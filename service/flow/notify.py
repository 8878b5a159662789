"""Event → messages for an audience, and their delivery.

Rules: pages to responders and approvers go at once, and only over routes that are known as theirs; everything else counts
as a message to users and is held until a quorum approved its exact text (design D4), whatever its row says. A voter is
told over his own channels what his signed vote was counted for, so that a door that swaps documents under his code is
found out. A delivery
whose answer was lost becomes `unknown` and is not sent again blindly (design D5). A page that failed, is unknown or does
not get through also goes over the person's next channel. A channel that takes nothing is tried by one message at a time;
whoever is on call hears of it over the others.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from service.domain import letters
from service.domain.approval import ApprovalState, Draft, Item, Subject, lists, parse, sentences
from service.domain.attention import FALL_BACK_AFTER, RETRY_AFTER_S, Audience, Message, MessageState, Reachable
from service.domain.authorisation import check_document, opened_vote
from service.domain.errors import (
    ApprovalError,
    NotFoundError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.events import ApprovalRequested, MessageQueued
from service.domain.ids import ApprovalId, ConnectionId, IncidentId, MessageId, PersonId, StepId, new_id
from service.domain.incident import Severity
from service.domain.requests import message_item, requested_entry
from service.domain.timeline import Entry
from service.ports.notify import Channel, Letter
from service.ports.store.unit import Database, UnitOfWork

LEASE: Final = timedelta(seconds=60)
LONGEST_RUN_S: Final = 15.0
"""How long one job goes on with what waited for its channel."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """What is said to whom about which incident; `key` makes it unique with its route."""

    incident_id: str | None
    audience: Audience
    text: tuple[str, str]
    key: str
    state: MessageState = MessageState.QUEUED


def incident(db: Database, incident_id: IncidentId) -> None:
    """Tell the responders' shared channels that an incident opened."""
    with db.begin() as uow:
        found = uow.incidents.incident(incident_id)
        if found.severity > Severity.LOW:
            text = (f"[{found.severity.word}] {found.title}", f"Incident {found.id} opened; containment is running.")
            _to_channels(uow, _Draft(found.id, Audience.RESPONDERS, text, f"opened:{found.id}"))


def contained(db: Database, incident_id: IncidentId) -> None:
    """Tell the responders, and hold a message to users until it is approved."""
    with db.begin() as uow:
        found = uow.incidents.incident(incident_id)
        text = letters.contained_for_responders(found)
        _to_channels(uow, _Draft(found.id, Audience.RESPONDERS, text, f"contained:{found.id}"))
        if not uow.once(f"notify.users:{incident_id}"):
            return
        text = letters.contained_for_users(found)
        draft = _Draft(found.id, Audience.USERS, text, f"contained:{found.id}", MessageState.HELD)
        held = _to_channels(uow, draft)
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
                sentence=f"{len(queued)} messages to users are on their way",
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
        draft = _Draft(about.id, Audience.RESPONDERS, text, f"step:{step_id}:{found.state.value}:{found.attempt}")
        _to_channels(uow, draft)
        for person in uow.attention.reachable():
            if person.oncall_level == 1:
                _to_person(uow, draft, person)


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
        draft = _Draft(about.id, Audience.RESPONDERS, text, f"line:{connection_id}:{line.since.isoformat()}")
        _to_channels(uow, draft)
        for person in uow.attention.reachable():
            if person.oncall_level is not None:
                _to_person(uow, draft, person)


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
        draft = _Draft(document.incident or None, Audience.APPROVERS, text, f"approve:{approval_id}")
        for person in uow.attention.reachable():
            if wanted & set(person.roles) and person.person_id != document.requester:
                _to_person(uow, draft, person)


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
        draft = _Draft(document.incident or None, Audience.APPROVERS, text, f"voted:{approval_id}")
        for person in uow.attention.reachable():
            if person.person_id == person_id:
                _to_person(uow, draft, person)


def factor(db: Database, person_id: PersonId, factor_id: str, what: str) -> None:
    """Tell a person, by mail too, that a factor of his was shown or confirmed; safe to repeat.

    Raises NotFoundError when that did not happen to a factor of his.
    """
    with db.begin() as uow:
        at = uow.registry.factor_moments(person_id, factor_id).get(what)
        if at is None:
            raise NotFoundError(f"no factor {factor_id} of {person_id} was {what}")
        draft = _Draft(None, Audience.APPROVERS, letters.factor_changed(what, at), f"factor:{factor_id}:{what}")
        for person in uow.attention.reachable():
            if person.person_id == person_id:
                also = () if person.last_resort is None else (person.last_resort,)
                _to_person(uow, draft, replace(person, routes=(*person.routes, *also)))


def deliver(
    db: Database, channels: Mapping[str, Channel], authority_pem: bytes, message_id: MessageId, owner: str
) -> None:
    """Send one queued message and store how it ended, then what waited for the same channel; safe to repeat."""
    began = time.monotonic()
    with db.begin() as uow:
        message = uow.deliveries.claim(message_id, owner, LEASE)
    if message is None:
        _settle_abandoned(db, message_id)
    while message is not None:
        _deliver(db, channels, authority_pem, message)
        if time.monotonic() - began > LONGEST_RUN_S:
            return
        with db.begin() as uow:
            message = uow.deliveries.claim_next(message.channel, owner, LEASE)


def _deliver(db: Database, channels: Mapping[str, Channel], authority_pem: bytes, message: Message) -> None:
    try:
        _require_allowed(db, message, authority_pem)
        receipt = _send(channels, message)
    except (ApprovalError, RefusedByOtherSideError) as error:
        _end(db, message, MessageState.FAILED, reason=str(error))
    except UnknownOutcomeError as error:
        _note_trouble(db, message)
        _end(db, message, MessageState.UNKNOWN, reason=str(error))
    except UnavailableError as error:
        _note_trouble(db, message)
        _try_later(db, message, str(error))
    else:
        _end(db, message, MessageState.SENT, receipt=receipt)


def _note_trouble(db: Database, message: Message) -> None:
    """Write down that a channel took nothing; page who is on call over their other channels, once a trouble."""
    with db.begin() as uow:
        line = uow.deliveries.failed(message.channel)
        if not line.is_dead or not uow.deliveries.note_told(message.channel):
            return
        text = letters.channel_lost(message.channel, line.since)
        draft = _Draft(None, Audience.RESPONDERS, text, f"channel:{message.channel}:{line.since.isoformat()}")
        for person in uow.attention.reachable():
            if person.oncall_level is not None:
                also = () if person.last_resort is None else (person.last_resort,)
                others = tuple(route for route in (*person.routes, *also) if route[0] != message.channel)
                _to_person(uow, draft, replace(person, routes=others))
        facts = {"channel": message.channel}
        sentence = f"Channel {message.channel} takes no messages: everyone on call is told over others"
        uow.record(Entry(kind="channel.lost", at=uow.now, subject=message.channel, sentence=sentence, facts=facts))


def _ask(uow: UnitOfWork, incident_id: IncidentId, held: list[MessageId]) -> None:
    """Ask for approval of the held messages' exact texts; they stay held when nobody could approve."""
    draft = Draft(
        what=[_item(uow.attention.message(m)) for m in held],
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


def _item(message: Message) -> Item:
    return message_item(
        message.id, message.audience.value, (message.subject, message.body), (message.channel, message.recipient)
    )


def _require_allowed(db: Database, message: Message, authority_pem: bytes) -> None:
    """Raise ApprovalError unless this goes to staff, or verified votes cover exactly this text, channel and recipient."""
    with db.begin() as uow:
        if (
            message.audience is not Audience.USERS
            and (message.channel, message.recipient) in uow.attention.staff_routes()
        ):
            return
        if message.approval_id is None:
            raise ApprovalError("a message to others than responders and approvers needs an approval, and has none")
        evidence = uow.approvals.evidence(ApprovalId(message.approval_id))
        now = uow.now
    document = check_document(evidence, public_key_pem=authority_pem, now=now)
    if not lists(document, _item(message)):
        raise ApprovalError(f"the approved document {document.id} does not list this message as it would be sent")


def _send(channels: Mapping[str, Channel], message: Message) -> Mapping[str, str]:
    channel = channels.get(message.channel)
    if channel is None:
        raise RefusedByOtherSideError(
            f"there is no channel {message.channel}: add it, or correct the person's channels"
        )
    facts = {"incident": message.incident_id or "", "approval": message.approval_id or ""}
    return channel.deliver(Letter(message.idempotency_key, message.recipient, message.subject, message.body, facts))


def _settle_abandoned(db: Database, message_id: MessageId) -> None:
    """Call a message unknown whose sender died with it in hand."""
    reason = "the worker stopped while it was sending: it may have arrived"
    with db.begin() as uow:
        message = uow.attention.abandon_message(message_id, reason)
        if message is not None:
            _note(uow, message, MessageState.UNKNOWN, reason)
            _fall_back(uow, message)


def _end(
    db: Database,
    message: Message,
    state: MessageState,
    *,
    receipt: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> None:
    with db.begin() as uow:
        uow.attention.settle_message(message.id, state, receipt=receipt, reason=reason)
        if state is MessageState.SENT:
            uow.deliveries.worked(message.channel)
        _note(uow, message, state, reason)
        if state is not MessageState.SENT:
            _fall_back(uow, message)


def _try_later(db: Database, message: Message, reason: str) -> None:
    if message.attempt > len(RETRY_AFTER_S):
        _end(db, message, MessageState.FAILED, reason=f"gave up after {message.attempt} tries: {reason}")
        return
    with db.begin() as uow:
        due = uow.now + timedelta(seconds=RETRY_AFTER_S[message.attempt - 1])
        uow.attention.settle_message(message.id, MessageState.QUEUED, reason=reason, due_at=due)
        if message.attempt == FALL_BACK_AFTER:
            _fall_back(uow, message)


def _fall_back(uow: UnitOfWork, message: Message) -> None:
    """Queue a page over the next channel of whom it was for, if there is one that has not been used for it."""
    if message.audience is Audience.USERS:
        return
    route = (message.channel, message.recipient)
    base = message.idempotency_key.removesuffix(f":{message.channel}:{message.recipient}")
    text = (message.subject, message.body)
    draft = _Draft(message.incident_id, message.audience, text, base)
    for person in uow.attention.reachable():
        others = (*person.routes, *((person.last_resort,) if person.last_resort else ()))
        if route in others:
            for other in others:
                if other != route and _queue(uow, draft, other) is not None:
                    return


def _note(uow: UnitOfWork, message: Message, state: MessageState, reason: str | None) -> None:
    words = {"sent": "delivered", "unknown": "may or may not have arrived", "failed": "could not be delivered"}
    uow.record(
        Entry(
            kind=f"message.{state.value}",
            at=uow.now,
            subject=message.id,
            sentence=f"Message to {message.audience.value} over {message.channel} {words[state.value]}"
            + (f": {reason}" if reason else ""),
            incident_id=message.incident_id,
            facts={"channel": message.channel, "attempt": message.attempt},
            personal={"recipient": message.recipient},
        )
    )


def _to_channels(uow: UnitOfWork, draft: _Draft) -> list[MessageId]:
    routes = uow.attention.channels_for(draft.audience.value)
    if draft.audience is not Audience.USERS:
        staff = uow.attention.staff_routes()
        routes = [route for route in routes if route in staff]
    return [message_id for route in routes if (message_id := _queue(uow, draft, route)) is not None]


def _to_person(uow: UnitOfWork, draft: _Draft, person: Reachable) -> None:
    for route in person.routes:
        _queue(uow, replace(draft, key=f"{draft.key}:{person.person_id}"), route)


def _queue(uow: UnitOfWork, draft: _Draft, route: tuple[str, str]) -> MessageId | None:
    channel, recipient = route
    message = Message(
        id=MessageId(new_id("msg")),
        incident_id=None if draft.incident_id is None else IncidentId(draft.incident_id),
        approval_id=None,
        audience=draft.audience,
        channel=channel,
        recipient=recipient,
        subject=draft.text[0],
        body=draft.text[1],
        state=draft.state,
        idempotency_key=f"{draft.key}:{channel}:{recipient}",
        attempt=0,
    )
    if not uow.attention.add_message(message):
        return None
    entry = Entry(
        kind=f"message.{draft.state.value}",
        at=uow.now,
        subject=message.id,
        sentence=f"Message to {draft.audience.value} over {channel}: {draft.text[0]}",
        incident_id=message.incident_id,
        facts={"channel": channel},
        personal={"recipient": recipient},
    )
    uow.record(entry, *((MessageQueued(message.id),) if draft.state is MessageState.QUEUED else ()))
    return message.id
