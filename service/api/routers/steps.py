"""What a person does with the steps of an incident: confirm what tightened by itself, and ask for an action.

Asking never runs anything that loosens: the request becomes a plan, and the plan waits for its quorum (design D4).
"""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.deps import Parts, Responder, name_of
from service.domain.errors import ConflictError
from service.domain.events import ActionRequested
from service.domain.ids import IncidentId, StepId
from service.domain.incident import IncidentState
from service.domain.timeline import Entry
from service.store.queries import reading
from service.store.tables.incident import steps

router = APIRouter(prefix="/v1/incidents/{incident_id}", tags=["incidents"])


class ActionIn(BaseModel):
    """`recover` loosens everything that this incident tightened; any other is an action of its playbook."""

    action: str = Field(min_length=1, max_length=64, pattern=r"^[a-z_]+$", examples=["recover", "freeze_workspace"])


@router.post("/actions", summary="Ask for an action; what loosens then waits for its quorum", status_code=202)
def request_action(incident_id: str, body: ActionIn, parts: Parts, responder: Responder) -> dict[str, object]:
    """Ask the planner for an action of the incident's playbook, or for `recover`."""
    with parts.database.begin() as uow:
        incident = uow.incidents.incident(IncidentId(incident_id))
        if incident.state is IncidentState.CLOSED and body.action != "recover":
            raise ConflictError(f"incident {incident_id} is closed: only `recover` may still be asked for")
        uow.record(
            Entry(
                kind="action.requested",
                at=uow.now,
                subject=incident.id,
                sentence=f"Asked for: {body.action.replace('_', ' ')}",
                by=name_of(responder),
                incident_id=incident.id,
                facts={"action": body.action},
            ),
            ActionRequested(incident.id, body.action, name_of(responder)),
        )
    return {"incident": incident_id, "action": body.action}


@router.post("/steps/{step_id}/confirm", summary="Confirm a step that tightened without asking")
def confirm_step(incident_id: str, step_id: str, parts: Parts, responder: Responder) -> dict[str, object]:
    """Note that a person agrees with a step; the first one counts, and nobody is paged about it any more."""
    with parts.database.begin() as uow:
        step = uow.plans.step(StepId(step_id))
        incident = uow.incidents.incident(IncidentId(incident_id))
        if step.incident_id != incident.id:
            raise ConflictError(f"step {step_id} belongs to another incident")
        changed = uow.connection.execute(
            steps.update()
            .where(steps.c.id == step_id, steps.c.confirmed_by.is_(None))
            .values(confirmed_by=name_of(responder))
        )
        if changed.rowcount:
            uow.record(
                Entry(
                    kind="step.confirmed",
                    at=uow.now,
                    subject=step_id,
                    sentence=f"Confirmed: {step.action.replace('_', ' ')} on {step.target.value}",
                    by=name_of(responder),
                    incident_id=incident.id,
                )
            )
        return dict(reading.incident(uow.connection, incident_id))
