"""From a playbook and what is known of an incident to the steps of a plan: pure, and the same every time.

Rules: only registered accounts are targets (design D9); a step that the incident already has is not planned again unless
it was undone, or counts no more since a later alert (`overtaken.py`); tightening steps are ready at once as far as the
hour's blast radius goes and wait for approval beyond it; everything else waits for approval, or first for the steps it
comes after; what cannot be done at all is planned as refused, with the reason, so that the plan never hides a gap. Of the
steps that come first only the newest of its kind counts (`newest`), and one that the target's platform can never do is not
waited for (docs/adr/0056).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from service.actions.base import ContainmentAction
from service.domain.account import Account, Holder
from service.domain.canonical import digest
from service.domain.compromise import Scope
from service.domain.ids import AccountId, ConnectionId, IncidentId, PlanId, StepId, new_id
from service.domain.incident import Severity
from service.domain.plan import FINISHED, Step, StepState, Target
from service.playbooks.allowance import Allowance
from service.playbooks.model import Selector, StepTemplate
from service.playbooks.overtaken import has_lapsed

STEP_TAG: Final = "portcullis/step/v1"
OVER_LIMIT: Final = "over the hour's blast radius: the gate keeps holding, people must approve this"
"""Why a tightening step waits for approval."""
_ADDRESS: Final = re.compile("0x[0-9a-fA-F]{40}")
_ENDED_WITHOUT_EFFECT: Final = FINISHED - {StepState.DONE}
_TOLD_APART: Final = ("scope", "address")
"""Parameters that make another step of the same action and target: a deeper rotation, and the addresses it brings."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known when a plan is made. Sequences are in order of importance: the harmed come first."""

    incident_id: IncidentId
    severity: Severity
    accounts: Sequence[Account]
    exposed: Sequence[Account]
    """The accounts, and every other whose keys fall with theirs."""
    scopes: Mapping[AccountId, Scope]
    """How deep the keys of an exposed account must be taken to be lost (`WalletLoss.reach`)."""
    destinations: Sequence[Target]
    actors: Sequence[Target]
    connections: Sequence[ConnectionId]
    behind: Mapping[ConnectionId, Sequence[str]]
    """Every registered account's ref of a connection."""
    balances: Mapping[str, Decimal]
    """Last told balance in USD by account entity."""
    safe: Mapping[AccountId, list[dict[str, str]]]
    """Active, signed safe destinations."""
    addresses: Mapping[AccountId, str]
    """New addresses of prepared rotations, separated by blanks."""
    existing: Sequence[Step]
    allowances: Mapping[ConnectionId, Allowance] = field(default_factory=dict)
    successors: Mapping[AccountId, str] = field(default_factory=dict)
    """For each multisig the address of the vault's key that may take an owner's place."""
    letters: Mapping[tuple[ConnectionId, str], Mapping[str, str]] = field(default_factory=dict)
    """By connection and token: the letter to the issuer of what left it."""
    impossible: Mapping[tuple[ConnectionId, str], str] = field(default_factory=dict)
    """By connection and action: why its platform can never do it, and what to do by hand. Only of what takes votes."""
    multisigs_behind: Sequence[Account] = ()
    """Every multisig of the connections, harmed or not."""
    overtaken: Collection[StepId] = frozenset()
    """The steps whose target an alert names that is later than their plan."""
    again: bool = False
    """Whether people asked: then a step that failed, was refused or expired is planned once more."""
    told: Mapping[str, int] = field(default_factory=dict)
    """The numbers that they told with it."""


def planned(
    templates: Sequence[StepTemplate], scene: Scene, actions: Mapping[str, ContainmentAction], plan_id: PlanId
) -> tuple[Step, ...]:
    """Return the steps that the templates add to what the incident has.

    A rotation that must go deeper than the one that is planned counts as new.
    """
    steps: list[Step] = []
    for template in templates:
        if template.applies_at(scene.severity):
            for target in _targets(template.targets, scene):
                known = [*scene.existing, *steps]
                made = _step(template, target, (scene, known), actions[template.action], plan_id)
                if made is not None:
                    steps.append(made)
    return tuple(steps)


def undoing(existing: Sequence[Step], actions: Mapping[str, ContainmentAction], plan_id: PlanId) -> tuple[Step, ...]:
    """Return the steps that loosen everything tightened that holds; each waits for approval, if it can be done."""
    steps: list[Step] = []
    for old in existing:
        back = actions[old.action].undone_by
        if back is None or not _may_hold(old, back, actions, existing) or _has(back, old.target, steps):
            continue
        if _has(back, old.target, [s for s in existing if s.state not in FINISHED]):
            continue
        identity = _Identity(old.incident_id, plan_id, len(steps), old.target)
        others = [s for s in existing if s.action == old.action and same(s.target, old.target)]
        holding = [s for s in others if _may_hold(s, back, actions, existing)]
        told = actions[old.action].handed_back(holding)
        known = {name: told[name] for name in actions[back].params if name in told}
        made = _made(identity, actions[back], known, _generation(back, old.target, existing))
        missing = [what for name, what in actions[back].params.items() if not known.get(name)]
        steps.append(_with_state(made, StepState.REFUSED, missing[0]) if missing else made)
    return tuple(steps)


def document(plan: Mapping[str, str], steps: Sequence[Step]) -> dict[str, object]:
    """Return what a plan's digest covers: its incident, playbook, policy and every step's action, target and params."""
    return {
        **plan,
        "steps": [
            {
                "id": step.id,
                "action": step.action,
                "effect": step.effect.value,
                "target": target_key(step.target),
                "params": dict(step.params),
                "after": list(step.after),
            }
            for step in steps
        ],
    }


def target_key(target: Target) -> dict[str, str | None]:
    """Return a target as JSON."""
    return {
        "kind": target.kind,
        "connection": target.connection,
        "value": target.value,
        "account": target.account,
    }


def same(one: Target, other: Target) -> bool:
    """Say whether two targets are the same thing; with which account it was seen does not matter."""
    return (one.kind, one.connection, one.value) == (other.kind, other.connection, other.value)


def newest(action: str, target: Target, steps: Sequence[Step]) -> Step | None:
    """Return the last that was planned of an action on a target: asked for again, what failed before counts no more."""
    return next((s for s in reversed(steps) if s.action == action and same(s.target, target)), None)


def coming_first(step: Step, steps: Sequence[Step]) -> list[Step]:
    """Return what must be done before a step; where that was asked for again meanwhile, the newest."""
    named = (newest(one.action, one.target, steps) for one in steps if one.id in step.after)
    return [one for one in named if one is not None]


def _may_hold(old: Step, back: str, actions: Mapping[str, ContainmentAction], existing: Sequence[Step]) -> bool:
    """Say whether a step is to be undone: it holds, or may hold in part and was not undone since."""
    if old.state is StepState.DONE:
        return True
    if old.state not in FINISHED or old.state is StepState.UNDONE:
        return False
    later = existing[existing.index(old) + 1 :]
    undone = any(s.action == back and same(s.target, old.target) and s.state is StepState.DONE for s in later)
    return not undone and actions[old.action].may_hold_in_part(old)


@dataclass(frozen=True, slots=True)
class _Identity:
    incident_id: IncidentId
    plan_id: PlanId
    position: int
    target: Target


def _targets(selector: Selector, scene: Scene) -> Iterator[Target]:
    match selector:
        case Selector.ACCOUNTS:
            yield from map(_account_target, scene.accounts)
        case Selector.EXPOSED_ACCOUNTS:
            yield from map(_account_target, scene.exposed)
        case Selector.EXPOSED_KEYS:
            ours = [a for a in scene.exposed if a.holder is Holder.VAULT_KEY and a.id in scene.scopes]
            yield from map(_account_target, ours)
        case Selector.MULTISIGS:
            yield from map(_account_target, _multisigs(scene))
        case Selector.NEARBY_MULTISIGS:
            yield from map(_account_target, scene.multisigs_behind)
        case Selector.SIGNERS:
            yield from _signers(scene)
        case Selector.DESTINATIONS:
            yield from scene.destinations
        case Selector.ACTORS:
            yield from scene.actors
        case Selector.CONNECTIONS:
            yield from (Target("connection", connection, connection) for connection in scene.connections)
        case Selector.ISSUED_ASSETS:
            yield from (Target("asset", connection, asset) for connection, asset in scene.letters)


def _multisigs(scene: Scene) -> list[Account]:
    return [account for account in scene.accounts if account.holder is Holder.MULTISIG]


def _signers(scene: Scene) -> Iterator[Target]:
    """Yield the named actors that are addresses, each with every multisig of its connection that is harmed."""
    for account in _multisigs(scene):
        for actor in scene.actors:
            if actor.connection == account.at.connection and _ADDRESS.fullmatch(actor.value):
                yield Target("credential", actor.connection, actor.value, account.at.ref)


def _account_target(account: Account) -> Target:
    return Target("account", account.at.connection, account.at.ref)


def _step(
    template: StepTemplate,
    target: Target,
    known: tuple[Scene, Sequence[Step]],
    action: ContainmentAction,
    plan_id: PlanId,
) -> Step | None:
    scene, others = known
    params = _params(action, target, scene)
    told_apart = {name: params.get(name) for name in _TOLD_APART}
    if _has(action.name, target, _counting(action, target, known, params), told_apart, again=scene.again):
        return None
    position = sum(1 for step in others if step.plan_id == plan_id)
    missing = [what for name, what in action.params.items() if not params.get(name)]
    identity = _Identity(scene.incident_id, plan_id, position, target)
    impossible = scene.impossible.get((target.connection, action.name))
    after = _first(template, target, known)
    made = _made(identity, action, params, _generation(action.name, target, others), after)
    if impossible or missing:
        last = newest(action.name, target, others)
        if last is not None and last.state is StepState.REFUSED and not scene.again:
            return None  # said before
        return _with_state(made, StepState.REFUSED, impossible or missing[0])
    if not action.runs_at_once:
        return made
    if not _affordable(target, scene, nearby=_is_nearby(template, target, scene)):
        return _with_state(made, made.state, OVER_LIMIT)
    return _with_state(made, StepState.WAITING_STEP if after else StepState.READY, None)


def _first(template: StepTemplate, target: Target, known: tuple[Scene, Sequence[Step]]) -> tuple[StepId, ...]:
    """Return what must be done first, as far as the target's platform can do it at all."""
    scene, others = known
    possible = [name for name in template.after if (target.connection, name) not in scene.impossible]
    return tuple(step.id for step in (newest(name, target, others) for name in possible) if step is not None)


def _made(
    identity: _Identity,
    action: ContainmentAction,
    params: Mapping[str, object],
    generation: int,
    after: tuple[StepId, ...] = (),
) -> Step:
    named = {"incident": identity.incident_id, "action": action.name, "target": target_key(identity.target)}
    key = digest(STEP_TAG, {**named, "params": dict(params), "generation": generation})
    return Step(
        id=StepId(new_id("stp")),
        plan_id=identity.plan_id,
        incident_id=identity.incident_id,
        position=identity.position,
        action=action.name,
        target=identity.target,
        params=params,
        effect=action.effect,
        lane=action.lane,
        state=StepState.WAITING_STEP if after else StepState.WAITING_APPROVAL,
        idempotency_key=key,
        attempt=0,
        fence=0,
        after=after,
        approval_id=None,
        receipt=None,
        reason=None,
        deadline_at=None,
    )


def _with_state(step: Step, state: StepState, reason: str | None) -> Step:
    return replace(step, state=state, reason=reason)


def _counting(
    action: ContainmentAction, target: Target, known: tuple[Scene, Sequence[Step]], params: Mapping[str, object]
) -> list[Step]:
    """Return the steps of an action on a target that count, unless they are undone."""
    scene, others = known
    here = [s for s in others if same(s.target, target)]
    of_action = [s for s in here if s.action == action.name and not has_lapsed(s, action, here, scene.overtaken)]
    return [s for s in of_action if not (scene.again and _is_worth_another(s, action, params, scene.told))]


def _is_worth_another(
    step: Step, action: ContainmentAction, params: Mapping[str, object], told: Mapping[str, int]
) -> bool:
    """Say whether people who ask again want more than is there.

    That is: a letter with newer facts, a day more of what ends, other numbers than they told before.
    """
    if action.lasts is not None and step.state is StepState.DONE:
        return True
    return any(step.params.get(name) != params[name] for name in ("facts", *told) if name in params)


def _has(
    action: str, target: Target, steps: Sequence[Step], told: Mapping[str, object] | None = None, *, again: bool = False
) -> bool:
    gone = _ENDED_WITHOUT_EFFECT if again else {StepState.UNDONE}
    return any(
        s.action == action
        and same(s.target, target)
        and s.state not in gone
        and all(s.params.get(name) == value for name, value in (told or {}).items())
        for s in steps
    )


def _generation(action: str, target: Target, steps: Sequence[Step]) -> int:
    return sum(1 for s in steps if s.action == action and same(s.target, target))


def _params(action: ContainmentAction, target: Target, scene: Scene) -> dict[str, object]:
    if target.kind == "asset":
        return dict(scene.letters[target.connection, target.value])
    ref = target.value if target.kind == "account" else target.account
    account = next((a for a in scene.exposed if (a.at.connection, a.at.ref) == (target.connection, ref)), None)
    if account is None:
        return {}
    known: dict[str, object] = {
        "scope": scene.scopes.get(account.id, Scope.NONE).value,
        "destinations": scene.safe.get(account.id, []),
        "address": scene.addresses.get(account.id, ""),
        "successor": scene.successors.get(account.id, ""),
        **scene.told,
    }
    return {name: known[name] for name in action.params if name in known}


def _is_nearby(template: StepTemplate, target: Target, scene: Scene) -> bool:
    """Say whether the step is for what is near only: no alert names it."""
    return template.targets is Selector.NEARBY_MULTISIGS and target not in map(_account_target, scene.accounts)


def _affordable(target: Target, scene: Scene, *, nearby: bool) -> bool:
    allowance = scene.allowances.get(target.connection)
    if allowance is None:
        return True
    if nearby and allowance.nearby is not None:
        allowance = allowance.nearby
    if target.kind == "account":
        refs: Sequence[str] = (target.value,)
    elif target.kind == "connection":
        refs = scene.behind.get(target.connection, ())
    else:
        return allowance.aim(target)
    return allowance.take({ref: scene.balances.get(f"account:{target.connection}/{ref}", Decimal(0)) for ref in refs})
