"""Following money: which movements belong to the trace, where it stops and why. Pure: who walks hands the movements in.

Rules: a walk is bounded in hops, addresses, movements, transactions looked into and the length of the chain it reads, and
says where it was cut. Looking into transactions ends for one address, and for all, while the rest is read on: whoever owns
a followed contract can have it called as often as he pays for. It stops at a service that a list names (it mixes the money
of many; what it pays out is not the thief's), at an address of our own, and at one that is so busy that it must be a
service nobody listed. What was followed once is not followed again, so a circle ends. Money that comes to a followed
address from elsewhere is kept: without it nobody could say what share of the next payment is stolen. A transfer of
nothing, as in address poisoning, is no movement.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.forensics.movement import Movement, Part


class StopReason(StrEnum):
    """Why an address was not followed further."""

    LABELLED = "labelled"
    OWN = "own"
    BUSY = "busy"
    HOPS = "hops"
    ADDRESSES = "addresses"
    SMALL = "small"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a walk may take at most."""

    hops: int = 12
    addresses: int = 300
    movements: int = 5_000
    per_address: int = 300
    """Movements of one address, after which it counts as busy."""
    blocks: int = 7_200
    """Of an account chain: a day of Ethereum's."""
    insides: int = 5_000
    """Transactions whose inside is asked for."""
    insides_each: int = 1_000
    """As many of those in which one address acts."""
    fan: int = 50
    """Outputs of one transaction that are followed, the largest."""
    least: int = 1_000
    """Satoshis below which an output is not followed."""


LIMITS: Final = Limits()
MOST_UNTOLD: Final = 20


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of addresses: whose they are."""

    victims: frozenset[str]
    own: frozenset[str]
    """Addresses of ours and safe destinations."""
    services: frozenset[str]
    """Addresses whose label ends a trace."""
    suspects: frozenset[str] = frozenset()
    """Where a platform says the money went, where no address of the victim's own is known."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was asked about the insides of one block's transactions."""

    told: int = 0
    """Transactions whose inside was told."""
    untold: Mapping[str, str] = field(default_factory=dict)
    """By transaction, why nobody can tell all that contracts paid inside it."""
    asked: int = 0
    """Transactions that were asked for."""
    asked_of: Mapping[str, int] = field(default_factory=dict)
    """The same by address that acts in them, of those that are followed."""


class AccountWalk(msgspec.Struct, kw_only=True):
    """How far an account chain was read: block by block, in order."""

    chain: str
    first_block: int
    next_block: int
    last_block: int
    last_hash: str = ""
    """Of the block read last: the next one must name it as its parent."""
    watched: dict[str, int] = {}
    """Address → hop."""
    counts: dict[str, int] = {}
    stops: dict[str, str] = {}
    openings: dict[str, int] = {}
    """`asset address` → base units that were there before; -1 where nobody could tell."""
    movements: list[Movement] = []
    stolen: list[str] = []
    cut: list[str] = []
    """Where it ended early."""
    limit: str = ""
    """What it will not read, whatever it finds."""
    looked_into: int = 0
    """Transactions whose inside was told: what contracts paid there in the coin."""
    untold: list[str] = []
    """Transactions of which nobody could tell that, the first MOST_UNTOLD."""
    untold_in_all: int = 0
    untold_because: str = ""
    """Why not, of the first."""
    asked: int = 0
    """Transactions whose inside was asked for."""
    asked_of: dict[str, int] = {}
    """The same by followed address that acts in them."""
    unasked: list[str] = []
    """From where on it was not asked any more, and about whom, the first MOST_UNTOLD."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to read."""
        return self.next_block > self.last_block or bool(self.cut)


class Output(msgspec.Struct, frozen=True):
    """One Bitcoin output that waits to be followed."""

    txid: str
    vout: int
    address: str
    amount: int
    hop: int

    @property
    def holder(self) -> str:
        """`txid:vout`."""
        return f"{self.txid}:{self.vout}"


class OutputWalk(msgspec.Struct, kw_only=True):
    """How far outputs were followed: the nearest and largest first."""

    chain: str
    waiting: list[Output] = []
    hops: dict[str, int] = {}
    """Address → hop."""
    stops: dict[str, str] = {}
    movements: list[Movement] = []
    stolen: list[str] = []
    cut: list[str] = []
    unspent: int = 0
    """Outputs that nobody has spent yet."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to follow."""
        return not self.waiting


def read_block(
    walk: AccountWalk, block: Sequence[Movement], known: Known, limits: Limits = LIMITS
) -> list[tuple[str, str]]:
    """Take one block's movements, in order; return (asset, address) pairs whose opening balance is wanted.

    The opening of a pair is what the address held in the block before this one.
    """
    kept: dict[str, Movement] = {}
    while True:
        before = len(walk.watched)
        for movement in block:
            if movement.id not in kept and _belongs(walk, movement, known, limits):
                kept[movement.id] = movement
        if len(walk.watched) == before:
            break
    wanted: dict[tuple[str, str], None] = {}
    for movement in sorted(kept.values(), key=lambda m: m.order):
        walk.movements.append(movement)
        for part in (*movement.sources, *movement.targets):
            if part.address in walk.watched:
                _count(walk, part.address, limits)
                if f"{movement.asset} {part.address}" not in walk.openings:
                    wanted[movement.asset, part.address] = None
    walk.next_block += 1
    if len(walk.movements) >= limits.movements:
        walk.cut.append(f"stopped after {limits.movements} movements, before block {walk.next_block}")
    return list(wanted)


def asked_about(walk: AccountWalk, victims: Collection[str], limits: Limits = LIMITS) -> set[str]:
    """Return in whose transactions of the next block it is asked what was paid inside; nobody's past the limit of all."""
    if walk.asked >= limits.insides:
        return set()
    return {one for one in (*victims, *walk.watched) if walk.asked_of.get(one, 0) < limits.insides_each}


def note_insides(walk: AccountWalk, looked: Looked, limits: Limits = LIMITS) -> None:
    """Note what was asked about a block's transactions, of which nobody could tell, and who is asked about no more."""
    walk.looked_into += looked.told
    walk.untold_in_all += len(looked.untold)
    walk.untold_because = walk.untold_because or next(iter(looked.untold.values()), "")
    walk.untold += list(looked.untold)[: MOST_UNTOLD - len(walk.untold)]
    ended = []
    for address, count in looked.asked_of.items():
        before = walk.asked_of.get(address, 0)
        walk.asked_of[address] = before + count
        if before < limits.insides_each <= before + count:
            ended.append(f"in which nobody who is followed acts but {address}, after {limits.insides_each}")
    if walk.asked < limits.insides <= walk.asked + looked.asked:
        ended.insert(0, f"at all, after {limits.insides}")
    walk.asked += looked.asked
    room = MOST_UNTOLD - len(walk.unasked)
    walk.unasked += [f"transactions from block {walk.next_block} on {one}" for one in ended[:room]]


def start(walk: OutputWalk, theft: Movement, known: Known, limits: Limits = LIMITS) -> None:
    """Begin with a transaction that spent coins of the victim's."""
    if theft.id in walk.stolen:
        return
    away = tuple(t for t in theft.targets if t.address not in known.own and t.address not in known.victims)
    if not away:
        return
    # The victim's own change stays his: what left him is what went to others, and they share the fee's rest with nobody.
    walk.movements.append(msgspec.structs.replace(theft, targets=away))
    walk.stolen.append(theft.id)
    _spread(walk, away, 1, known, limits)


def next_output(walk: OutputWalk) -> Output:
    """Take the output that is followed next."""
    found = min(walk.waiting, key=lambda o: (o.hop, -o.amount, o.holder))
    walk.waiting.remove(found)
    return found


def follow(walk: OutputWalk, output: Output, spending: Movement | None, known: Known, limits: Limits = LIMITS) -> None:
    """Take what spends an output: None while nobody does."""
    if spending is None:
        walk.unspent += 1
        return
    if any(m.id == spending.id for m in walk.movements):
        return
    walk.movements.append(spending)
    if len(walk.movements) >= limits.movements:
        walk.waiting.clear()
        walk.cut.append(f"stopped after {limits.movements} transactions")
        return
    _spread(walk, spending.targets, output.hop + 1, known, limits)


def _spread(walk: OutputWalk, targets: Sequence[Part], hop: int, known: Known, limits: Limits) -> None:
    largest = sorted(targets, key=lambda t: (-t.amount, t.holder))
    small = [t for t in largest[limits.fan :] if t.amount > 0]
    if small:
        total = sum(t.amount for t in small)
        walk.cut.append(f"{len(small)} smaller outputs of one transaction were not followed: {total} satoshis in all")
    for target in largest[: limits.fan]:
        txid, _, vout = target.holder.partition(":")
        walk.hops.setdefault(target.address, hop)
        reason = _stop(target.address, hop, len(walk.hops), known, limits)
        if target.amount < limits.least:
            reason = reason or StopReason.SMALL
        if reason is None:
            walk.waiting.append(Output(txid, int(vout), target.address, target.amount, hop))
        elif reason is not StopReason.SMALL:
            walk.stops.setdefault(target.address, reason.value)


def _belongs(walk: AccountWalk, movement: Movement, known: Known, limits: Limits) -> bool:
    """Say whether a movement is of the trace, and watch whoever it goes to."""
    giver, taker = movement.sources[0].address, movement.targets[0].address
    if movement.targets[0].amount <= 0 or giver == taker:
        return False
    if giver in known.victims:
        if taker in known.own or taker in known.victims:
            return False
        walk.stolen.append(movement.id)
        _watch(walk, taker, 1, known, limits)
        return True
    if giver in walk.watched:
        _watch(walk, taker, walk.watched[giver] + 1, known, limits)
        return True
    if taker in known.suspects and taker not in known.services:
        walk.stolen.append(movement.id)
        _watch(walk, taker, 1, known, limits)
        return True
    return taker in walk.watched


def _watch(walk: AccountWalk, address: str, hop: int, known: Known, limits: Limits) -> None:
    if address in walk.watched or address in walk.stops or address in known.victims:
        return
    reason = _stop(address, hop, len(walk.watched), known, limits)
    if reason is None:
        walk.watched[address] = hop
    else:
        walk.stops[address] = reason.value


def _stop(address: str, hop: int, followed: int, known: Known, limits: Limits) -> StopReason | None:
    if address in known.own or address in known.victims:
        return StopReason.OWN
    if address in known.services:
        return StopReason.LABELLED
    if hop > limits.hops:
        return StopReason.HOPS
    return StopReason.ADDRESSES if followed >= limits.addresses else None


def _count(walk: AccountWalk, address: str, limits: Limits) -> None:
    walk.counts[address] = walk.counts.get(address, 0) + 1
    if walk.counts[address] > limits.per_address:
        walk.stops[address] = StopReason.BUSY.value
        del walk.watched[address]


def addresses_of(movements: Iterable[Movement]) -> Collection[str]:
    """Return every address that stands in movements."""
    return {part.address for m in movements for part in (*m.sources, *m.targets)}
