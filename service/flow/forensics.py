"""Incident contained → evidence: where the money went, hop by hop, and who had been there before.

Rules: tracing never delays containment: it begins after it, in slices of `SLICE_S` seconds, each of which stores how far it
came and hands on by event, so that a killed worker loses one slice. One worker traces an incident at a time, by a lease.
What an endpoint cannot tell is said in the evidence; an endpoint that fails is asked again later. A label of a service ends
a trace, and the evidence says where and at whose word; so does an address of ours. A chain that was rewritten under our feet
is read again from the first block of the trace.
"""

import json
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from service.domain.account import Account, AccountRef
from service.domain.bitcoin.network import NETWORK_OF, address_of
from service.domain.bitcoin.sweep import destination
from service.domain.errors import InputError, PortcullisError
from service.domain.events import EvidencePending
from service.domain.forensics.drawing import drawn
from service.domain.forensics.labels import Label, foremost, normalised
from service.domain.forensics.report import UNKNOWN, AccessLine, Gathered, ListUsed, Walked, build
from service.domain.forensics.walk import (
    LIMITS,
    AccountWalk,
    Known,
    OutputWalk,
    addresses_of,
    asked_about,
    follow,
    next_output,
    note_insides,
    read_block,
    start,
)
from service.domain.ids import ActivityId, ConnectionId, IncidentId
from service.domain.incident import Incident
from service.domain.review import Decision
from service.domain.timeline import Entry
from service.ports.clock import Clock
from service.ports.store.forensics import MOST_EVENTS, Found, Stored
from service.ports.store.unit import Database, UnitOfWork
from service.ports.tracing import AccountSource, OutputSource

SLICE_S: Final = 12.0
LEASE: Final = timedelta(seconds=120)
BEFORE: Final = timedelta(minutes=10)
"""A theft is on its chain before our records say so: a chain is read from so long before the first harm."""
ACCESS_BEFORE: Final = timedelta(hours=72)
_CAIP10: Final = re.compile(r"(?:eip155|bip122):[-_a-zA-Z0-9]{1,32}:[a-zA-Z0-9]{1,128}", re.ASCII)
_IN_COMMON: Final = ("account", "actor", "device", "session", "ip", "transaction")
_ABOUT: Final = 500
"""Characters of what a vote was on."""
_Walk = TypeVar("_Walk", AccountWalk, OutputWalk)


@dataclass(frozen=True, slots=True)
class Tracer:
    """What tracing works with. Chains by CAIP-2 id."""

    db: Database
    accounts: Mapping[str, AccountSource]
    outputs: Mapping[str, OutputSource]
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Case:
    """What is known of the incident."""

    incident: Incident
    harmed: Sequence[Account]
    own: frozenset[str]
    told: frozenset[str]
    """Destinations as CAIP-10 that alerts name."""

    def victims(self, chain: str) -> frozenset[str]:
        """Return the harmed accounts' addresses on a chain."""
        return frozenset(
            _plain(one.removeprefix(f"{chain}:"))
            for account in self.harmed
            for one in account.addresses
            if one.startswith(f"{chain}:")
        )

    def suspects(self, chain: str) -> frozenset[str]:
        """Return the destinations that alerts name on a chain, where no harmed account has an address of its own."""
        if self.victims(chain):
            return frozenset()
        named = {_plain(one.removeprefix(f"{chain}:")) for one in self.told if one.startswith(f"{chain}:")}
        return frozenset(named - self.own)

    @property
    def chains(self) -> list[str]:
        """Return the chains that harmed accounts have addresses on, or that alerts name a destination on."""
        addresses = [one for account in self.harmed for one in account.addresses]
        return sorted({one.rpartition(":")[0] for one in (*addresses, *self.told)})


def gather(tracer: Tracer, incident_id: IncidentId, *, anew: bool = False, past_labels: bool = False) -> None:
    """Follow the money for one slice; store, then hand on or finish. Raises UnavailableError while another does.

    `past_labels` counts of a trace that begins anew: it then ends at no label but one of kind `service`.
    """
    with tracer.db.begin() as uow:
        stored = uow.forensics.begin_trace(incident_id, LEASE, anew=anew, past_labels=past_labels)
        case = _case(uow, incident_id)
    if stored.state == "complete":
        return
    slice_ = _Slice(tracer, case, stored, time.monotonic() + SLICE_S)
    try:
        slice_.run()
    except PortcullisError:
        # What was read so far is kept; the job itself is tried again later.
        with tracer.db.begin() as uow:
            uow.forensics.save_trace(incident_id, Found(slice_.kept()))
        raise
    _keep(slice_)


class _Slice:
    """One worker's share of a trace: every chain a piece further."""

    def __init__(self, tracer: Tracer, case: _Case, stored: Stored, until: float) -> None:
        self.tracer = tracer
        self.case = case
        self.walks: dict[str, AccountWalk | OutputWalk] = {}
        self.notes: list[str] = []
        self._stored = stored.walks
        self._past_labels = stored.past_labels
        self._until = until

    def run(self) -> None:
        """Follow every chain that can be read until the time is up; one that fails keeps no other from being followed.

        Raises the first failure at the end.
        """
        failed: PortcullisError | None = None
        for chain in self.case.chains:
            try:
                self._follow(chain)
            except PortcullisError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _follow(self, chain: str) -> None:
        if chain in self.tracer.accounts:
            self._accounts(chain)
        elif chain in self.tracer.outputs:
            self._outputs(chain)
        else:
            self.notes.append(f"{chain} was not traced: set its endpoint in PORTCULLIS_CHAINS, then ask again")

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to follow."""
        return all(walk.is_done for walk in self.walks.values())

    def kept(self) -> dict[str, object]:
        """Return how far each chain was followed, as it is stored."""
        return {**self._stored, **{chain: msgspec.to_builtins(walk) for chain, walk in self.walks.items()}}

    def _accounts(self, chain: str) -> None:
        source = self.tracer.accounts[chain]
        walk = _opened(self._stored.get(chain), AccountWalk) or self._begun(chain, source)
        self.walks[chain] = walk
        while not walk.is_done and time.monotonic() < self._until:
            number = walk.next_block
            block = source.block(number, asked_about(walk, self.case.victims(chain) | self.case.suspects(chain)))
            if walk.last_hash not in ("", block.parent):
                first = walk.first_block
                walk = AccountWalk(chain=chain, first_block=first, next_block=first, last_block=walk.last_block)
                self.walks[chain] = walk
                continue
            for asset, address in read_block(walk, block.movements, self._known(chain, addresses_of(block.movements))):
                amount = source.balance(asset, address, number - 1)
                walk.openings[f"{asset} {address}"] = UNKNOWN if amount is None else amount
            note_insides(walk, block.looked)
            walk.last_hash = block.hash

    def _outputs(self, chain: str) -> None:
        source = self.tracer.outputs[chain]
        walk = _opened(self._stored.get(chain), OutputWalk)
        if walk is None:
            walk = OutputWalk(chain=chain)
            for address in sorted(self.case.victims(chain)):
                for theft in source.departures(address, self.case.incident.first_harm_at - BEFORE):
                    start(walk, theft, self._known(chain, addresses_of([theft])))
            for address in sorted(self.case.suspects(chain)):
                for theft in source.arrivals(address, self.case.incident.first_harm_at - BEFORE):
                    start(walk, theft, self._known(chain, addresses_of([theft])))
        self.walks[chain] = walk
        while not walk.is_done and time.monotonic() < self._until:
            output = next_output(walk)
            try:
                spending = source.spending(output.txid, output.vout)
            except PortcullisError:
                walk.waiting.append(output)
                raise
            follow(walk, output, spending, self._known(chain, addresses_of([spending] if spending else [])))

    def _begun(self, chain: str, source: AccountSource) -> AccountWalk:
        first, height = source.block_at(self.case.incident.first_harm_at - BEFORE), source.height()
        last = min(height, first + LIMITS.blocks - 1)
        limit = f"only {LIMITS.blocks} blocks are read, up to {last}" if height > last else ""
        return AccountWalk(chain=chain, first_block=first, next_block=first, last_block=last, limit=limit)

    def _known(self, chain: str, addresses: Collection[str]) -> Known:
        with self.tracer.db.begin() as uow:
            labels = foremost(uow.forensics.labels(addresses))
        ends = frozenset(one.address for one in labels.values() if one.ends_a_trace(past_labels=self._past_labels))
        return Known(self.case.victims(chain), self.case.own, ends, self.case.suspects(chain))


def _keep(done: _Slice) -> None:
    name = done.case.incident.id
    with done.tracer.db.begin() as uow:
        if not done.is_done:
            uow.forensics.save_trace(name, Found(done.kept()))
            facts: dict[str, object] = {"chains": sorted(done.walks)}
            going_on = Entry(kind="evidence.traced", at=uow.now, subject=name, sentence="Tracing goes on", facts=facts)
            uow.record(going_on, EvidencePending(name))
            return
        report = build(_gathered(uow, done))
        uow.forensics.save_trace(name, Found(done.kept(), json.dumps(report), drawn(report)))
        moved = sum(len(walk.movements) for walk in done.walks.values())
        where = ", ".join(done.walks) or "no chain that could be read"
        facts = {"chains": sorted(done.walks), "movements": moved, "notes": done.notes}
        sentence = f"Evidence gathered: {moved} movements on {where}"
        uow.record(
            Entry(kind="evidence.gathered", at=uow.now, subject=name, sentence=sentence, incident_id=name, facts=facts)
        )


def _opened(stored: object, kind: type[_Walk]) -> _Walk | None:
    return None if stored is None else msgspec.convert(stored, kind)


def _case(uow: UnitOfWork, incident_id: IncidentId) -> _Case:
    incident = uow.incidents.incident(incident_id)
    alerts = uow.incidents.alerts_of(incident_id)
    named = dict.fromkeys(e for alert in alerts for e in alert.entities if e.startswith("account:"))
    refs = [name.removeprefix("account:").partition("/") for name in named]
    found = [uow.registry.account_at(AccountRef(ConnectionId(connection), ref)) for connection, _, ref in refs]
    harmed = [account for account in found if account is not None]
    behind = [a for c in {account.at.connection for account in harmed} for a in uow.registry.accounts_of(c)]
    own = {_plain(one.rpartition(":")[2]) for account in behind for one in account.addresses}
    for rows in uow.registry.destinations_of({account.id for account in behind}).values():
        for row in rows:
            own.update(_safe(row.chain, row.descriptor))
    victims = {_plain(one.rpartition(":")[2]) for account in harmed for one in account.addresses}
    entities = (entity.removeprefix("destination:") for alert in alerts for entity in alert.entities)
    told = frozenset(one for one in entities if _CAIP10.fullmatch(one))
    return _Case(incident, harmed, frozenset(own - victims), told)


def _safe(chain: str, descriptor: str) -> Iterable[str]:
    """Yield the address of a safe destination; a descriptor's first one."""
    network = NETWORK_OF.get(chain)
    try:
        if network is not None:
            yield address_of(destination(descriptor, network), network) or descriptor
        else:
            yield normalised(descriptor)
    except InputError:
        yield descriptor


def _plain(address: str) -> str:
    try:
        return normalised(address)
    except InputError:
        return address.lower()


def _gathered(uow: UnitOfWork, done: _Slice) -> Gathered:
    case, notes = done.case, list(done.notes)
    chains = []
    for chain, walk in done.walks.items():
        labels: dict[str, Label] = foremost(uow.forensics.labels(addresses_of(walk.movements)))
        chains.append(Walked(walk, labels, case.victims(chain), case.own))
    if not case.chains:
        notes.append(
            "no affected account has an address, and no alert names a destination: there is nothing to trace from"
        )
    access = _access(uow, case.incident, notes)
    used = [
        ListUsed(one.source, one.listed_on, one.entries, one.imported_by)
        for one in uow.forensics.address_lists()
        if one.in_force
    ]
    return Gathered(case.incident.id, chains, access, used, notes, uow.now)


def _access(uow: UnitOfWork, incident: Incident, notes: list[str]) -> list[AccessLine]:
    """Return who was there before and during the harm, with what each has in common with it; and the votes.

    What was not looked through is added to the notes.
    """
    alerts = uow.incidents.alerts_of(incident.id)
    acts = uow.forensics.access_of({ActivityId(alert.activity_id) for alert in alerts})
    common = {name: {getattr(one, name) for one in acts} - {None} for name in _IN_COMMON}
    until: datetime = incident.contained_at or incident.closed_at or uow.now
    events = uow.forensics.access({a.connection for a in alerts}, incident.first_harm_at - ACCESS_BEFORE, until)
    if max(len(acts), len(events)) >= MOST_EVENTS:
        notes.append(f"who had been there: only the newest {MOST_EVENTS} events were looked through")
    seen = {one.activity: one for one in (*acts, *events)}
    lines = [
        replace(one, shares=tuple(name for name, values in common.items() if getattr(one, name) in values))
        for one in seen.values()
    ]
    votes = [
        AccessLine(at=d.at, kind=f"vote.{d.decision}", actor=d.person, about=_about(d), shares=("approval",))
        for d in uow.approvals.decisions_of(incident.id)
    ]
    return [line for line in lines if line.shares] + votes


def _about(vote: Decision) -> str:
    return f"{vote.approval_id}: {' '.join(vote.sentences)}"[:_ABOUT]
