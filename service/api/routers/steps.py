"""What a person does with the steps of an incident: confirm what tightened by itself, and ask for an action.

Asking never runs anything that loosens: the request becomes a plan, and the plan waits for its quorum (design D4).
"""

from fastapi import APIRouter

from service.api.deps import Id, Parts, Responder, name_of, requester_of
from service.api.routers.incidents import whole
from service.api.schemas.incidents import ActionAsked, ActionIn, IncidentWhole
from service.domain.errors import ConflictError, NotFoundError
from service.domain.events import ActionRequested
from service.domain.ids import IncidentId, StepId
from service.domain.incident import IncidentState
from service.domain.plan import Effect
from service.domain.timeline import Entry
from service.store.tables.incident import steps

router = APIRouter(prefix="/v1/incidents/{incident_id}", tags=["incidents"])


@router.post("/actions", summary="Ask for an action; what loosens then waits for its quorum", status_code=202)
def request_action(incident_id: Id, body: ActionIn, parts: Parts, responder: Responder) -> ActionAsked:
    """Ask the planner for an action of the incident's playbook, or for `recover`."""
    requester = requester_of(responder)
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
                by=requester,
                incident_id=incident.id,
                facts={"action": body.action},
            ),
            ActionRequested(incident.id, body.action, requester),
        )
    return ActionAsked(incident=incident_id, action=body.action)


@router.post("/steps/{step_id}/confirm", summary="Confirm a step that tightened without asking")
def confirm_step(incident_id: Id, step_id: Id, parts: Parts, responder: Responder) -> IncidentWhole:
    """Note that a person agrees with a step; the first one counts, and nobody is paged about it any more."""
    with parts.database.begin() as uow:
        step = uow.plans.step(StepId(step_id))
        if step.incident_id != incident_id:
            raise NotFoundError(f"incident {incident_id} has no step {step_id}")
        if step.effect is not Effect.TIGHTENS:
            raise ConflictError(f"step {step_id} {step.effect.value}: it takes a quorum, not a confirmation")
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
                    incident_id=step.incident_id,
                )
            )
        return whole(uow, incident_id)
