"""Whether a step that needs an approval may run now: asked by the worker that is about to run it (design D4, D7).

Rules: the votes count for exactly this row, by the pinned key and the policy in force; a safe destination that the approvers
saw must still be in force; what another open incident holds, or is about to, is not loosened, nor what an alert names that
came after loosening was asked for. Once its incident is closed nothing begins but what loosens; what had begun goes on,
unless the incident was called false. What was to be done again and was taken back since stays so.
"""

from collections.abc import Callable, Mapping

from service.actions.base import ContainmentAction
from service.domain.authorisation import check
from service.domain.errors import ApprovalError
from service.domain.ids import AccountId
from service.domain.incident import CaseVerdict, IncidentState
from service.domain.plan import Effect, Step, StepState
from service.domain.setup import destination_in_force, shown_destinations
from service.playbooks.overtaken import require_newest
from service.ports.store.unit import UnitOfWork


def require_authority(
    uow: UnitOfWork,
    planned: Step,
    account_id: AccountId | None,
    actions: Mapping[str, ContainmentAction],
    votes_key_pem: Callable[[], bytes],
) -> None:
    """Raise ApprovalError, saying why, unless the step may run. The key is read for a step that needs votes alone."""
    back = actions[planned.action].undone_by
    if back is not None and uow.plans.done_since(planned, back):
        raise ApprovalError(f"{back} took it back since: ask for it anew")
    if planned.approval_id is None:
        if actions[planned.action].runs_at_once:
            return
        raise ApprovalError(f"{planned.action} needs a quorum and the step has no approval")
    pem = votes_key_pem()
    check(uow.approvals.evidence(planned.approval_id), planned, public_key_pem=pem, now=uow.now)
    _require_open(uow, planned)
    if account_id is not None:
        _require_destinations(uow, planned, account_id, pem)
    if planned.effect is Effect.LOOSENS:
        require_newest(uow, planned)
    tightenings = [name for name, action in actions.items() if action.undone_by == planned.action]
    others = uow.plans.also_needed_by(planned, tightenings) if tightenings else ()
    if others:
        raise ApprovalError(f"incident {others[0]} holds the same target: close it or undo it there first")


def _require_open(uow: UnitOfWork, planned: Step) -> None:
    incident = uow.incidents.incident(planned.incident_id)
    if incident.state is not IncidentState.CLOSED or planned.effect is Effect.LOOSENS:
        return
    if planned.state is StepState.READY or incident.verdict is CaseVerdict.FALSE_POSITIVE:
        raise ApprovalError(f"incident {incident.id} was closed since")


def _require_destinations(uow: UnitOfWork, planned: Step, account_id: AccountId, votes_key_pem: bytes) -> None:
    """Compare what the approvers saw with what is so now."""
    shown = planned.params.get("destinations")
    if shown is None:
        return
    stated = [row.registered for row in uow.registry.destinations(account_id)]
    for chain, descriptor in shown_destinations(shown):
        found = destination_in_force(stated, account_id, chain, public_key_pem=votes_key_pem, now=uow.now)
        if found is None or found.descriptor != descriptor:
            raise ApprovalError(f"the safe destination {descriptor} that was approved is no longer in force")
