"""Evidence of incidents, lists of labelled addresses, and the sweep that is kept ready for a Bitcoin account.

Rules: a list holds and alerts on payments to whom it warns of, and a named service ends a trace, so an administrator imports
it, whatever rests on it says whose word it is, and the audit log keeps who, from where and which file; a list is never
changed, a newer one stands beside it, and withdrawing one loosens and takes a quorum (design D4). Asking for evidence again,
also past labels, is for who responds; reading it for who may read raw bodies, because it tells from where people came. A
prepared sweep authorises nothing.
"""

import base64
import json
from datetime import date
from typing import Any, Final

from fastapi import APIRouter, Response

from service.api.deps import Admin, Id, Judge, Parts, Reader, Responder, name_of, requester_of
from service.api.schemas.engine import BlindingAsked
from service.api.schemas.forensics import (
    AddressListNew,
    AddressLists,
    AddressListShown,
    EvidenceAsked,
    EvidenceShown,
    EvidenceWish,
    ListRemoval,
    SweepReady,
)
from service.domain.approval import Draft, one_line
from service.domain.errors import ConflictError, NotFoundError
from service.domain.events import ApprovalRequested, EvidenceRequested
from service.domain.forensics.labels import read_list
from service.domain.ids import AccountId, IncidentId
from service.domain.listed import UNLIST, ListKept, unlist_item
from service.domain.requests import requested_entry
from service.domain.timeline import Entry
from service.ports.store.forensics import LISTS_LOCK, Stored
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1", tags=["forensics"])

SVG: Final = "image/svg+xml"
_PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "An SVG document that loads and runs nothing.",
        "content": {SVG: {"schema": {"type": "string"}, "example": '<svg viewBox="0 0 524 60" role="img"></svg>'}},
    }
}


@router.get("/incidents/{incident_id}/evidence", summary="Where the money went, and who had been there")
def get_evidence(incident_id: Id, parts: Parts, _judge: Judge) -> EvidenceShown:
    """Return what was traced of an incident."""
    with parts.database.begin() as uow:
        found = _trace(uow, incident_id)
    return EvidenceShown(
        state=found.state,
        updated_at=found.updated_at,
        report=None if found.report is None else json.loads(found.report),
        picture=None if found.drawing is None else f"/v1/incidents/{incident_id}/evidence.svg",
    )


@router.get(
    "/incidents/{incident_id}/evidence.svg",
    summary="The trace as a picture",
    response_class=Response,
    responses=_PICTURE,
)
def get_drawing(incident_id: Id, parts: Parts, _judge: Judge) -> Response:
    """Return the picture of a trace."""
    with parts.database.begin() as uow:
        found = _trace(uow, incident_id)
    if found.drawing is None:
        raise NotFoundError(f"the evidence of {incident_id} is still being gathered")
    return Response(found.drawing, media_type=SVG)


@router.post("/incidents/{incident_id}/evidence", summary="Trace from the beginning once more", status_code=202)
def ask_again(incident_id: Id, parts: Parts, responder: Responder, wish: EvidenceWish | None = None) -> EvidenceAsked:
    """Ask that an incident be traced anew, as when a list was imported, a label is doubted or money moved on."""
    past_labels = wish is not None and wish.past_labels
    with parts.database.begin() as uow:
        incident = uow.incidents.incident(IncidentId(incident_id))
        entry = Entry(
            kind="evidence.requested",
            at=uow.now,
            subject=incident.id,
            sentence="Evidence was asked for anew" + (", past labels" if past_labels else ""),
            by=name_of(responder),
            incident_id=incident.id,
        )
        uow.record(entry, EvidenceRequested(incident.id, past_labels))
    return EvidenceAsked(incident=incident_id)


@router.get("/address-lists", summary="Imported lists of labelled addresses")
def list_lists(parts: Parts, _reader: Reader) -> AddressLists:
    """Return every imported list."""
    with parts.database.begin() as uow:
        return AddressLists(items=[_shown(one) for one in uow.forensics.address_lists()])


@router.post("/address-lists", summary="Import a list of labelled addresses", status_code=201)
def import_list(body: AddressListNew, parts: Parts, admin: Admin) -> AddressListShown:
    """Import a list. It counts at the gate from the next activity on; the same file is in force once."""
    found = read_list(body.text.encode(), body.name, body.kind)
    with parts.database.begin() as uow:
        uow.lock(LISTS_LOCK, with_api=True)
        kept = uow.forensics.add_list(found, body.source, body.listed_on, name_of(admin))
        facts = {"source": kept.source, "listed_on": kept.listed_on, "entries": kept.entries}
        uow.record(
            Entry(
                kind="addresses.listed",
                at=uow.now,
                subject=kept.id,
                sentence=f"{kept.entries} labelled addresses were imported from {kept.source}",
                by=name_of(admin),
                facts={**facts, "digest": kept.digest},
            )
        )
    return _shown(kept)


@router.post("/address-lists/{list_id}/remove", summary="Ask for the quorum that withdraws a list", status_code=202)
def remove_list(list_id: Id, body: ListRemoval, parts: Parts, admin: Admin) -> BlindingAsked:
    """Open the request, or return the one that waits for the same list; 409 once the list is withdrawn."""
    requester = requester_of(admin)
    with parts.database.begin() as uow:
        uow.lock(LISTS_LOCK, with_api=True)
        kept = uow.forensics.address_list(list_id)
        if not kept.in_force:
            raise ConflictError(f"address list {kept.id} was withdrawn already", field="list")
        waiting = uow.blinding.waiting(UNLIST, kept.id)
        if waiting:
            return BlindingAsked(approval=waiting[0].id, digest=waiting[0].digest)
        document = uow.approvals.propose(Draft([unlist_item(kept)], one_line(body.why), requester))
        uow.record(requested_entry(document), ApprovalRequested(document.id))
    return BlindingAsked(approval=document.id, digest=document.digest)


@router.get("/accounts/{account_id}/sweep", summary="The Bitcoin sweep that is kept ready, as PSBTs")
def get_sweep(account_id: Id, parts: Parts, _responder: Responder) -> SweepReady:
    """Return the prepared sweep of a Bitcoin account: for other signers, and to look at."""
    with parts.database.begin() as uow:
        found = uow.bitcoin.prepared(AccountId(account_id))
    if found is None:
        raise NotFoundError(f"account {account_id} has no prepared sweep: it is made for Bitcoin accounts of the vault")
    return SweepReady(
        account=account_id,
        to=found.to,
        rate_sat_per_kvb=found.rate,
        tip=found.tip,
        coins=len(found.held),
        satoshis=str(sum(coin.amount for coin in found.held)),
        made_at=found.made_at,
        psbts=[base64.b64encode(one).decode() for one in found.psbts],
    )


def _trace(uow: SqlUnitOfWork, incident_id: str) -> Stored:
    uow.incidents.incident(IncidentId(incident_id))
    found = uow.forensics.trace(IncidentId(incident_id))
    if found is None:
        raise NotFoundError(f"there is no evidence of {incident_id} yet: it is gathered once the incident is contained")
    return found


def _shown(one: ListKept) -> AddressListShown:
    return AddressListShown(
        id=one.id,
        source=one.source,
        listed_on=date.fromisoformat(one.listed_on),
        entries=one.entries,
        imported_by=one.imported_by,
        in_force=one.in_force,
    )
