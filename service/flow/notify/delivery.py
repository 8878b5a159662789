"""Handing messages over, and what becomes of them.

Rules: a message to others than staff goes only as a quorum approved it, whatever its row says. A delivery whose answer was
lost becomes `unknown` and is not sent again blindly (design D5); so does one that broke in a way that no channel should, and
what waits behind it goes on. A page that failed, is unknown or does not get through also
goes over the person's next channel. A channel that takes nothing is tried by one message at a time; whoever is on call hears
of it over the others. What a job carries of one channel goes over one connection, where the channel can keep one.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from service.domain import letters
from service.domain.approval import lists
from service.domain.attention import FALL_BACK_AFTER, RETRY_AFTER_S, Audience, Message, MessageState
from service.domain.authorisation import check_document
from service.domain.errors import ApprovalError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.ids import ApprovalId, MessageId
from service.domain.timeline import Entry
from service.flow.notify.drafts import Writing, item, queue, to_person
from service.ports.notify import Channel, Keeping, Letter
from service.ports.store.unit import Database, UnitOfWork

_log = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=60)
LONGEST_RUN_S: Final = 15.0
"""How long one job goes on with what waited for its channel."""


def deliver(
    db: Database, channels: Mapping[str, Channel], authority_pem: bytes, message_id: MessageId, owner: str
) -> None:
    """Send what goes next over a queued message's channel, itself or a page before it, then what waits for it.

    Safe to repeat: what is not due, or leased already, is left alone.
    """
    began = time.monotonic()
    with db.begin() as uow:
        message = uow.deliveries.claim(message_id, owner, LEASE)
    if message is None:
        _settle_abandoned(db, message_id)
        return
    with _kept(channels.get(message.channel)) as channel:
        while message is not None:
            _deliver(db, channel, authority_pem, message)
            if time.monotonic() - began > LONGEST_RUN_S:
                return
            with db.begin() as uow:
                message = uow.deliveries.claim_next(message.channel, owner, LEASE)


def _deliver(db: Database, channel: Channel | None, authority_pem: bytes, message: Message) -> None:
    try:
        _require_allowed(db, message, authority_pem)
        receipt = _send(channel, message)
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
        draft = Writing(
            None, Audience.RESPONDERS, text, f"channel:{message.channel}:{line.since.isoformat()}", page=True
        )
        for person in uow.attention.reachable():
            if person.oncall_level is not None:
                also = () if person.last_resort is None else (person.last_resort,)
                others = tuple(route for route in (*person.routes, *also) if route[0] != message.channel)
                to_person(uow, draft, replace(person, routes=others))
        facts = {"channel": message.channel}
        sentence = f"Channel {message.channel} takes no messages: everyone on call is told over others"
        uow.record(Entry(kind="channel.lost", at=uow.now, subject=message.channel, sentence=sentence, facts=facts))


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
    if not lists(document, item(message)):
        raise ApprovalError(f"the approved document {document.id} does not list this message as it would be sent")


def _send(channel: Channel | None, message: Message) -> Mapping[str, str]:
    if channel is None:
        raise RefusedByOtherSideError(
            f"there is no channel {message.channel}: add it, or correct the person's channels"
        )
    facts = {"incident": message.incident_id or "", "approval": message.approval_id or ""}
    letter = Letter(message.idempotency_key, message.recipient, message.subject, message.body, facts)
    try:
        return channel.deliver(letter)
    except (RefusedByOtherSideError, UnavailableError, UnknownOutcomeError):
        raise
    except Exception as error:
        _log.exception("a channel failed in a way that it should not", channel=message.channel, message=message.id)
        raise UnknownOutcomeError(f"our own fault ({type(error).__name__}): it may have arrived") from error


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
    draft = Writing(message.incident_id, message.audience, text, base, page=message.page)
    for person in uow.attention.reachable():
        others = (*person.routes, *((person.last_resort,) if person.last_resort else ()))
        if route in others:
            for other in others:
                if other != route and queue(uow, draft, other) is not None:
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


def _kept(channel: Channel | None) -> AbstractContextManager[Channel | None]:
    return channel.kept() if isinstance(channel, Keeping) else nullcontext(channel)
