"""What is asked for that is no step of a plan: messages, paging, closing as false, clearing; and how it is audited.

Rules: a message's item carries its exact subject, body, channel and recipient, so that people approve the very text that
goes out; whoever executes builds the item again from the row in hand and asks `approval.lists`.
"""

from collections.abc import Collection
from typing import Final

from service.domain.approval import ActionDocument, Item, one_line, parse
from service.domain.canonical import digest
from service.domain.clearance import HeldActivity
from service.domain.errors import InputError
from service.domain.plan import Effect
from service.domain.timeline import Entry

CLEAR: Final = "blind.clear_activity"
CLOSE_AS_FALSE: Final = "blind.close_incident"
ALERTS_TAG: Final = "portcullis/alerts/v1"


def requested_entry(document: ActionDocument) -> Entry:
    """Return the audit entry of a request; record it with `ApprovalRequested(document.id)`."""
    return Entry(
        kind="approval.requested",
        at=document.created,
        subject=document.id,
        sentence=f"Approval asked for {', '.join(document.actions)}: {document.why}",
        by=document.requester,
        incident_id=document.incident or None,
        facts={"digest": document.digest, "actions": list(document.actions), "policy": document.policy.version},
    )


def readable(text: str) -> ActionDocument | None:
    """Return the document of a row among several, None where it is none: nobody can vote on it, and it stops no other."""
    try:
        return parse(text)
    except InputError:
        return None


def message_item(message_id: str, audience: str, text: tuple[str, str], route: tuple[str, str]) -> Item:
    """Return the item for one message. `text` is subject and body, `route` channel id and recipient."""
    return Item(
        step="",
        action="message.send",
        effect=Effect.IRREVERSIBLE,
        target={"kind": "message", "value": message_id},
        params={
            "audience": audience,
            "channel": route[0],
            "recipient": route[1],
            "subject": text[0],
            "body": text[1],
        },
        sentence=one_line(f"Tell {audience} over {route[0]}: {text[0]}"),
    )


def escalation_item(incident_id: str, level: int) -> Item:
    """Return the item that asks to page one more on-call level for an incident."""
    return Item(
        step="",
        action="escalation.page",
        effect=Effect.LOOSENS,
        target={"kind": "incident", "value": incident_id},
        params={"level": level},
        sentence=f"Page on-call level {level} about incident {incident_id}.",
    )


def false_closure_item(incident_id: str, alerts: Collection[str]) -> Item:
    """Return the item that asks to close a critical incident as a false positive, with exactly these alerts' ids."""
    return Item(
        step="",
        action=CLOSE_AS_FALSE,
        effect=Effect.LOOSENS,
        target={"kind": "incident", "value": incident_id},
        params={
            "verdict": "false_positive",
            "alerts": len(alerts),
            "alerts_digest": digest(ALERTS_TAG, sorted(alerts)),
        },
        sentence=(
            f"Close critical incident {incident_id} as a false positive, with all its alerts, {len(alerts)} when this was "
            "asked; the engine learns from it."
        ),
    )


def clearance_item(held: HeldActivity) -> Item:
    """Return the item that asks to let a held activity's transaction pass and to learn from it."""
    return Item(
        step="",
        action=CLEAR,
        effect=Effect.LOOSENS,
        target={"kind": "activity", "connection": held.connection, "value": held.id},
        params=held.facts,
        sentence=one_line(held.sentence),
    )
