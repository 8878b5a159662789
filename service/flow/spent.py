"""The guardian's hour is used up, or its rejections' half: everyone on call learns each, once an hour and chain.

Rule: only a worker's note is believed that it is so (`vault/purse.py` writes it in the transaction that refused); a message
that was invented wakes nobody.
"""

from service.domain import letters
from service.domain.attention import Audience, Message, MessageState, Reachable, Spent, guardian_note
from service.domain.errors import ForbiddenError
from service.domain.events import MessageQueued
from service.domain.ids import MessageId, new_id
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork


def guardian(db: Database, chain: str, hour: str, what: str) -> None:
    """Page everyone on call. Raises ForbiddenError when no worker noted it."""
    with db.begin() as uow:
        note = guardian_note(chain, hour, what)
        if not uow.noted(note):
            raise ForbiddenError(f"the guardian's hour on {chain} is not used up: nobody is paged")
        for person in uow.attention.reachable():
            if person.oncall_level is not None:
                _page(uow, person, note, letters.guardian_spent(chain, Spent(what)))


def _page(uow: UnitOfWork, person: Reachable, note: str, text: tuple[str, str]) -> None:
    for channel, recipient in person.routes:
        message = Message(
            id=MessageId(new_id("msg")),
            incident_id=None,
            approval_id=None,
            audience=Audience.RESPONDERS,
            channel=channel,
            recipient=recipient,
            subject=text[0],
            body=text[1],
            state=MessageState.QUEUED,
            idempotency_key=f"{note}:{person.person_id}:{channel}:{recipient}",
            attempt=0,
            page=True,
        )
        if uow.attention.add_message(message):
            sentence = f"Page to {person.person_id} over {channel}: {text[0]}"
            entry = Entry(kind="message.queued", at=uow.now, subject=message.id, sentence=sentence)
            uow.record(entry, MessageQueued(message.id))
