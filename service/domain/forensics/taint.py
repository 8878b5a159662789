"""How much of what moved on is stolen: poison, haircut and FIFO, side by side, because each answers another question.

Rules: what left the victim is stolen whole. *Poison*: everything that a holder of any stolen money sends is stolen, to the
full amount: the widest net. *Haircut*: stolen and clean money mix in proportion, and each payment carries its share.
*FIFO*: money leaves in the order in which it came (Clayton's case, 1816): what was there before goes first. Haircut and
FIFO never make more stolen money than was stolen: what sources carry is what targets, the fee and what stays hold together,
to the unit. On Bitcoin the inputs of a transaction are one purse in their order, and its outputs take from it in theirs, the
fee last. Money that a holder spends beyond what we saw coming was there before, and is clean.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from service.domain.forensics.movement import Movement

METHODS: Final = ("poison", "haircut", "fifo")
Key = tuple[str, str]
"""(asset, holder)."""


class Taint(msgspec.Struct, frozen=True):
    """Stolen base units by method."""

    poison: int = 0
    haircut: int = 0
    fifo: int = 0

    def __add__(self, other: "Taint") -> "Taint":
        return Taint(self.poison + other.poison, self.haircut + other.haircut, self.fifo + other.fifo)

    @property
    def any(self) -> bool:
        """Whether a method finds anything."""
        return bool(self.poison or self.haircut or self.fifo)


@dataclass(frozen=True, slots=True)
class Tainted:
    """The result: for each movement the stolen part of each target, and what stays where."""

    by_movement: Mapping[str, tuple[Taint, ...]]
    resting: Mapping[Key, Taint]
    """Of each holder, what is still there."""
    fees: Mapping[str, Taint]
    """By asset, what went to fees."""


class _Method(Protocol):
    """One way of counting. A purse holds amounts; `pay` gives each amount's stolen part and the rest's as last."""

    def put(self, key: Key, amount: int, stolen: int) -> None: ...
    def pay(self, sources: Sequence[tuple[Key, int]], amounts: Sequence[int]) -> list[int]: ...
    def rest(self) -> Mapping[Key, int]: ...


@dataclass
class _Haircut:
    held: dict[Key, tuple[int, int]] = field(default_factory=dict)

    def put(self, key: Key, amount: int, stolen: int) -> None:
        total, before = self.held.get(key, (0, 0))
        self.held[key] = total + amount, before + stolen

    def pay(self, sources: Sequence[tuple[Key, int]], amounts: Sequence[int]) -> list[int]:
        taken = given = 0
        for key, amount in sources:
            total, stolen = self.held.get(key, (0, 0))
            total = max(total, amount)  # what we did not see coming was there, and clean
            share = stolen * amount // total if total else 0
            self.held[key] = total - amount, stolen - share
            taken, given = taken + share, given + amount
        shares = [taken * amount // given if given else 0 for amount in amounts]
        return [*shares, taken - sum(shares)]

    def rest(self) -> Mapping[Key, int]:
        return {key: stolen for key, (_, stolen) in self.held.items() if stolen}


@dataclass
class _Poison:
    held: dict[Key, tuple[int, bool]] = field(default_factory=dict)

    def put(self, key: Key, amount: int, stolen: int) -> None:
        total, before = self.held.get(key, (0, False))
        self.held[key] = total + amount, before or stolen > 0

    def pay(self, sources: Sequence[tuple[Key, int]], amounts: Sequence[int]) -> list[int]:
        bad = False
        for key, amount in sources:
            total, was = self.held.get(key, (0, False))
            bad = bad or was
            self.held[key] = max(0, total - amount), was
        fee = max(0, sum(amount for _, amount in sources) - sum(amounts))
        return [amount if bad else 0 for amount in (*amounts, fee)]

    def rest(self) -> Mapping[Key, int]:
        return {key: total for key, (total, bad) in self.held.items() if bad and total}


@dataclass
class _Fifo:
    held: dict[Key, deque[tuple[int, bool]]] = field(default_factory=dict)

    def put(self, key: Key, amount: int, stolen: int) -> None:
        self._add(self.held.setdefault(key, deque()), stolen, bad=True)
        self._add(self.held[key], amount - stolen, bad=False)

    def pay(self, sources: Sequence[tuple[Key, int]], amounts: Sequence[int]) -> list[int]:
        purse: deque[tuple[int, bool]] = deque()
        for key, amount in sources:
            lots = self.held.setdefault(key, deque())
            unseen = max(0, amount - sum(size for size, _ in lots))
            self._add(purse, unseen, bad=False)  # it was there before everything that we saw coming
            for size, bad in self._take(lots, amount - unseen):
                self._add(purse, size, bad=bad)
        parts = [sum(size for size, bad in self._take(purse, amount) if bad) for amount in amounts]
        return [*parts, sum(size for size, bad in purse if bad)]

    def rest(self) -> Mapping[Key, int]:
        found = {key: sum(size for size, bad in lots if bad) for key, lots in self.held.items()}
        return {key: stolen for key, stolen in found.items() if stolen}

    @staticmethod
    def _add(lots: deque[tuple[int, bool]], amount: int, *, bad: bool) -> None:
        if amount <= 0:
            return
        if lots and lots[-1][1] == bad:
            amount += lots.pop()[0]
        lots.append((amount, bad))

    @staticmethod
    def _take(lots: deque[tuple[int, bool]], amount: int) -> list[tuple[int, bool]]:
        taken = []
        while amount > 0 and lots:
            size, bad = lots.popleft()
            if size > amount:
                lots.appendleft((size - amount, bad))
                size = amount
            taken.append((size, bad))
            amount -= size
        return taken


def tainted(movements: Sequence[Movement], stolen: Collection[str], openings: Mapping[Key, int]) -> Tainted:
    """Return the stolen part of everything that moved.

    `movements` oldest first; `stolen` are ids of those that left the victim; `openings` what a holder had before.
    """
    methods: tuple[_Method, ...] = (_Poison(), _Haircut(), _Fifo())
    for key, amount in openings.items():
        for method in methods:
            method.put(key, amount, 0)
    found: dict[str, tuple[Taint, ...]] = {}
    fees: dict[str, Taint] = {}
    for movement in movements:
        amounts = [t.amount for t in movement.targets]
        sources = [((movement.asset, s.holder), s.amount) for s in movement.sources]
        is_theft = movement.id in stolen
        parts = [[*amounts, 0] if is_theft else method.pay(sources, amounts) for method in methods]
        for method, shares in zip(methods, parts, strict=True):
            for target, share in zip(movement.targets, shares, strict=False):
                method.put((movement.asset, target.holder), target.amount, share)
        told = [Taint(*shares) for shares in zip(*parts, strict=True)]
        found[movement.id] = tuple(told[:-1])
        fees[movement.asset] = fees.get(movement.asset, Taint()) + told[-1]
    return Tainted(found, _resting(methods), fees)


def _resting(methods: Sequence[_Method]) -> dict[Key, Taint]:
    poison, haircut, fifo = (method.rest() for method in methods)
    keys = dict.fromkeys((*poison, *haircut, *fifo))
    return {key: Taint(poison.get(key, 0), haircut.get(key, 0), fifo.get(key, 0)) for key in keys}
