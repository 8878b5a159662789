"""What the engine is told to see: suppressions of entities, and the settings of its levels.

Rules (design D4): what makes it see less is only ever asked for here, and takes a quorum; what makes it see more is done at
once. Which way a setting loosens is declared in `domain/blinding.py` alone.
"""

from dataclasses import asdict
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response

from rules.learning import RecordKind
from rules.settings import EngineSettings
from service.api.deps import Admin, Id, Judge, Parts, Reader, name_of, requester_of
from service.api.pagination import Listing, decode, encode
from service.api.schemas.engine import (
    BlindingAsked,
    MovedShown,
    SettingsAsked,
    SettingShown,
    SettingsIn,
    SettingsShown,
    SuppressionIn,
    SuppressionsAsked,
    SuppressionShown,
)
from service.domain.approval import ActionDocument, Draft, Item, one_line
from service.domain.blinding import (
    DIRECTIONS,
    SETTINGS,
    SUPPRESS,
    Moved,
    Suppression,
    changed,
    moved,
    settings_item,
    shown_settings,
    suppression_of,
    warranted,
)
from service.domain.errors import ConflictError, NotFoundError
from service.domain.events import ApprovalRequested
from service.domain.ids import PersonId, new_id
from service.domain.person import PersonState
from service.domain.requests import requested_entry
from service.domain.timeline import Entry
from service.flow.blinding import SETTINGS_LOCK
from service.store.unit_of_work import SqlUnitOfWork

MOST_OPEN: Final = 20
"""Requests to blind that one person may have waiting: more would bury those who decide."""

router = APIRouter(prefix="/v1", tags=["engine"])


@router.get("/suppressions", summary="List suppressions, newest first")
def list_suppressions(
    parts: Parts, _reader: Reader, asked: Annotated[SuppressionsAsked, Query()]
) -> Listing[SuppressionShown]:
    """Return a page of suppressions that a quorum approved; what waits is under /v1/approvals."""
    with parts.database.begin() as uow:
        after = decode(asked.cursor)
        rows = uow.blinding.suppressions(active=asked.active, after=after, limit=asked.limit)
        shown = [SuppressionShown.of(row, uow.now) for row in rows]
    return Listing(items=shown, next=encode(shown[-1].id) if len(shown) == asked.limit else None)


@router.post("/suppressions", summary="Ask for the quorum that suppresses findings about one entity", status_code=202)
def ask_to_suppress(body: SuppressionIn, parts: Parts, judge: Judge) -> BlindingAsked:
    """Open the request, or return the one that waits for exactly the same; 409 while one for the entity asks otherwise.

    404 for an entity that nothing is known of: a slip of the pen would suppress nothing, or what is yet to come.
    """
    requester = requester_of(judge)
    with parts.database.begin() as uow:
        suppression = Suppression(
            id=new_id("sup"),
            entity=body.entity,
            detector=body.detector,
            owner=_owner(uow, body.owner, requester),
            reason=one_line(body.reason),
            expires_at=body.expires_at,
        )
        suppression.require_bounded(uow.now)
        if not uow.blinding.known(suppression.entity):
            raise NotFoundError(
                f"{suppression.entity} is no registered account, and no alert was about it or came from it: "
                "name it as an alert does",
                field="entity",
            )
        uow.lock(f"suppress:{suppression.entity}", with_api=True)
        standing = uow.blinding.active(suppression.entity, suppression.detector)
        if standing is not None and standing.told.expires_at >= suppression.expires_at:
            raise ConflictError(f"{standing.told.id} suppresses this already, and for longer", field="entity")
        waiting = _waiting_for(uow, suppression)
        if waiting is not None:
            return BlindingAsked(approval=waiting.id, digest=waiting.digest)
        uow.lock(f"suppress:{requester}", with_api=True)
        if uow.blinding.waiting_of(requester) >= MOST_OPEN:
            raise ConflictError(
                f"{MOST_OPEN} requests of yours wait already: settle or await those first", field="entity"
            )
        return _propose(uow, suppression.item(), suppression.reason, requester)


@router.post("/suppressions/{suppression_id}/lift", summary="Lift a suppression: it tightens, and runs at once")
def lift(suppression_id: Id, parts: Parts, judge: Judge) -> SuppressionShown:
    """Lift a suppression; lifting it again changes nothing."""
    with parts.database.begin() as uow:
        standing = uow.blinding.suppression(suppression_id)
        if uow.blinding.lift(suppression_id, name_of(judge)):
            payload = msgspec.json.encode({"id": suppression_id})
            uow.incidents.ask_learning(RecordKind.SUPPRESSION_LIFTED.value, suppression_id, payload)
            uow.record(
                Entry(
                    kind="suppression.lifted",
                    at=uow.now,
                    subject=suppression_id,
                    sentence=f"Lifted the suppression of {standing.told.entity}",
                    by=name_of(judge),
                    facts={"approval": standing.approval_id},
                )
            )
        return SuppressionShown.of(uow.blinding.suppression(suppression_id), uow.now)


@router.get("/engine/settings", summary="The engine's settings, and which way each one loosens")
def get_settings(parts: Parts, _reader: Reader) -> SettingsShown:
    """Return the settings in force, without the salt."""
    with parts.database.begin() as uow:
        settings = _in_force(uow)
    fields = shown_settings(settings)
    changeable = [SettingShown(name=n, value=fields[n], loosens=d.value) for n, d in DIRECTIONS.items()]
    return SettingsShown(digest=settings.digest(), changeable=changeable, settings=dict(fields))


@router.post(
    "/engine/settings",
    summary="Change settings: at once where all tighten, else by a quorum",
    responses={202: {"model": SettingsAsked, "description": "It takes a quorum: the approval was opened."}},
)
def change_settings(body: SettingsIn, parts: Parts, admin: Admin, response: Response) -> SettingsAsked:
    """Change the engine's settings, or ask for the quorum (202)."""
    requester = requester_of(admin)
    with parts.database.begin() as uow:
        uow.lock(SETTINGS_LOCK, with_api=True)
        old = _in_force(uow)
        new = changed(old, body.changes)
        found = moved(old, new)
        if not any(one.loosens for one in found):
            _apply(uow, new, found, requester)
            return _asked(found, None)
        response.status_code = 202
        waiting = uow.blinding.waiting(SETTINGS, "engine")
        if waiting:
            raise ConflictError(f"{waiting[0].id} waits already: settle that one first", field="changes")
        return _asked(found, _propose(uow, settings_item(old, new), one_line(body.why), requester))


def _waiting_for(uow: SqlUnitOfWork, wanted: Suppression) -> ActionDocument | None:
    """Return the request that waits for exactly this. Raises ConflictError while another on the same finding waits.

    Nobody's request is answered with another one's approval, or its votes would seem to be about what they are not.
    """
    for document in uow.blinding.waiting(SUPPRESS, wanted.entity):
        asked = suppression_of(document.what[0])
        if msgspec.structs.replace(asked, id=wanted.id) == wanted:
            return document
        if asked.detector == wanted.detector:
            raise ConflictError(
                f"{document.id} waits for this entity and asks otherwise: settle that one first", field="entity"
            )
    return None


def _in_force(uow: SqlUnitOfWork) -> EngineSettings:
    settings = uow.blinding.settings()
    if settings is None:
        raise ConflictError("the engine has no settings yet: it draws them with its first activity")
    return settings


def _apply(uow: SqlUnitOfWork, new: EngineSettings, found: tuple[Moved, ...], by: PersonId) -> None:
    uow.incidents.ask_learning(RecordKind.SETTINGS.value, "settings", warranted(new.encode()))
    told = "; ".join(f"{one.name} from {one.old} to {one.new}" for one in found)
    uow.record(
        Entry(
            kind="settings.changed",
            at=uow.now,
            subject=new.digest(),
            sentence=f"Tightened what the engine alerts and holds: {told}",
            by=by,
            facts={"settings": new.digest()},
        )
    )


def _asked(found: tuple[Moved, ...], asked: BlindingAsked | None) -> SettingsAsked:
    return SettingsAsked(
        applied=asked is None,
        changes=[MovedShown(**asdict(one)) for one in found],
        approval=None if asked is None else asked.approval,
        digest=None if asked is None else asked.digest,
    )


def _owner(uow: SqlUnitOfWork, named: str | None, requester: PersonId) -> PersonId:
    if named is None:
        return requester
    person = uow.registry.person(PersonId(named))
    if person.state is not PersonState.ACTIVE:
        raise ConflictError(f"{person.id} is {person.state.value}: name an active person", field="owner")
    return person.id


def _propose(uow: SqlUnitOfWork, item: Item, why: str, requester: PersonId) -> BlindingAsked:
    document = uow.approvals.propose(Draft(what=[item], why=why, requester=requester))
    uow.record(requested_entry(document), ApprovalRequested(document.id))
    return BlindingAsked(approval=document.id, digest=document.digest)
