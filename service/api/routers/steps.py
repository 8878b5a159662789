"""What a person does with the steps of an incident: confirm what tightened by itself, ask for an action, settle doubts.

Asking never runs anything that loosens: the request becomes a plan, and the plan waits for its quorum (design D4). What
became of a step whose outcome nobody can tell is said by a quorum too: the worker that writes it verifies the votes.
"""

from collections.abc import Mapping

from fastapi import APIRouter

from service.actions.base import settlement
from service.api.deps import Id, Parts, Responder, name_of, requester_of
from service.api.routers.incidents import whole
from service.api.schemas.incidents import ActionAsked, ActionIn, IncidentWhole, SettleIn, SettlementAsked
from service.domain.approval import Draft, Item, Subject, lists, one_line
from service.domain.errors import ConflictError, InputError, NotFoundError
from service.domain.events import ActionRequested, ApprovalRequested
from service.domain.ids import IncidentId, StepId, new_id
from service.domain.incident import IncidentState
from service.domain.numbers import to_words
from service.domain.plan import Effect, Step
from service.domain.requests import readable, requested_entry
from service.domain.settlement import require_unknown
from service.domain.timeline import Entry
from service.store.queries import incidents as queries
from service.store.tables.incident import steps
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1/incidents/{incident_id}", tags=["incidents"])


@router.post("/actions", summary="Ask for an action; what loosens then waits for its quorum", status_code=202)
def request_action(incident_id: Id, body: ActionIn, parts: Parts, responder: Responder) -> ActionAsked:
    """Ask the planner for an action of the incident's playbook, or for `recover`."""
    requester = requester_of(responder)
    numbers = _numbers(parts, body)
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
                facts={"action": body.action, **numbers},
            ),
            ActionRequested(incident.id, body.action, requester, to_words(numbers), new_id("req")),
        )
    return ActionAsked(incident=incident_id, action=body.action)


@router.post("/steps/{step_id}/confirm", summary="Confirm a step that tightened without asking")
def confirm_step(incident_id: Id, step_id: Id, parts: Parts, responder: Responder) -> IncidentWhole:
    """Note that a person agrees with a step; the first one counts, and nobody is paged about it any more."""
    with parts.database.begin() as uow:
        step = _step(uow, incident_id, step_id)
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


@router.post(
    "/steps/{step_id}/settle", summary="Say what became of a step in `unknown`; takes a quorum", status_code=202
)
def settle_step(incident_id: Id, step_id: Id, body: SettleIn, parts: Parts, responder: Responder) -> SettlementAsked:
    """Ask for the quorum that settles a step; the same question again answers with the same request."""
    requester = requester_of(responder)
    with parts.database.begin() as uow:
        incident = uow.incidents.lock_incident(IncidentId(incident_id))
        step = _step(uow, incident_id, step_id)
        require_unknown(step)
        item = settlement(parts.actions, step, body.outcome)
        waiting = _waiting(uow, incident.id, item)
        if waiting is not None:
            return waiting
        draft = Draft(what=[item], why=one_line(body.why), requester=requester, incident=incident.id)
        document = uow.approvals.propose(draft)
        uow.record(requested_entry(document), ApprovalRequested(document.id))
        return SettlementAsked(approval=document.id, digest=document.digest)


def _numbers(parts: Parts, body: ActionIn) -> Mapping[str, int]:
    """Return the numbers as the action takes them. Raises InputError naming the field."""
    if not body.numbers:
        return {}
    if body.action not in parts.actions:
        raise InputError(f"{body.action} takes no numbers", field="numbers")
    return parts.actions[body.action].told(body.numbers)


def _step(uow: SqlUnitOfWork, incident_id: str, step_id: str) -> Step:
    step = uow.plans.step(StepId(step_id))
    if step.incident_id != incident_id:
        raise NotFoundError(f"incident {incident_id} has no step {step_id}")
    return step


def _waiting(uow: SqlUnitOfWork, incident_id: IncidentId, item: Item) -> SettlementAsked | None:
    for found in queries.undecided(uow.connection, incident_id, Subject.SETTLE):
        document = readable(found["document"])
        if found["approve_by"] > uow.now and document is not None and lists(document, item):
            return SettlementAsked(approval=found["id"], digest=found["digest"])
    return None
