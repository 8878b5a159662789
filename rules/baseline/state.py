"""All baseline records of one engine, and which of them changed.

Rules: memory is bounded by the settings and the table sizes below; everything that replay must reproduce is in here, and
leaves only as ``StateChange`` bytes in a fixed order.
"""

from collections.abc import Iterator
from typing import Final

from rules.baseline.layout import (
    AMOUNT,
    ASSETS,
    COUNTS,
    CREDENTIAL_CHANGE,
    FAILURES,
    FAN_IN,
    GAP,
    GOVERNANCE,
    LEARNED,
    NEW_COUNTRY,
    NEW_DESTINATION,
    NEW_DEVICE,
    NEW_NETWORK,
    SHARE,
    VALUES,
    Kind,
    View,
)
from rules.baseline.tables import Pool, Roster, Table, blank, checked
from rules.errors import StateFormatError
from rules.learning import StateChange
from rules.settings import EngineSettings

FAMILIES: Final = ("access", "governance", "money", "signing")
NEWCOMERS: Final = "/not_enough"
"""Follows a family's name in the name of the calibration of its entities without enough history."""
CALIBRATIONS: Final = tuple(sorted(family + suffix for family in FAMILIES for suffix in ("", NEWCOMERS)))
_SETS: Final = {Kind.DESTINATION: 16_384, Kind.ACTOR: 4096, Kind.ASSET: 1024, Kind.PEER_GROUP: 256}
_MAX_DETECTORS: Final = 10_000
_PSEUDO_EVENTS: Final = 20.0
_STATISTICS: Final = {
    AMOUNT: (3.0, 1.2),
    SHARE: (-3.0, 1.2),
    GAP: (3.0, 1.2),
    COUNTS: (0.2, 0.4),
    COUNTS + 3: (0.5, 0.5),
    COUNTS + 6: (1.0, 0.6),
    COUNTS + 9: (1.8, 0.7),
    VALUES: (3.2, 1.2),
    VALUES + 3: (3.6, 1.2),
    VALUES + 6: (4.2, 1.2),
    VALUES + 9: (5.0, 1.2),
    ASSETS: (0.1, 0.2),
    FAILURES: (0.1, 0.25),
}
"""What is usual anywhere before anything was seen: log10 mean and standard deviation, believed like 20 events."""
_RATES: Final = {
    NEW_DESTINATION: 0.4,
    FAN_IN: 0.02,
    CREDENTIAL_CHANGE: 0.05,
    NEW_COUNTRY: 0.03,
    NEW_NETWORK: 0.08,
    NEW_DEVICE: 0.04,
    GOVERNANCE: 0.02,
}


def unlearned_population() -> View:
    """The population's record before anything was seen."""
    view = blank(Kind.POPULATION)
    for word, (mean, deviation) in _STATISTICS.items():
        view[word] = _PSEUDO_EVENTS
        view[word + 1] = mean
        view[word + 2] = deviation * deviation
    for word, rate in _RATES.items():
        view[word] = rate
    return view


class State:
    """Records by kind. ``dirty`` holds (kind, slot) of every record changed since the last take."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.accounts = Roster(Kind.ACCOUNT, settings.max_accounts)
        self.verdicts = Roster(Kind.VERDICT, _MAX_DETECTORS)
        self.tables = {kind: Table(kind, sets) for kind, sets in _SETS.items()}
        self.population = unlearned_population()
        self.calibrations = {family: blank(Kind.CALIBRATION) for family in CALIBRATIONS}
        self.frozen: dict[str, int] = {}
        self.memberships: dict[str, str] = {}
        self.dirty: set[tuple[Kind, int]] = {(Kind.POPULATION, 0)}
        self.dirty_names: set[tuple[Kind, str]] = set()

    def _pool(self, kind: Kind) -> Pool:
        if kind is Kind.ACCOUNT:
            return self.accounts
        return self.verdicts if kind is Kind.VERDICT else self.tables[kind]

    def _change(self, kind: Kind, slot: int) -> StateChange:
        if kind is Kind.POPULATION:
            return StateChange(kind, "population", self.population.tobytes())
        if kind is Kind.CALIBRATION:
            return StateChange(kind, CALIBRATIONS[slot], self.calibrations[CALIBRATIONS[slot]].tobytes())
        pool = self._pool(kind)
        return StateChange(kind, pool.entity(slot), pool.view(slot).tobytes())

    def _named(self, kind: Kind, name: str) -> StateChange:
        if kind is Kind.FROZEN:
            return StateChange(kind, name, self.frozen.get(name, 0).to_bytes(8, "little"))
        return StateChange(kind, name, self.memberships.get(name, "").encode())

    def take(self) -> list[StateChange]:
        """Every record changed since the last call, in order of kind and entity."""
        changes = [self._change(kind, slot) for kind, slot in self.dirty]
        changes += [self._named(kind, name) for kind, name in self.dirty_names]
        self.dirty.clear()
        self.dirty_names.clear()
        return sorted(changes)

    def snapshot(self) -> Iterator[StateChange]:
        """Every record, in order of kind and entity."""
        every = [
            self._change(kind, slot) for kind in (Kind.ACCOUNT, *_SETS, Kind.VERDICT) for slot in self._slots(kind)
        ]
        every.append(self._change(Kind.POPULATION, 0))
        every += [
            self._change(Kind.CALIBRATION, at)
            for at, name in enumerate(CALIBRATIONS)
            if self.calibrations[name][LEARNED]
        ]
        every += [self._named(Kind.FROZEN, name) for name in self.frozen]
        every += [self._named(Kind.MEMBERSHIP, name) for name in self.memberships]
        return iter(sorted(every))

    def _slots(self, kind: Kind) -> Iterator[int]:
        return self._pool(kind).slots()

    def load(self, entity: str, kind: int, state: bytes) -> None:
        """Put stored bytes in place. Raises ``StateFormatError`` when they are not what this version writes."""
        try:
            known = Kind(kind)
        except ValueError:
            raise StateFormatError(f"record kind {kind} is unknown to this version: replay the sequence") from None
        if known is Kind.POPULATION:
            self.population[:] = checked(known, state)
        elif known is Kind.CALIBRATION:
            if entity not in self.calibrations:
                raise StateFormatError(f"calibration {entity!r} is unknown to this version: replay the sequence")
            self.calibrations[entity][:] = checked(known, state)
        elif known is Kind.FROZEN:
            self.frozen[entity] = int.from_bytes(state, "little")
        elif known is Kind.MEMBERSHIP:
            self.memberships[entity] = state.decode()
        else:
            self._pool(known).load(entity, state)
