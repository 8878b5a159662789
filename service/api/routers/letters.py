"""Letters to issuers: what was written, who approved it, and the signature it went out with.

A letter is a step like any other; here it is shown as what it is. Its text names addresses and transactions, never people.
"""

from collections.abc import Mapping

from fastapi import APIRouter

from service.api.deps import Id, Judge, Parts
from service.api.schemas.letters import Letters, LetterShown
from service.domain.ids import IncidentId
from service.store.queries import incidents as queries

router = APIRouter(prefix="/v1/incidents/{incident_id}", tags=["incidents"])


@router.get("/letters", summary="Letters to issuers of stolen tokens")
def list_letters(incident_id: Id, parts: Parts, _judge: Judge) -> Letters:
    """Return every letter of an incident, whatever became of it."""
    with parts.database.begin() as uow:
        incident = uow.incidents.incident(IncidentId(incident_id))
        return Letters(items=[_shown(row) for row in queries.letters(uow.connection, incident.id)])


def _shown(row: Mapping[str, object]) -> LetterShown:
    params, receipt, target = (_mapping(row[name]) for name in ("params", "receipt", "target"))
    facts = _mapping(receipt.get("facts"))
    told = {name: str(params.get(name, "")) for name in ("issuer", "recipient", "channel", "subject")}
    sent = {
        name: facts.get(name) for name in ("sha256", "signature", "sums", "sums_signature", "public_key", "message_id")
    }
    known = {
        "step": row["id"],
        "state": row["state"],
        "approval": row["approval_id"],
        "finished_at": row["finished_at"],
    }
    return LetterShown.model_validate(
        {**known, **told, **sent, "asset": target.get("value", ""), "text": params.get("letter", "")}
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
