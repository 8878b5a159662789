"""What no longer counts because an alert came after it: steps that were planned without knowing of it.

Rules: an alert is later than a plan that did not have it, by the order in which alerts joined, not by any clock. Loosening
that an alert on its target came after does not run, whoever approved it; an account is its wallet's other accounts, too. A
tightening step lapses, and is planned again, where its loosening has begun: that may have worked, whatever its row says. So
does one that came to nothing, or ended what was there then, where a later alert names its very target.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from service.actions.base import ContainmentAction
from service.domain.approval import ApprovalState
from service.domain.errors import ApprovalError
from service.domain.events import ApprovalEnded
from service.domain.ids import AlertId, ApprovalId, IncidentId, PlanId, StepId
from service.domain.incident import Alert
from service.domain.plan import FINISHED, Effect, Step, StepState, Target
from service.domain.timeline import Entry
from service.ports.store.unit import UnitOfWork

_MAY_HAVE_LOOSENED = frozenset(
    {StepState.RUNNING, StepState.VERIFYING, StepState.UNKNOWN, StepState.DONE, StepState.FAILED}
)


def overtaken(steps: Sequence[Step], alerts: Sequence[Alert], known: Mapping[PlanId, int]) -> frozenset[StepId]:
    """Return the steps whose target an alert names that is later than their plan; `known`: how many alerts each had."""
    newest = {name: alert.place for alert in sorted(alerts, key=lambda one: one.place) for name in _told(alert)}
    return frozenset(
        step.id
        for step in steps
        if any(newest.get(name, 0) > known.get(step.plan_id, 0) for name in _names(step.target))
    )


def has_lapsed(
    step: Step, action: ContainmentAction, on_target: Sequence[Step], overtaken_by: Collection[StepId]
) -> bool:
    """Say whether a step of this action counts no more; `on_target` are all steps on its target."""
    if not action.runs_at_once:
        return False
    named = step.id in overtaken_by
    if step.state is StepState.DONE:
        loosened = [s for s in on_target if _may_have_loosened(s, step)]
        if action.ends_what_is_there:
            return named or bool(loosened)
        return any(s.action == action.undone_by for s in loosened)
    # What a worker refused would be refused again.
    refused_before_it_began = step.state is StepState.REFUSED and step.fence == 0
    return named and (refused_before_it_began or step.state in {StepState.FAILED, StepState.EXPIRED})


def require_newest(uow: UnitOfWork, loosening: Step) -> None:
    """Raise ApprovalError when an alert on what a step loosens came after it was asked for."""
    alert = _later_alert(uow, loosening, _Joined.of(uow, loosening.incident_id))
    if alert is not None:
        raise ApprovalError(_came_after(alert))


def give_up_loosening(uow: UnitOfWork, incident_id: IncidentId) -> None:
    """Refuse what would loosen and was overtaken by an alert; what a worker has begun goes on."""
    waiting = uow.plans.open_loosenings(incident_id)
    if not waiting:
        return
    requests = sorted({step.approval_id for step in waiting if step.approval_id is not None})
    for approval_id in requests:  # before the steps, as whoever lets an approved request go
        uow.lock(f"approval:{approval_id}")
    joined = _Joined.of(uow, incident_id)
    for step in uow.plans.open_loosenings(incident_id, lock=True):
        if (alert := _later_alert(uow, step, joined)) is not None:
            uow.plans.move(step.id, StepState.REFUSED, reason=_came_after(alert))
            sentence = f"Not done: {step.action} on {step.target.value}: {_came_after(alert)}"
            uow.record(Entry("step.given_up", uow.now, step.id, sentence, incident_id=incident_id))
    for approval_id in requests:
        if all(step.state in FINISHED for step in uow.plans.steps_of_approval(approval_id)):
            uow.approvals.end(approval_id, ApprovalState.VOID, "nothing of it is left to be done since an alert came")
            uow.record(_voided(uow, incident_id, approval_id), ApprovalEnded(approval_id))


@dataclass(frozen=True, slots=True)
class _Joined:
    """The alerts of an incident, and how many each of its plans had."""

    alerts: Sequence[Alert]
    known: Mapping[PlanId, int]

    @classmethod
    def of(cls, uow: UnitOfWork, incident_id: IncidentId) -> "_Joined":
        return cls(uow.incidents.alerts_of(incident_id), uow.plans.known_alerts(incident_id))


def _later_alert(uow: UnitOfWork, step: Step, joined: _Joined) -> AlertId | None:
    """Return an alert, later than a step's plan, that names what the step loosens or an account that shares its keys."""
    later = [alert for alert in joined.alerts if alert.place > joined.known[step.plan_id]]
    if not later:
        return None
    about = _names(step.target)
    about |= set(uow.incidents.reach(sorted(about)))
    return next((alert.id for alert in later if about & _told(alert)), None)


def _voided(uow: UnitOfWork, incident_id: IncidentId, approval_id: ApprovalId) -> Entry:
    sentence = "A request to loosen is void: alerts came on all that was left of it"
    return Entry("approval.overtaken", uow.now, approval_id, sentence, incident_id=incident_id)


def _came_after(alert: AlertId) -> str:
    return f"alert {alert} came after it was asked for: look at that, then ask again"


def _may_have_loosened(loosening: Step, before: Step) -> bool:
    later = (loosening.plan_id, loosening.position) > (before.plan_id, before.position)
    return later and loosening.effect is Effect.LOOSENS and loosening.state in _MAY_HAVE_LOOSENED


def _told(alert: Alert) -> frozenset[str]:
    return frozenset((*alert.entities, f"connection:{alert.connection}"))


def _names(target: Target) -> frozenset[str]:
    """Return how an alert may name a target; one that is a connection is named by each of its alerts."""
    within = f"{target.connection}/{target.value}"
    match target.kind:
        case "account":
            return frozenset({f"account:{within}"})
        case "credential":
            return frozenset({f"actor:{within}", f"actor:{target.value}"})
        case _:
            return frozenset({f"{target.kind}:{target.value}"})
