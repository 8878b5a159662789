"""Incident → plan: which playbook, which targets, what may go at once and what people must approve.

Rules (design D4):

- Tightening steps are ready at once, all of them in parallel, as far as the hour's blast radius per connection goes;
  beyond it they wait for approval, and everyone on call is paged. One that says why it waits does so always.
- Everything else waits for approval, too; one action document lists all of a plan's waiting steps, so it costs one vote.
- A plan is frozen: its digest covers every step. An incident that an alert joins gets one more plan, for what is new and
  for what counts no more (`playbooks/overtaken.py`). It is planned by the playbooks of all its alerts' kinds.
- An incident is contained when every step that may go at once holds or is impossible for a stated reason, and, where keys
  are lost, everything they could move has been swept: suspending alone does not stop who holds the keys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.actions.base import ContainmentAction
from service.domain.approval import MAX_ITEMS, ActionDocument, ApprovalState
from service.domain.canonical import canonical, digest_of
from service.domain.compromise import deepest, explained
from service.domain.errors import InputError
from service.domain.events import (
    ApprovalRequested,
    BlastLimitReached,
    Event,
    IncidentContained,
    PlanProposed,
    StepFailed,
    StepReady,
)
from service.domain.ids import ApprovalId, IncidentId, PlanId, StepId, id_after
from service.domain.incident import Incident, IncidentState
from service.domain.looks import next_look
from service.domain.numbers import from_words
from service.domain.plan import FINISHED, Effect, Plan, Step, StepState, limit_note
from service.domain.requests import requested_entry
from service.domain.timeline import Entry
from service.playbooks.asking import Asking, asked
from service.playbooks.model import Playbook, Playbooks
from service.playbooks.overtaken import give_up_loosening
from service.playbooks.planner import OVER_LIMIT, coming_first, document, planned, undoing
from service.playbooks.rotating import GIVEN_UP, given_up, rotation_is_due
from service.playbooks.scene import Lacks, Look, ask_to_look, case_of, look, possible, wanted_by
from service.playbooks.wording import step_sentence
from service.ports.store.unit import Database, UnitOfWork

PLAN_TAG: Final = "portcullis/plan/v1"
RECOVER: Final = "recover"
"""What people ask for to loosen everything that an incident tightened."""
_GOING: Final = frozenset({ApprovalState.APPROVED, ApprovalState.EXECUTED})
_ENDED: Final = FINISHED - {StepState.DONE}


@dataclass(frozen=True, slots=True)
class Desk:
    """What planning works with."""

    db: Database
    actions: Mapping[str, ContainmentAction]
    playbooks: Playbooks
    votes_key_pem: Callable[[], bytes]
    """Reads the authority's pinned vote key: the policy's limits are believed only when signed by it."""
    lacks: Lacks = lambda *_: None


def plan(desk: Desk, incident_id: IncidentId) -> None:
    """Make an incident's first plan; safe to repeat."""
    with desk.db.begin(on_disk=False) as uow:
        incident = _locked(uow, incident_id)
        if incident.state is not IncidentState.CLOSED and not uow.plans.is_planned(incident_id):
            _propose(desk, uow, incident, first=True)


def extend(desk: Desk, incident_id: IncidentId) -> None:
    """Plan what an alert that joined adds: targets, a kind, severity, what was loosened or ended before; safe to repeat."""
    with desk.db.begin(on_disk=False) as uow:
        incident = _locked(uow, incident_id)
        if incident.state is not IncidentState.CLOSED:
            give_up_loosening(uow, incident_id)  # before it is looked at: what has begun by then counts as loosened
            _propose(desk, uow, incident, first=not uow.plans.is_planned(incident_id))


def _locked(uow: UnitOfWork, incident_id: IncidentId) -> Incident:
    """Lock an incident, and ask in the same breath for what planning reads first."""
    uow.ask(uow.incidents.lock_incident, incident_id)
    uow.ask(uow.plans.is_planned, incident_id)
    ask_to_look(uow, incident_id)
    return uow.incidents.lock_incident(incident_id)


def request(desk: Desk, incident_id: IncidentId, action: str, by: str, numbers: str = "", name: str = "") -> None:
    """Plan what a person asks for, once by its name: `recover`, or one action again on all targets its playbook gives it.

    Raises InputError for an action that the incident's playbooks do not have, and for numbers that it does not take.
    """
    told = desk.actions[action].told(from_words(numbers)) if numbers and action in desk.actions else {}
    with desk.db.begin() as uow:
        incident = uow.incidents.lock_incident(incident_id)
        case = case_of(uow, incident)
        playbook, playbook_digest = desk.playbooks.for_kinds(case.kinds)
        templates = [t for t in playbook.every_step if t.action == action]
        if not templates and action != RECOVER:
            raise InputError(f"the playbook {playbook.playbook} has no action {action!r}", field="action")
        wanted = wanted_by(playbook, templates, desk.actions, incident.severity)
        seen = look(uow, case, wanted, desk.votes_key_pem(), again=True)
        plan_id = PlanId(id_after("pln", (s.plan_id for s in seen.scene.existing)))
        if action == RECOVER:
            steps = undoing(seen.scene.existing, desk.actions, plan_id)
        else:
            scene = possible(uow, replace(seen.scene, told=told), templates, desk.actions, desk.lacks)
            steps = planned(templates, scene, desk.actions, plan_id)
        if (not name or uow.once(f"respond.request:{name}")) and steps:
            _store(desk, uow, incident, _Proposal(plan_id, playbook, playbook_digest, seen, steps, by))


def advance(desk: Desk, step_id: StepId) -> None:
    """After a step ended: let go what waited for it, plan the rotation when its addresses are known, note the times."""
    with desk.db.begin(on_disk=False) as uow:
        ended = uow.plans.step(step_id)
        incident = uow.incidents.lock_incident(ended.incident_id)
        if ended.state is StepState.DONE and desk.actions[ended.action].on_chain:
            uow.attention.set_timer(*next_look(ended, uow.now))
        steps = uow.plans.steps_of(incident.id)
        _unblock(uow, steps)
        _undo_undone(desk, uow, steps)
        if incident.state is IncidentState.CLOSED:
            return
        if rotation_is_due(steps):
            _propose(desk, uow, incident, rotation=True)
            _give_up(uow, uow.plans.steps_of(incident.id))
        _note_times(desk, uow, incident, uow.plans.steps_of(incident.id))


@dataclass(frozen=True, slots=True)
class _Proposal:
    plan_id: PlanId
    playbook: Playbook
    playbook_digest: str
    seen: Look
    steps: tuple[Step, ...]
    requester: str = "portcullis"


def _propose(desk: Desk, uow: UnitOfWork, incident: Incident, *, first: bool = False, rotation: bool = False) -> None:
    """Plan what the playbook, or its rotation, adds; an incident's first plan is written even when it is empty."""
    case = case_of(uow, incident)
    playbook, playbook_digest = desk.playbooks.for_kinds(case.kinds)
    templates = playbook.rotate_account if rotation else playbook.by_itself
    wanted = wanted_by(playbook, templates, desk.actions, incident.severity)
    seen = look(uow, case, wanted, desk.votes_key_pem(), first=first)
    plan_id = PlanId(id_after("pln", (s.plan_id for s in seen.scene.existing)))  # the newest step is told by it
    scene = possible(uow, seen.scene, templates, desk.actions, desk.lacks)
    steps = planned(templates, scene, desk.actions, plan_id)
    if steps or first:
        _store(desk, uow, incident, _Proposal(plan_id, playbook, playbook_digest, seen, steps))


def _store(desk: Desk, uow: UnitOfWork, incident: Incident, proposal: _Proposal) -> None:
    lost, policy = proposal.seen.lost, proposal.seen.policy
    head = {
        "tag": PLAN_TAG,
        "id": proposal.plan_id,
        "incident": incident.id,
        "playbook": proposal.playbook.playbook,
        "playbook_digest": proposal.playbook_digest,
        "policy_digest": "" if policy is None else policy.digest,
        "compromised": deepest(lost).value,
        "because": explained(lost),
    }
    body = canonical(document(head, proposal.steps))
    plan_digest = digest_of(PLAN_TAG, body)
    steps, requests = _ask(desk, uow, incident, plan_digest, proposal)
    made = Plan(
        id=proposal.plan_id,
        incident_id=incident.id,
        playbook=proposal.playbook.playbook,
        playbook_digest=proposal.playbook_digest,
        policy_digest=head["policy_digest"],
        compromised=head["compromised"],
        digest=plan_digest,
        created_at=uow.now,
        steps=steps,
        alerts=proposal.seen.alerts,
    )
    uow.plans.add(made, body.decode())
    _record(desk, uow, incident, made, head["because"])
    _record_limit(uow, made, [s for s in proposal.steps if s.reason == OVER_LIMIT])
    for one in requests:
        uow.record(requested_entry(one), ApprovalRequested(one.id))
    if any(s.state is StepState.WAITING_STEP for s in steps):
        _unblock(uow, uow.plans.steps_of(incident.id))  # what a new step waits for may have ended before it was planned
    was_over = incident.state is IncidentState.CONTAINED or incident.recovered_at is not None
    if was_over and any(_at_once(desk, s) and s.state not in FINISHED for s in steps):
        uow.incidents.reopen(incident.id)


def _ask(
    desk: Desk, uow: UnitOfWork, incident: Incident, plan_digest: str, proposal: _Proposal
) -> tuple[tuple[Step, ...], list[ActionDocument]]:
    """Ask for one approval of everything that needs it; what nobody can approve is refused, and says so."""
    needing = [s for s in proposal.steps if _needs_approval(desk, s)]
    seen = proposal.seen
    asking = Asking(incident, plan_digest, explained(seen.lost), proposal.requester, seen.scene.balances, desk.actions)
    answers: dict[StepId, Step] = {}
    requests: list[ActionDocument] = []
    for start in range(0, len(needing), MAX_ITEMS):
        for part, answer in asked(uow, asking, needing[start : start + MAX_ITEMS]):
            if isinstance(answer, ActionDocument):
                requests.append(answer)
                answers |= {s.id: replace(s, approval_id=answer.id) for s in part}
            else:
                reason = f"no approval can be asked for: {answer}"
                answers |= {s.id: replace(s, state=StepState.REFUSED, reason=reason) for s in part}
    return tuple(answers.get(s.id, s) for s in proposal.steps), requests


def _sentence(desk: Desk, step: Step) -> str:
    return step_sentence(desk.actions[step.action].title, step)


def _record(desk: Desk, uow: UnitOfWork, incident: Incident, made: Plan, because: str) -> None:
    going = [s for s in made.steps if s.state is StepState.READY]
    refused = [s for s in made.steps if s.state is StepState.REFUSED]
    waiting = len(made.steps) - len(going) - len(refused)
    entry = Entry(
        kind="plan.proposed",
        at=uow.now,
        subject=made.id,
        sentence=(
            f"Plan by playbook {made.playbook}, steps that go at once: {len(going)}, that wait: {waiting}, "
            f"that cannot be done: {len(refused)}. {because}"
        ),
        incident_id=incident.id,
        facts={"digest": made.digest, "compromised": made.compromised, "steps": [s.id for s in made.steps]},
    )
    events: list[Event] = [PlanProposed(made.id, incident.id)]
    events += [StepReady(s.id, s.lane.value) for s in going]
    uow.record(entry, *events)
    for step in refused:
        uow.record(
            _entry(desk, uow, step, "step.refused", f"Not done: {step.reason}"), StepFailed(step.id, incident.id)
        )


def _record_limit(uow: UnitOfWork, made: Plan, over: Sequence[Step]) -> None:
    """Say that the hour's blast radius is used up, so that everyone on call is paged (design D4)."""
    if not over:
        return
    uow.once(limit_note(made.incident_id))
    connections = sorted({s.target.connection for s in over})
    entry = Entry(
        kind="plan.blast_limit_reached",
        at=uow.now,
        subject=made.id,
        sentence=(
            f"The hour's blast radius of {', '.join(connections)} is used up: {len(over)} steps do not run by themselves, "
            "the gate keeps holding every flagged transfer"
        ),
        incident_id=made.incident_id,
        facts={"connections": connections, "steps": [s.id for s in over]},
    )
    uow.record(entry, BlastLimitReached(made.id, made.incident_id))


def _needs_approval(desk: Desk, step: Step) -> bool:
    return step.state is not StepState.REFUSED and (not _at_once(desk, step) or step.reason == OVER_LIMIT)


def _at_once(desk: Desk, step: Step) -> bool:
    return desk.actions[step.action].runs_at_once


def _unblock(uow: UnitOfWork, steps: Sequence[Step]) -> None:
    by_id = {step.id: step for step in steps}
    for step in steps:
        if step.state is not StepState.WAITING_STEP:
            continue
        before = coming_first(step, tuple(by_id.values()))
        ended = next((one for one in before if one.state in _ENDED), None)
        if ended is not None:
            why = ended.reason or f"it is {ended.state.value}"
            reason = f"{ended.action} on {ended.target.value} comes first and was not done: {why}"
            by_id[step.id] = uow.plans.move(step.id, StepState.REFUSED, reason=reason)
            uow.record(
                _plain(uow, step, "step.refused", f"Not done: {step.action}: {reason}"),
                StepFailed(step.id, step.incident_id),
            )
        elif all(one.state is StepState.DONE for one in before):
            _let_go(uow, step)


def _let_go(uow: UnitOfWork, step: Step) -> None:
    state = StepState.READY if step.approval_id is None else _by_approval(uow, step.approval_id)
    reason = "its approval ended" if state is StepState.EXPIRED else None
    uow.plans.move(step.id, state, reason=reason)
    if state is StepState.READY:
        entry = _plain(uow, step, "step.ready", f"May go now: {step.action} on {step.target.value}")
        uow.record(entry, StepReady(step.id, step.lane.value))


def _by_approval(uow: UnitOfWork, approval_id: ApprovalId) -> StepState:
    uow.lock(f"approval:{approval_id}")
    state = uow.approvals.row(approval_id).state
    if state in _GOING:
        return StepState.READY
    return StepState.WAITING_APPROVAL if state is ApprovalState.WAITING else StepState.EXPIRED


def _undo_undone(desk: Desk, uow: UnitOfWork, steps: Sequence[Step]) -> None:
    """A loosening step that holds ends the tightening step it loosens, unless that was done again after it."""
    loosened = [s for s in steps if s.effect is Effect.LOOSENS and s.state is StepState.DONE]
    for old in (s for s in steps if s.state is StepState.DONE):
        back = desk.actions[old.action].undone_by
        against = any(s.action == back and s.target == old.target for s in loosened)
        if back is not None and against and uow.plans.done_since(old, back):
            uow.plans.move(old.id, StepState.UNDONE)


def _give_up(uow: UnitOfWork, steps: Sequence[Step]) -> None:
    for step in given_up(steps):
        uow.plans.move(step.id, StepState.REFUSED, reason=GIVEN_UP)
        entry = _plain(uow, step, "step.refused", f"Not done: {step.action}: {GIVEN_UP}")
        uow.record(entry, StepFailed(step.id, step.incident_id))


def _note_times(desk: Desk, uow: UnitOfWork, incident: Incident, steps: Sequence[Step]) -> None:
    if any(s.action == "suspend_withdrawals" and s.state is StepState.DONE for s in steps):
        uow.incidents.note(incident.id, held_at=uow.now)
    suspended = [s for s in steps if s.action == "suspend_withdrawals"]
    if suspended and all(s.state is StepState.UNDONE for s in suspended):
        uow.incidents.note(incident.id, recovered_at=uow.now)
    if incident.state is IncidentState.OPEN and _contained(desk, steps):
        uow.incidents.note(incident.id, contained_at=uow.now)
        uow.incidents.set_state(incident.id, IncidentState.CONTAINED)
        entry = Entry(
            kind="incident.contained",
            at=uow.now,
            subject=incident.id,
            sentence="Contained: everything that tightens holds, and what lost keys could move has been swept",
            incident_id=incident.id,
            facts={"steps": [s.id for s in steps if s.state is StepState.DONE]},
        )
        uow.record(entry, IncidentContained(incident.id))


def _contained(desk: Desk, steps: Sequence[Step]) -> bool:
    newest = {(s.action, s.target.kind, s.target.connection, s.target.value): s for s in steps}  # what was tried again
    counted = [s for s in newest.values() if _at_once(desk, s) or s.action == "sweep_to_safe"]
    held = [s for s in counted if s.state in {StepState.DONE, StepState.UNDONE}]
    impossible = [s for s in counted if s.state is StepState.REFUSED and _at_once(desk, s) and s.approval_id is None]
    return bool(held) and len(held) + len(impossible) == len(counted)


def _entry(desk: Desk, uow: UnitOfWork, step: Step, kind: str, sentence: str) -> Entry:
    return replace(_plain(uow, step, kind, sentence), sentence=f"{sentence} ({_sentence(desk, step)})")


def _plain(uow: UnitOfWork, step: Step, kind: str, sentence: str) -> Entry:
    return Entry(
        kind=kind,
        at=uow.now,
        subject=step.id,
        sentence=sentence,
        incident_id=step.incident_id,
        facts={"action": step.action, "target": step.target.value, "reason": step.reason or ""},
    )
