"""Reads what a plan needs to know of an incident: harmed and exposed accounts, destinations, actors, what is left to do.

Only what an alert names is harmed; `incident.entities` also holds what merely could be reached. A destination that is an
address of ours or a safe destination that the authority signed is never locked: a sweep would lock itself out. A row
without that signature exempts nothing, because the API may insert rows.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from service.actions.base import ContainmentAction
from service.domain.account import Account, AccountRef, Holder
from service.domain.compromise import Scope, WalletLoss, losses
from service.domain.errors import ApprovalError, ConfigurationError
from service.domain.freeze_letter import Payment, Stolen, letter, resting
from service.domain.ids import AccountId, ConnectionId, IncidentId
from service.domain.incident import Alert, Incident, IncidentKind, Severity
from service.domain.plan import Json, Step, StepState, Target
from service.domain.policy import BlastLimits, Policy, policy_in_force
from service.domain.setup import registered_destination
from service.domain.vault import VaultKey
from service.playbooks.allowance import Allowance
from service.playbooks.model import Playbook, Selector, StepTemplate
from service.playbooks.overtaken import overtaken
from service.playbooks.planner import Scene
from service.ports.custody import Capability
from service.ports.store.plans import Touched
from service.ports.store.registry import DestinationRow
from service.ports.store.unit import UnitOfWork

WINDOW: Final = timedelta(hours=1)
OTHERS_PER_ACCOUNT: Final = 2
"""The hour's limit of destinations, credentials and transactions aimed at, as a multiple of the policy's
`accounts_per_hour`: beside each account a thief's address and a stolen credential. Alerts can name any number of them, and
without a limit whoever invents alerts has every user's credential revoked."""
LIMITS_WITHOUT_POLICY: Final = BlastLimits(accounts_per_hour=10, value_usd_per_hour="10000000")
"""Used when no policy can be verified: containment must not wait for that, but goes less far."""

Lacks = Callable[[UnitOfWork, ConnectionId, Capability], str | None]
"""Why a connection's platform can never do something, and what to do by hand; None where it can, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan can touch, so that nothing else is read: a connection may have thousands of accounts."""

    keys_stolen: bool
    """Whether the harmed accounts' keys are taken to be in the attacker's hands."""
    selectors: frozenset[Selector]
    params: frozenset[str]
    """What its actions must be told."""


def wanted_by(
    playbook: Playbook, templates: Iterable[StepTemplate], actions: Mapping[str, ContainmentAction], severity: Severity
) -> Wanted:
    """Return what these templates of a playbook need to know at this severity."""
    applied = [template for template in templates if template.applies_at(severity)]
    params = frozenset(name for template in applied for name in actions[template.action].params)
    return Wanted(playbook.keys == "assumed_stolen", frozenset(t.targets for t in applied), params)


@dataclass(frozen=True, slots=True)
class Look:
    """A scene with what the plan says about keys and policy."""

    scene: Scene
    lost: tuple[WalletLoss, ...]
    policy: Policy | None
    alerts: int
    """How many alerts the incident has."""


@dataclass(frozen=True, slots=True)
class Case:
    """An incident and its alerts, oldest first."""

    incident: Incident
    alerts: Sequence[Alert]

    @property
    def kinds(self) -> frozenset[IncidentKind]:
        """What is happening: the kind that opened it, and what its other alerts say."""
        return frozenset((self.incident.kind, *(alert.kind for alert in self.alerts)))


def case_of(uow: UnitOfWork, incident: Incident) -> Case:
    """Return an incident with its alerts."""
    return Case(incident, uow.incidents.alerts_of(incident.id))


def look(
    uow: UnitOfWork,
    case: Case,
    wanted: Wanted,
    votes_key_pem: bytes,
    *,
    first: bool = False,
    again: bool = False,
) -> Look:
    """Read everything that a plan for this incident needs; of a first plan it is known that no other step is there."""
    incident, alerts = case.incident, case.alerts
    turns = _take_turns(uow, {ref.connection for ref in _refs(incident.entities)} | {a.connection for a in alerts})
    _ask_about(uow, alerts, wanted)
    harmed = uow.registry.accounts_at(_named(alerts))
    lost = losses(harmed, _past_gate(uow, incident, harmed)) if wanted.keys_stolen else ()
    exposed, scopes = _exposed(uow, harmed, lost)
    connections = tuple(dict.fromkeys([*(a.connection for a in alerts), *(a.at.connection for a in exposed)]))
    _take_turns(uow, set(connections) - turns)  # of accounts that were registered since the incident last grew
    behind = _behind(uow, connections, wanted)
    near = _Near(uow, harmed)
    existing = () if first else uow.plans.steps_of(incident.id)
    known = {} if first else uow.plans.known_alerts(incident.id)
    policy = _policy(uow, votes_key_pem)
    safe = uow.registry.destinations_of([a.id for a in exposed]) if "destinations" in wanted.params else {}
    multisigs = _multisigs(uow, connections, wanted)
    touched = {c: uow.plans.touched_targets(c, uow.now - WINDOW) for c in connections}
    balances = uow.incidents.balances(_entities([*exposed, *multisigs], behind, touched))
    scene = Scene(
        incident_id=incident.id,
        severity=incident.severity,
        accounts=harmed,
        exposed=exposed,
        scopes=scopes,
        destinations=(
            _destinations(uow, alerts, near, connections, votes_key_pem)
            if Selector.DESTINATIONS in wanted.selectors
            else ()
        ),
        actors=_actors(alerts, near) if wanted.selectors & {Selector.ACTORS, Selector.SIGNERS} else (),
        connections=connections,
        behind=behind,
        balances=balances,
        safe={account.id: _safe(safe.get(account.id, ()), uow.now) for account in exposed},
        addresses=_addresses(exposed, existing),
        successors={a.id: key.address for a in harmed if a.holder is Holder.MULTISIG for key in _current(uow, a.id)},
        existing=existing,
        multisigs_behind=multisigs,
        allowances={c: _allowance(c, touched[c], policy, balances) for c in connections},
        letters=_letters(uow, incident, policy) if Selector.ISSUED_ASSETS in wanted.selectors else {},
        overtaken=overtaken(existing, alerts, known),
        again=again,
    )
    return Look(scene, lost, policy, max((alert.place for alert in alerts), default=0))


def ask_to_look(uow: UnitOfWork, incident_id: IncidentId) -> None:
    """Ask for what `look` reads first, whatever the plan is."""
    uow.ask(uow.incidents.alerts_of, incident_id)
    uow.ask(uow.registry.policy)


def _take_turns(uow: UnitOfWork, connections: set[ConnectionId]) -> set[ConnectionId]:
    """Keep other plans from these connections' allowances until this one is stored, or each would take the whole hour's."""
    for connection in sorted(connections):  # one order for everybody
        uow.lock(f"blast:{connection}", at_once=False)
    return connections


def _ask_about(uow: UnitOfWork, alerts: Sequence[Alert], wanted: Wanted) -> None:
    """Ask at once for all that needs only the alerts; what a plan turns out not to read of it costs nothing."""
    connections = tuple(dict.fromkeys(alert.connection for alert in alerts))
    uow.ask(uow.registry.accounts_at, _named(alerts))
    for connection in connections:
        uow.ask(uow.plans.touched_targets, connection, uow.now - WINDOW)
        if Selector.NEARBY_MULTISIGS in wanted.selectors:
            uow.ask(uow.registry.accounts_of, connection, Holder.MULTISIG)
    if Selector.DESTINATIONS in wanted.selectors and (texts := _destination_texts(alerts)):
        uow.ask(uow.registry.ours_among, connections, sorted(set().union(*texts.values())))


def possible(
    uow: UnitOfWork,
    scene: Scene,
    templates: Iterable[StepTemplate],
    actions: Mapping[str, ContainmentAction],
    lacks: Lacks,
) -> Scene:
    """Return the scene with what its platforms can never do, of what people would vote on: they are not asked for it."""
    applied = [template for template in templates if template.applies_at(scene.severity)]
    names = sorted({name for template in applied for name in (template.action, *template.after)})
    voted = [actions[name] for name in names if not actions[name].runs_at_once]
    needed = [(action.name, need) for action in voted for need in sorted(action.needs)]
    asked = ((c, name, lacks(uow, c, need)) for name, need in needed for c in scene.connections)
    told = {(c, name): why for c, name, why in asked if why is not None}
    return replace(scene, impossible=told)


def _behind(
    uow: UnitOfWork, connections: Sequence[ConnectionId], wanted: Wanted
) -> Mapping[ConnectionId, Sequence[str]]:
    """Return all accounts of the connections, where the plan may act on a whole connection."""
    if Selector.CONNECTIONS not in wanted.selectors:
        return {}
    return {connection: [a.at.ref for a in uow.registry.accounts_of(connection)] for connection in connections}


def _multisigs(uow: UnitOfWork, connections: Sequence[ConnectionId], wanted: Wanted) -> list[Account]:
    if Selector.NEARBY_MULTISIGS not in wanted.selectors:
        return []
    return [a for connection in connections for a in uow.registry.accounts_of(connection, Holder.MULTISIG)]


def _entities(
    accounts: Sequence[Account],
    behind: Mapping[ConnectionId, Sequence[str]],
    touched: Mapping[ConnectionId, Collection[Touched]],
) -> list[str]:
    """Return the accounts that count in the blast radius: what may be acted on, and what was within the hour."""
    own = [account.at.entity for account in accounts]
    whole = [f"{connection}/{ref}" for connection, refs in behind.items() for ref in refs]
    before = [f"{c}/{one.value}" for c, targets in touched.items() for one in targets if one.kind == "account"]
    return [f"account:{entity}" for entity in dict.fromkeys([*own, *whole, *before])]


def _letters(
    uow: UnitOfWork, incident: Incident, policy: Policy | None
) -> Mapping[tuple[ConnectionId, str], Mapping[str, str]]:
    """Return a letter for every token that left and whose issuer the verified policy names."""
    if policy is None or not policy.issuers:
        return {}
    trace = uow.forensics.trace(incident.id)
    report = {} if trace is None or trace.report is None else json.loads(trace.report)
    issuers = {issuer.asset: issuer for issuer in policy.issuers}
    paid: dict[tuple[ConnectionId, str], list[Payment]] = {}
    in_all: dict[tuple[ConnectionId, str], int] = {}
    for left in uow.incidents.left(incident.id, issuers):
        paid.setdefault((left.connection, left.asset), []).append(left.payment)
        in_all[left.connection, left.asset] = left.in_all
    return {
        (connection, asset): letter(
            issuers[asset],
            Stolen(asset, payments, *resting(report, asset), in_all[connection, asset]),
            incident.id,
            incident.opened_at,
        )
        for (connection, asset), payments in paid.items()
    }


def _current(uow: UnitOfWork, account: AccountId) -> Sequence[VaultKey]:
    """Return the account's newest key that is free to sign, if there is one."""
    return [key for key in uow.keys.keys_of(account) if key.state == "active"][-1:]


def _policy(uow: UnitOfWork, votes_key_pem: bytes) -> Policy | None:
    try:
        return policy_in_force(uow.registry.policy(), votes_key_pem)
    except (ApprovalError, ConfigurationError):
        return None


def _allowance(
    connection: ConnectionId, targets: Collection[Touched], policy: Policy | None, balances: Mapping[str, Decimal]
) -> Allowance:
    """Return what the hour leaves; what is merely near has as much again, and takes nothing from what is named."""
    limits = LIMITS_WITHOUT_POLICY if policy is None else policy.blast_radius
    named = {one.value for one in targets if one.kind == "account" and not one.nearby}
    near = {one.value for one in targets if one.nearby} - named
    aimed = {(one.kind, one.value) for one in targets if one.kind not in {"account", "connection"}}

    def left(touched: set[str]) -> tuple[int, Decimal, set[str]]:
        value = sum((balances.get(f"account:{connection}/{ref}", Decimal(0)) for ref in touched), Decimal(0))
        return max(0, limits.accounts_per_hour - len(touched)), Decimal(limits.value_usd_per_hour) - value, touched

    others = max(0, OTHERS_PER_ACCOUNT * limits.accounts_per_hour - len(aimed))
    return Allowance(*left(named), others, aimed, nearby=Allowance(*left(near), others=0, aimed=set()))


def _named(alerts: Sequence[Alert]) -> list[AccountRef]:
    return _refs(entity for alert in alerts for entity in alert.entities)


def _refs(entities: Iterable[str]) -> list[AccountRef]:
    refs = (e.removeprefix("account:").partition("/") for e in entities if e.startswith("account:"))
    return [AccountRef(ConnectionId(connection), ref) for connection, _, ref in refs]


def _past_gate(uow: UnitOfWork, incident: Incident, harmed: Sequence[Account]) -> frozenset[AccountId]:
    entities = set(uow.incidents.signed_past_gate(incident.id))
    return frozenset(a.id for a in harmed if f"account:{a.at.entity}" in entities)


def _exposed(
    uow: UnitOfWork, harmed: Sequence[Account], lost: Sequence[WalletLoss]
) -> tuple[tuple[Account, ...], dict[AccountId, Scope]]:
    scopes: dict[AccountId, Scope] = {}
    found = {account.id: account for account in harmed}
    for loss in lost:
        paths = [None] if loss.reach is Scope.SEED else list(loss.account_paths)
        for path in paths:
            for account in uow.registry.accounts_sharing(loss.wallet_id, path):
                found.setdefault(account.id, account)
                scopes[account.id] = loss.reach
    return tuple(found.values()), scopes


def _is_stated(row: DestinationRow, votes_key_pem: bytes) -> bool:
    """Say whether the authority signed this row's account, chain and descriptor; without a usable key nothing counts."""
    try:
        said = registered_destination(row.registered, votes_key_pem)
    except (ApprovalError, ConfigurationError):
        return False
    return (said.account, said.chain, said.descriptor) == (row.account_id, row.chain, row.descriptor)


def _destinations(
    uow: UnitOfWork,
    alerts: Sequence[Alert],
    near: "_Near",
    connections: Sequence[ConnectionId],
    votes_key_pem: bytes,
) -> tuple[Target, ...]:
    """Return the destinations that alerts name and that are not ours."""
    named, texts = _entities_of(alerts, "destination:"), _destination_texts(alerts)
    if not named:
        return ()
    found = uow.registry.ours_among(connections, sorted(set().union(*texts.values())))
    stated = [row for row in found.safe if _is_stated(row, votes_key_pem)]
    ours = found.addresses | {text.lower() for row in stated for text in _texts(row)}
    return tuple(
        Target("destination", connection, value, near.to(connection))
        for connection, value in named
        if not texts[value] & ours
    )


def _destination_texts(alerts: Sequence[Alert]) -> dict[str, set[str]]:
    """Return what each destination that alerts name may be registered as."""
    named = _entities_of(alerts, "destination:")
    return {value: {value.lower(), value.removeprefix(f"{connection}/").lower()} for connection, value in named}


def _texts(row: DestinationRow) -> tuple[str, str]:
    return row.descriptor, f"{row.chain}:{row.descriptor}"


def _entities_of(alerts: Sequence[Alert], kind: str) -> list[tuple[ConnectionId, str]]:
    """Return (connection, name) of each entity of a kind that alerts name, once."""
    named = ((a.connection, e.removeprefix(kind)) for a in alerts for e in a.entities if e.startswith(kind))
    return list(dict.fromkeys(named))


class _Near:
    """Which account to name beside a destination or credential: a harmed one, else the first of the connection."""

    def __init__(self, uow: UnitOfWork, harmed: Sequence[Account]) -> None:
        self._uow = uow
        self._refs: dict[ConnectionId, str | None] = {}
        for account in harmed:
            self._refs.setdefault(account.at.connection, account.at.ref)

    def to(self, connection: ConnectionId) -> str | None:
        """Return its ref; None where the connection has no account."""
        if connection not in self._refs:
            every = self._uow.registry.accounts_of(connection)
            self._refs[connection] = every[0].at.ref if every else None
        return self._refs[connection]


def _actors(alerts: Sequence[Alert], near: _Near) -> tuple[Target, ...]:
    named = ((connection, value.removeprefix(f"{connection}/")) for connection, value in _entities_of(alerts, "actor:"))
    return tuple(
        Target("credential", connection, value, near.to(connection)) for connection, value in dict.fromkeys(named)
    )


def _safe(rows: Sequence[DestinationRow], now: datetime) -> list[dict[str, str]]:
    """Return the one destination of each chain that a sweep would go to: the newest that is active and signed."""
    active = [row for row in rows if row.signature is not None and row.active_from <= now]
    newest = {row.chain: row for row in sorted(active, key=lambda row: row.active_from)}
    return [{"chain": chain, "descriptor": newest[chain].descriptor} for chain in sorted(newest)]


def _addresses(exposed: Sequence[Account], existing: Sequence[Step]) -> dict[AccountId, str]:
    ids = {(a.at.connection, a.at.ref): a.id for a in exposed}
    found: dict[AccountId, str] = {}
    for step in existing:
        if step.action == "prepare_rotation" and step.state is StepState.DONE and step.receipt is not None:
            account = ids.get((step.target.connection, step.target.value))
            addresses = new_addresses(step.receipt.facts)
            if account is not None and addresses:
                found[account] = addresses
    return found


def new_addresses(facts: Json) -> str:
    """Return every new address that the receipt of a prepared rotation tells, CAIP-10, separated by blanks."""
    told = facts.get("addresses")
    several = [one for one in told if isinstance(one, str)] if isinstance(told, list) else []
    first = facts.get("address")
    return " ".join(dict.fromkeys([*([first] if isinstance(first, str) else []), *several]))
