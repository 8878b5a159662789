"""Why an activity was judged as it was, in words and as a picture.

Rules: both are made from what is stored; a detector is described as the set in force knows it now, and says when it does
not know it any more.
"""

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from rules.explain import MEANINGS
from rules.signal import Reason
from service.api.deps import ApiParts, Id, Parts, Reader
from service.api.schemas.explanations import DetectorShown, ExplanationShown, ReasonShown
from service.domain.explaining import DetectorNote, picture, sentences
from service.domain.ids import ActivityId

router = APIRouter(prefix="/v1/activities", tags=["activities"])

SVG: Final = "image/svg+xml"
_PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "An SVG document that loads and runs nothing.",
        "content": {SVG: {"schema": {"type": "string"}, "example": '<svg viewBox="0 0 720 260" role="img"></svg>'}},
    }
}


@router.get("/{activity_id}/explanation", summary="Why it was judged so: score, reasons, detectors, levels")
def get_explanation(activity_id: Id, parts: Parts, _reader: Reader) -> ExplanationShown:
    """Return the explanation of one activity."""
    with parts.database.begin() as uow:
        found = uow.findings.assessed(ActivityId(activity_id))
    notes = [_note(parts, name) for name in found.detectors]
    return ExplanationShown(
        id=found.id,
        connection_id=found.connection,
        kind=found.kind,
        status=found.status,
        occurred_at=found.occurred_at,
        account=found.account,
        actor=found.actor,
        destination=found.destination,
        amount_usd=found.amount_usd,
        score=found.score,
        p_value=found.p_value,
        decision=found.decision,
        history=found.history,
        sentences=list(sentences(found, notes)),
        reasons=[_reason(one) for one in found.reasons],
        detectors=[DetectorShown(**asdict(note)) for note in notes],
        levels=None if found.levels is None else dict(found.levels),
        picture=f"/v1/activities/{found.id}/picture.svg",
    )


@router.get(
    "/{activity_id}/picture.svg",
    summary="The account's (or actor's) last 90 days with the activity marked, as SVG",
    response_class=Response,
    responses=_PICTURE,
)
def get_picture(activity_id: Id, parts: Parts, _reader: Reader) -> Response:
    """Return the picture."""
    with parts.database.begin() as uow:
        found = uow.findings.assessed(ActivityId(activity_id))
        past, complete = uow.findings.past(found)
    return Response(picture(found, past, complete=complete), media_type=SVG)


def _reason(reason: Reason) -> ReasonShown:
    return ReasonShown(
        feature=reason.feature,
        meaning=MEANINGS.get(reason.feature, ""),
        observed=reason.observed,
        usual=reason.usual,
        share=reason.share,
        detector=reason.detector,
    )


def _note(parts: ApiParts, name: str) -> DetectorNote:
    detector = None if parts.rulebook is None else parts.rulebook.in_force.find(name)
    if detector is None:
        return DetectorNote(name)
    declared = detector.declaration
    return DetectorNote(
        id=name,
        known=True,
        title=declared.title,
        severity=declared.severity.value,
        decision=str(declared.decision),
        status=declared.standing,
        runbook=declared.runbook,
    )
