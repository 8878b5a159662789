"""Activities with their assessments, and the reviews of incidents."""

import base64
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field

from service.api.deps import JUDGES, Parts, Reader
from service.api.pagination import decode, envelope
from service.domain.errors import ForbiddenError
from service.store.queries import reading
from service.store.queries.pages import MAX_LIMIT, Page, Record

router = APIRouter(prefix="/v1", tags=["activities"])


def _with_reasons(row: Record) -> dict[str, Any]:
    shown = dict(row)
    shown["reasons"] = json.loads(shown["reasons"]) if shown["reasons"] else []
    if "raw" in shown:
        shown["raw"] = base64.b64encode(shown["raw"]).decode()
    return shown


class Filters(BaseModel):
    """Which activities to list; what is left out does not matter."""

    connection_id: str | None = Field(default=None, max_length=64, alias="connection")
    account: str | None = Field(default=None, max_length=200)
    actor: str | None = Field(default=None, max_length=200)
    kind: str | None = Field(default=None, max_length=64, examples=["withdrawal.requested"])
    transaction: str | None = Field(default=None, max_length=200)
    anomalous: bool = Field(default=False, description="Only what was alerted or held.")
    cursor: str | None = Field(default=None, max_length=128, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT)


@router.get("/activities", summary="List activities with score, decision and reasons, newest first")
def list_activities(parts: Parts, _reader: Reader, asked: Annotated[Filters, Query()]) -> dict[str, object]:
    """Return a page of activities."""
    filters = asked.model_dump(exclude={"anomalous", "cursor", "limit"}, exclude_none=True)
    with parts.database.begin() as uow:
        found = reading.activities_page(
            uow.connection,
            filters=filters,
            anomalous=asked.anomalous,
            after=decode(asked.cursor),
            limit=asked.limit,
        )
    return envelope(Page([_with_reasons(row) for row in found.rows], found.after))


@router.get("/activities/{activity_id}", summary="One activity with its assessment")
def get_activity(
    activity_id: str,
    parts: Parts,
    reader: Reader,
    body: Annotated[bool, Query(description="With the raw body, base64; for those who judge.")] = False,  # noqa: FBT002  a query flag
) -> dict[str, object]:
    """Return one activity."""
    if body and reader.role not in JUDGES:
        raise ForbiddenError("raw bodies are for analysts, responders and admins")
    with parts.database.begin() as uow:
        return _with_reasons(reading.activity(uow.connection, activity_id, with_body=body))


@router.get("/reviews/{incident_id}", summary="The review of a closed incident, as JSON")
def get_review(incident_id: str, parts: Parts, _reader: Reader) -> Response:
    """Return the stored review."""
    with parts.database.begin() as uow:
        found = reading.review(uow.connection, incident_id)
    return Response(found["body"], media_type="application/json")


@router.get(
    "/reviews/{incident_id}/page", summary="The review of a closed incident, as a page", response_class=HTMLResponse
)
def get_review_page(incident_id: str, parts: Parts, _reader: Reader) -> HTMLResponse:
    """Return the stored page; it loads nothing from anywhere."""
    with parts.database.begin() as uow:
        return HTMLResponse(reading.review(uow.connection, incident_id)["html"])
