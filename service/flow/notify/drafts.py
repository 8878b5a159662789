"""Messages before they are sent: who gets them over which route, each once.

Rules: staff's messages go only over routes that are known as theirs. A page asks one person to act now and stands before
everything else on its channel (`ports/store/deliveries.py`); what a channel that many share gets is no page.
"""

from dataclasses import dataclass, replace

from service.domain.approval import Item
from service.domain.attention import Audience, Message, MessageState, Reachable
from service.domain.events import MessageQueued
from service.domain.ids import IncidentId, MessageId, new_id
from service.domain.requests import message_item
from service.domain.timeline import Entry
from service.ports.store.unit import UnitOfWork


@dataclass(frozen=True, slots=True)
class Writing:
    """What is said to whom about which incident; `key` makes it unique with its route."""

    incident_id: str | None
    audience: Audience
    text: tuple[str, str]
    key: str
    state: MessageState = MessageState.QUEUED
    page: bool = False


def to_channels(uow: UnitOfWork, draft: Writing) -> list[MessageId]:
    """Write to the shared channels of an audience; return what was not there yet."""
    routes = uow.attention.channels_for(draft.audience.value)
    if draft.audience is not Audience.USERS:
        staff = uow.attention.staff_routes()
        routes = [route for route in routes if route in staff]
    shared = replace(draft, page=False)
    return [message_id for route in routes if (message_id := queue(uow, shared, route)) is not None]


def to_person(uow: UnitOfWork, draft: Writing, person: Reachable) -> None:
    """Write to a person over every route of his."""
    for route in person.routes:
        queue(uow, replace(draft, key=f"{draft.key}:{person.person_id}"), route)


def queue(uow: UnitOfWork, draft: Writing, route: tuple[str, str]) -> MessageId | None:
    """Write over one route; None when that was done before."""
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
        page=draft.page,
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


def item(message: Message) -> Item:
    """Return what people approve of a message to users."""
    return message_item(
        message.id, message.audience.value, (message.subject, message.body), (message.channel, message.recipient)
    )
