"""Reads what a plan needs to know of an incident: harmed and exposed accounts, destinations, actors, what is left to do.

Only what an alert names is harmed; `incident.entities` also holds what merely could be reached. A destination that is an
address of ours or a safe destination that the authority signed is never locked: a sweep would lock itself out. A row
without that signature exempts nothing, because the API may insert rows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from service.domain.account import Account, AccountRef, Holder
from service.domain.compromise import Scope, WalletLoss, losses
from service.domain.errors import ApprovalError, ConfigurationError
from service.domain.freeze_letter import Payment, Stolen, letter, resting
from service.domain.ids import AccountId, ConnectionId
from service.domain.incident import Alert, Incident
from service.domain.plan import Json, Step, StepState, Target
from service.domain.policy import BlastLimits, Policy, policy_in_force
from service.domain.setup import registered_destination
from service.domain.vault import VaultKey
from service.playbooks.model import Playbook
from service.playbooks.planner import Allowance, Scene
from service.ports.store.registry import DestinationRow
from service.ports.store.unit import UnitOfWork

WINDOW: Final = timedelta(hours=1)
OTHERS_PER_ACCOUNT: Final = 2
"""The hour's limit of destinations, credentials and transactions aimed at, as a multiple of the policy's
`accounts_per_hour`: beside each account a thief's address and a stolen credential. Alerts can name any number of them, and
without a limit whoever invents alerts has every user's credential revoked."""
LIMITS_WITHOUT_POLICY: Final = BlastLimits(accounts_per_hour=10, value_usd_per_hour="10000000")
"""Used when no policy can be verified: containment must not wait for that, but goes less far."""


@dataclass(frozen=True, slots=True)
class Look:
    """A scene with what the plan says about keys and policy."""

    scene: Scene
    lost: tuple[WalletLoss, ...]
    policy: Policy | None


def look(uow: UnitOfWork, incident: Incident, playbook: Playbook, votes_key_pem: bytes, *, again: bool = False) -> Look:
    """Read everything a plan for this incident needs."""
    alerts = uow.incidents.alerts_of(incident.id)
    named = tuple(dict.fromkeys(entity for alert in alerts for entity in alert.entities))
    harmed = _registered(uow, named)
    lost = losses(harmed, _past_gate(uow, incident, harmed)) if playbook.keys == "assumed_stolen" else ()
    exposed, scopes = _exposed(uow, harmed, lost)
    connections = tuple(dict.fromkeys([*(a.connection for a in alerts), *(a.at.connection for a in exposed)]))
    behind = {connection: uow.registry.accounts_of(connection) for connection in connections}
    every = {a.id for accounts in (*behind.values(), exposed) for a in accounts}
    registered = uow.registry.destinations_of(every)
    existing = uow.plans.steps_of(incident.id)
    policy = _policy(uow, votes_key_pem)
    balances = uow.incidents.balances(
        [f"account:{a.at.entity}" for accounts in (*behind.values(), exposed) for a in accounts]
    )
    scene = Scene(
        incident_id=incident.id,
        severity=incident.severity,
        accounts=harmed,
        exposed=exposed,
        scopes=scopes,
        destinations=_destinations(alerts, harmed, behind, _ours(behind, registered, votes_key_pem)),
        actors=_actors(alerts, harmed, behind),
        connections=connections,
        behind={connection: [a.at.ref for a in accounts] for connection, accounts in behind.items()},
        balances=balances,
        safe={account.id: _safe(registered.get(account.id, ()), uow.now) for account in exposed},
        addresses=_addresses(exposed, existing),
        successors={a.id: key.address for a in harmed if a.holder is Holder.MULTISIG for key in _current(uow, a.id)},
        existing=existing,
        multisigs_behind=[a for accounts in behind.values() for a in accounts if a.holder is Holder.MULTISIG],
        allowances={c: _allowance(uow, c, policy, balances) for c in connections},
        letters=_letters(uow, incident, policy),
        again=again,
    )
    return Look(scene, lost, policy)


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
    except ApprovalError:
        return None


def _allowance(
    uow: UnitOfWork, connection: ConnectionId, policy: Policy | None, balances: Mapping[str, Decimal]
) -> Allowance:
    """Return what the hour leaves; what is merely near has as much again, and takes nothing from what is named."""
    limits = LIMITS_WITHOUT_POLICY if policy is None else policy.blast_radius
    targets = uow.plans.touched_targets(connection, uow.now - WINDOW)
    named = {one.value for one in targets if one.kind == "account" and not one.nearby}
    near = {one.value for one in targets if one.nearby} - named
    aimed = {(one.kind, one.value) for one in targets if one.kind not in {"account", "connection"}}

    def left(touched: set[str]) -> tuple[int, Decimal, set[str]]:
        value = sum((balances.get(f"account:{connection}/{ref}", Decimal(0)) for ref in touched), Decimal(0))
        return max(0, limits.accounts_per_hour - len(touched)), Decimal(limits.value_usd_per_hour) - value, touched

    others = max(0, OTHERS_PER_ACCOUNT * limits.accounts_per_hour - len(aimed))
    return Allowance(*left(named), others, aimed, nearby=Allowance(*left(near), others=0, aimed=set()))


def _registered(uow: UnitOfWork, entities: Sequence[str]) -> tuple[Account, ...]:
    refs = [e.removeprefix("account:").partition("/") for e in entities if e.startswith("account:")]
    found = [uow.registry.account_at(AccountRef(ConnectionId(connection), ref)) for connection, _, ref in refs]
    return tuple(account for account in found if account is not None)


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


@dataclass(frozen=True, slots=True)
class _Ours:
    """Every address of ours and every safe destination, in lower case, the latter with and without its chain."""

    addresses: frozenset[str]
    safe: Mapping[str, Sequence[DestinationRow]]
    votes_key_pem: bytes

    def holds(self, value: str) -> bool:
        """Say whether a destination is ours. Only a row that names it is verified: there may be thousands."""
        text = value.lower()
        return text in self.addresses or any(_is_stated(row, self.votes_key_pem) for row in self.safe.get(text, ()))


def _ours(
    behind: Mapping[ConnectionId, Sequence[Account]],
    registered: Mapping[AccountId, Sequence[DestinationRow]],
    votes_key_pem: bytes,
) -> _Ours:
    safe: dict[str, list[DestinationRow]] = {}
    for row in (row for rows in registered.values() for row in rows):
        for text in (row.descriptor, f"{row.chain}:{row.descriptor}"):
            safe.setdefault(text.lower(), []).append(row)
    addresses = {address.lower() for accounts in behind.values() for a in accounts for address in a.addresses}
    return _Ours(frozenset(addresses), safe, votes_key_pem)


def _is_stated(row: DestinationRow, votes_key_pem: bytes) -> bool:
    """Say whether the authority signed this row's account, chain and descriptor; without a usable key nothing counts."""
    try:
        said = registered_destination(row.registered, votes_key_pem)
    except (ApprovalError, ConfigurationError):
        return False
    return (said.account, said.chain, said.descriptor) == (row.account_id, row.chain, row.descriptor)


def _destinations(
    alerts: Sequence[Alert],
    harmed: Sequence[Account],
    behind: Mapping[ConnectionId, Sequence[Account]],
    ours: _Ours,
) -> tuple[Target, ...]:
    pairs = dict.fromkeys(
        (alert.connection, entity.removeprefix("destination:"))
        for alert in alerts
        for entity in alert.entities
        if entity.startswith("destination:")
    )
    return tuple(
        Target("destination", connection, value, _near(connection, harmed, behind))
        for connection, value in pairs
        if not ours.holds(value) and not ours.holds(value.removeprefix(f"{connection}/"))
    )


def _near(
    connection: ConnectionId, harmed: Sequence[Account], behind: Mapping[ConnectionId, Sequence[Account]]
) -> str | None:
    """Return an account to name beside a destination or credential: a harmed one, else any of the connection."""
    own = [*(a for a in harmed if a.at.connection == connection), *behind.get(connection, ())]
    return own[0].at.ref if own else None


def _actors(
    alerts: Sequence[Alert], harmed: Sequence[Account], behind: Mapping[ConnectionId, Sequence[Account]]
) -> tuple[Target, ...]:
    pairs = dict.fromkeys(
        (alert.connection, entity.removeprefix("actor:").removeprefix(f"{alert.connection}/"))
        for alert in alerts
        for entity in alert.entities
        if entity.startswith("actor:")
    )
    return tuple(
        Target("credential", connection, value, _near(connection, harmed, behind)) for connection, value in pairs
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
