"""The evidence of one incident as JSON values: what moved where, how much of it is stolen, who had been there before.

Rules: amounts are decimal strings in base units, moments RFC 3339; what was not followed is said with its reason, what was
only told by an endpoint is named as its word; each label stands with its list, that list's date and who imported it. An
access event is shown when it touches an account, person, device or session of the incident, the nearest to the harm first
to be kept when there are too many.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Final

from service.domain.forensics.labels import Label, LabelKind, Origin
from service.domain.forensics.movement import NO_BLOCK, Movement, ordered
from service.domain.forensics.taint import Taint, tainted
from service.domain.forensics.walk import AccountWalk, OutputWalk, StopReason

MOST_MOVEMENTS: Final = 2_000
MOST_ACCESS: Final = 200
UNKNOWN: Final = -1
_NAMED: Final = 5
"""Addresses of one list that a note names."""


@dataclass(frozen=True, slots=True)
class AccessLine:
    """Somebody was there: one access, governance or signing event, or one vote, around the harm."""

    at: datetime
    kind: str
    account: str | None = None
    actor: str | None = None
    ip: str | None = None
    country: str | None = None
    device: str | None = None
    session: str | None = None
    decision: str | None = None
    """What the engine made of it."""
    activity: str | None = None
    transaction: str | None = None
    """Of the platform's: who asked for it, approved it and signed it have it in common."""
    about: str | None = None
    """What a vote was on: the request's id and its sentences."""
    shares: tuple[str, ...] = ()
    """What it has in common with the incident: account, actor, device, session, ip, transaction."""


@dataclass(frozen=True, slots=True)
class Walked:
    """One chain's trace with what is known of the addresses on it."""

    walk: AccountWalk | OutputWalk
    labels: Mapping[str, Label]
    victims: frozenset[str]
    own: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ListUsed:
    """One imported list."""

    source: str
    listed_on: str
    entries: int
    imported_by: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything a report is made from."""

    incident: str
    chains: Sequence[Walked]
    access: Sequence[AccessLine] = ()
    lists: Sequence[ListUsed] = ()
    notes: Sequence[str] = ()
    """What could not be followed at all, and why."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def build(gathered: Gathered) -> dict[str, object]:
    """Return the evidence as JSON values."""
    return {
        "v": 1,
        "incident": gathered.incident,
        "gathered_at": gathered.at.isoformat(),
        "chains": [_chain(one) for one in gathered.chains],
        "access": [_access(line) for line in _nearest(gathered.access)],
        "more_access": max(0, len(gathered.access) - MOST_ACCESS),
        "lists": [asdict(one) for one in gathered.lists],
        "notes": [*gathered.notes, *(note for one in gathered.chains for note in (*_untold(one), *_ends(one)))],
        "source": "the chains' endpoints: what they tell of blocks and amounts is their word",
    }


def _chain(walked: Walked) -> dict[str, object]:
    walk = walked.walk
    steps = ordered(walk.movements)
    found = tainted(steps, frozenset(walk.stolen), _openings(walk))
    hops = walk.watched if isinstance(walk, AccountWalk) else walk.hops
    moved = [_movement(m, found.by_movement[m.id], m.id in walk.stolen) for m in steps]
    shown = [one for one in moved if one["targets"]]
    reached: dict[str, dict[str, Taint]] = {}
    for movement in steps:
        for target, taint in zip(movement.targets, found.by_movement[movement.id], strict=True):
            if taint.any:
                by_asset = reached.setdefault(target.address, {})
                by_asset[movement.asset] = by_asset.get(movement.asset, Taint()) + taint
    rests = _resting(steps, found.resting)
    cut = [*walk.cut, *([walk.limit] if isinstance(walk, AccountWalk) and walk.limit else [])]
    inside = _inside(walk)
    return {
        "chain": walk.chain,
        "complete": walk.is_done and not cut and not (inside and (inside["not_told"] or inside["not_asked"])),
        "inside": inside,
        "cut": cut,
        "victims": sorted(walked.victims),
        "movements": shown[:MOST_MOVEMENTS],
        "more_movements": max(0, len(shown) - MOST_MOVEMENTS),
        "addresses": [
            _address(address, by_asset, rests.get(address, {}), (walked, hops)) for address, by_asset in reached.items()
        ],
        "fees": {asset: _taint(taint) for asset, taint in found.fees.items() if taint.any},
    }


def _inside(walk: AccountWalk | OutputWalk) -> dict[str, object] | None:
    """Return how far it is known what contracts paid inside transactions; None where there are none."""
    if isinstance(walk, OutputWalk):
        return None
    return {
        "looked_into": walk.looked_into,
        "not_told": walk.untold_in_all,
        "transactions": walk.untold,
        "because": walk.untold_because,
        "not_asked": walk.unasked,
    }


def _untold(walked: Walked) -> Iterator[str]:
    """Yield a sentence where nobody could tell what contracts paid."""
    walk = walked.walk
    if isinstance(walk, AccountWalk) and walk.untold_in_all:
        yield (
            f"{walk.chain}: what contracts paid in the coin inside {walk.untold_in_all} transactions could not be told, as"
            f" far as no Safe's own log says it ({walk.untold_because}): set an endpoint with debug_traceTransaction or"
            f" trace_transaction, then ask again; the first is {walk.untold[0]}"
        )
    if isinstance(walk, AccountWalk):
        asked = f"{walk.chain}: what contracts paid in the coin was not asked for inside"
        yield from (f"{asked} {one}; what such a contract paid on may be missing" for one in walk.unasked)


def _ends(walked: Walked) -> Iterator[str]:
    """Yield one sentence for each list that ended the chain's trace, and where."""
    ended: dict[tuple[Origin, LabelKind], list[str]] = {}
    for address, reason in walked.walk.stops.items():
        label = walked.labels.get(address)
        if reason == StopReason.LABELLED and label is not None and label.origin is not None:
            ended.setdefault((label.origin, label.kind), []).append(f"{address} ({label.name})")
    for (origin, kind), places in ended.items():
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        offer = "" if kind is LabelKind.SERVICE else "; ask again past labels to follow it there"
        yield (
            f"{walked.walk.chain}: the trace ends at {', '.join(places[:_NAMED])}{more}, of kind {kind}, because the list"
            f" {origin.source!r} of {origin.listed_on}, imported by {origin.imported_by}, says so{offer}"
        )


def _openings(walk: AccountWalk | OutputWalk) -> dict[tuple[str, str], int]:
    if isinstance(walk, OutputWalk):
        return {}
    pairs = {tuple(key.split(" ", 1)): amount for key, amount in walk.openings.items() if amount != UNKNOWN}
    return {(asset, holder): amount for (asset, holder), amount in pairs.items()}


def _resting(steps: Iterable[Movement], resting: Mapping[tuple[str, str], Taint]) -> dict[str, dict[str, Taint]]:
    seen_as = {t.holder: t.address for m in steps for t in m.targets}
    found: dict[str, dict[str, Taint]] = {}
    for (asset, holder), taint in resting.items():
        by_asset = found.setdefault(seen_as.get(holder, holder), {})
        by_asset[asset] = by_asset.get(asset, Taint()) + taint
    return found


def _movement(movement: Movement, taints: Sequence[Taint], is_theft: bool) -> dict[str, object]:  # noqa: FBT001  one call
    return {
        "transaction": movement.transaction,
        "block": None if movement.block == NO_BLOCK else movement.block,
        "at": None if movement.at == 0 else datetime.fromtimestamp(movement.at, UTC).isoformat(),
        "asset": movement.asset,
        "theft": is_theft,
        "sources": list(dict.fromkeys(s.address for s in movement.sources)),
        "targets": [
            {"address": t.address, "amount": str(t.amount), "stolen": _taint(taint)}
            for t, taint in zip(movement.targets, taints, strict=True)
            if taint.any
        ],
    }


def _address(
    address: str, reached: Mapping[str, Taint], rests: Mapping[str, Taint], of: tuple[Walked, Mapping[str, int]]
) -> dict[str, object]:
    walked, hops = of
    label = walked.labels.get(address)
    return {
        "address": address,
        "hop": hops.get(address),
        "label": None if label is None else _label(label),
        "stopped": walked.walk.stops.get(address),
        "opening_unknown": _is_opening_unknown(walked.walk, address),
        "received": {asset: _taint(taint) for asset, taint in reached.items()},
        "resting": {asset: _taint(taint) for asset, taint in rests.items()},
    }


def _label(label: Label) -> dict[str, str | None]:
    origin = label.origin
    return {
        "name": label.name,
        "kind": label.kind.value,
        "source": None if origin is None else origin.source,
        "listed_on": None if origin is None else origin.listed_on,
        "imported_by": None if origin is None else origin.imported_by,
    }


def _is_opening_unknown(walk: AccountWalk | OutputWalk, address: str) -> bool:
    if isinstance(walk, OutputWalk):
        return False
    return any(amount == UNKNOWN and key.endswith(f" {address}") for key, amount in walk.openings.items())


def _taint(taint: Taint) -> dict[str, str]:
    return {"poison": str(taint.poison), "haircut": str(taint.haircut), "fifo": str(taint.fifo)}


def _nearest(lines: Sequence[AccessLine]) -> list[AccessLine]:
    closest = sorted(lines, key=lambda line: (-len(line.shares), -line.at.timestamp()))[:MOST_ACCESS]
    return sorted(closest, key=lambda line: line.at)


def _access(line: AccessLine) -> dict[str, object]:
    return {
        "at": line.at.isoformat(),
        "kind": line.kind,
        "account": line.account,
        "actor": line.actor,
        "ip": line.ip,
        "country": line.country,
        "device": line.device,
        "session": line.session,
        "decision": line.decision,
        "activity": line.activity,
        "transaction": line.transaction,
        "about": line.about,
        "shares": list(line.shares),
    }
