"""Approvals: what waits for a quorum, shown from the stored document alone, and the votes on it.

Rules: everything a person reads here is made from the stored document's own bytes; a vote goes to the authority with the
caller's person, never another's, as the caller's client sealed it: no code is ever seen here, and no answer before it
counts; refused ballots are braked by token, because the authority counts those that do not open against nobody; a change of
who decides or what is connected is only ever asked for here.
"""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.api.auth import Principal
from service.api.deps import Admin, ApiParts, Parts, Reader, Voter, requester_of
from service.api.pagination import Cursor, Limit, decode, encode
from service.api.schemas.ballot import SealedIn
from service.api.sealed import ChannelIn, ConnectionIn, channel_setting, connection_setting
from service.domain.approval import ApprovalState, Draft, check_code, one_line, parse, sentences
from service.domain.authorisation import Vote
from service.domain.changes import TIGHTENING, Change, change_of, sentence
from service.domain.errors import (
    ForbiddenError,
    InputError,
    PortcullisError,
    RateLimitedError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.events import ApprovalRequested
from service.domain.ids import ApprovalId
from service.domain.requests import requested_entry
from service.ports.store.approvals import ApprovalRow
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])


class ChangeIn(BaseModel):
    """A change of the registry that a quorum shall decide."""

    action: str = Field(max_length=60, examples=["change.person.roles"])
    params: dict[str, object] = Field(examples=[{"person": "per_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P", "roles": ["viewer"]}])
    why: str = Field(min_length=1, max_length=1000, examples=["She left the response team."])


class ConnectionChangeIn(BaseModel):
    connection: ConnectionIn
    why: str = Field(min_length=1, max_length=1000)


class ChannelChangeIn(BaseModel):
    channel: ChannelIn
    why: str = Field(min_length=1, max_length=1000)


@router.get("", summary="List requests, newest first")
def list_approvals(
    parts: Parts,
    reader: Reader,
    state: Annotated[ApprovalState | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, object]:
    """Return a page of requests."""
    with parts.database.begin() as uow:
        rows = uow.approvals.listed(state=state, after=decode(cursor), limit=limit)
    return {
        "items": [_shown(row, reader) for row in rows],
        "next": encode(rows[-1].id) if len(rows) == limit else None,
    }


@router.get("/{approval_id}", summary="One request: its document, its sentences, how it stands")
def get_approval(approval_id: str, parts: Parts, reader: Reader) -> dict[str, object]:
    """Return one request with its votes."""
    with parts.database.begin() as uow:
        return _whole(uow, ApprovalId(approval_id), reader)


@router.post("", summary="Ask for a change of who decides or what is connected", status_code=201)
def ask_for_change(body: ChangeIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Open a request for a change."""
    if body.action in TIGHTENING:
        raise InputError("this tightens and runs at once: see /v1/people", field="action")
    if body.action in {"change.connection.put", "change.channel.put"} and body.params.get("secrets"):
        raise InputError("secrets are sealed at the door: use /v1/approvals/connections", field="params")
    return propose(parts, body.action, change_of(body.action, body.params), body.why, admin)


@router.post(
    "/connections", summary="Ask for a new or changed connection; its secrets are sealed here", status_code=201
)
def ask_for_connection(body: ConnectionChangeIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Open a request for a connection."""
    change = connection_setting(parts.settings.public, body.connection)
    return propose(parts, "change.connection.put", change, body.why, admin)


@router.post("/channels", summary="Ask for a new or changed delivery channel", status_code=201)
def ask_for_channel(body: ChannelChangeIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Open a request for a channel."""
    change = channel_setting(parts.settings.public, body.channel)
    return propose(parts, "change.channel.put", change, body.why, admin)


@router.post("/{approval_id}/votes", summary="Approve or deny, by a sealed ballot", status_code=201)
def vote(approval_id: str, body: SealedIn, parts: Parts, voter: Voter) -> dict[str, object]:
    """Cast the caller's vote; the answer holds the statement that the authority signed."""
    if voter.person_id is None:
        raise ForbiddenError("this token is bound to no person, and only people vote")
    wait_s = parts.refused_ballots.wait_s(voter.token_id)
    if wait_s:
        raise RateLimitedError("too many refused ballots with this token; wait", retry_after_s=wait_s)
    sent = {"approval": approval_id, "person": voter.person_id, "sealed": body.sealed}
    try:
        return dict(parts.authority.call("/votes", sent))
    except (UnavailableError, UnknownOutcomeError):
        raise
    except PortcullisError:
        parts.refused_ballots.note(voter.token_id)
        raise


def propose(parts: ApiParts, action: str, change: Change, why: str, asker: Principal) -> dict[str, object]:
    """Store a request for one change and hand it to the approvers."""
    draft = Draft(what=[change.item(action, sentence(action, change))], why=why, requester=requester_of(asker))
    with parts.database.begin() as uow:
        document = uow.approvals.propose(draft)
        uow.record(requested_entry(document), ApprovalRequested(document.id))
        return _whole(uow, document.id, asker)


def _whole(uow: SqlUnitOfWork, approval_id: ApprovalId, reader: Principal) -> dict[str, object]:
    row = uow.approvals.row(approval_id)
    votes = [msgspec.json.decode(one.body, type=Vote) for one in uow.approvals.evidence(approval_id).votes]
    cast = [{"person": v.person, "decision": v.decision, "roles": list(v.roles), "at": v.at.isoformat()} for v in votes]
    return {**_shown(row, reader), "document": row.document, "votes": cast}


def _shown(row: ApprovalRow, reader: Principal) -> dict[str, object]:
    try:
        document = parse(row.document)
        told = {"sentences": list(sentences(document)), "actions": list(document.actions), "digest": document.digest}
    except InputError as error:  # nobody can vote on it, and it must not keep the others from being shown
        return {
            **_row(row),
            "sentences": [one_line(f"This is no request: {error}")],
            "actions": [],
            "digest": row.digest,
        }
    shown = {**_row(row), **told}
    if reader.person_id is not None:
        shown["check_code"] = check_code(document.digest, reader.person_id)
    return shown


def _row(row: ApprovalRow) -> dict[str, object]:
    return {
        "id": row.id,
        "subject": row.subject.value,
        "state": row.state.value,
        "reason": row.reason,
        "incident": row.incident_id,
        "requester": row.requester,
        "created_at": row.created_at.isoformat(),
        "approve_by": row.approve_by.isoformat(),
        "execute_by": row.execute_by.isoformat(),
        "decided_at": row.decided_at.isoformat() if row.decided_at else None,
    }
