"""A million distinct destinations from one account: the engine neither grows, stalls nor learns it; others keep theirs.

Nothing here is timed: what bounds the cost of an event is how many records it touches and how many places of an index it
looks at, and both are counted.
"""

from typing import Final

import msgspec
import numpy as np
import pytest

from rules.arrays import F8
from rules.baseline.layout import LEARNED, NEW_DESTINATION, Kind
from rules.baseline.tables import ACCOUNTS, CAPACITY, DESTINATIONS, M_USED, NONE, find
from rules.engine import ENGINE_VERSION, Engine
from rules.event import (
    E_ACCOUNT,
    E_AMOUNT_USD,
    E_AT_US,
    E_DESTINATION,
    E_FROZEN,
    E_HISTORY,
    E_RECEIVED_US,
    EVENT_WIDTH,
    fingerprint,
    write_row,
)
from rules.learning import Entities, LearningRecord, RecordKind
from rules.outcome import O_DECISION, O_OPERATION, O_SCORE, OUT_WIDTH, VERDICT_WIDTH
from rules.settings import EngineSettings
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND, observation

SETTINGS: Final = EngineSettings(salt="t", max_accounts=600, min_scores=1000)
STORM: Final = 1_000_000
UNTIL_INCIDENT: Final = 5_000
"""Payments of the storm before people's incident on the account is in the sequence."""
USUAL_STEP_US: Final = 300 * SECOND
NAMES: Final = [f"main/a{number}" for number in range(40)]
ACCOUNTS_OF: Final = np.array([fingerprint(name, SETTINGS.salt) for name in NAMES])
KNOWN: Final = np.array([[fingerprint(f"{name}/d{at}", SETTINGS.salt) for at in range(6)] for name in NAMES])
BLOCK: Final = 16_384
MOST_RECORDS: Final = 8
"""Records that one payment may touch: account, destination, asset, group, device, network, actor, and the population."""


def payments(count: int, since_us: int, step_us: int, seed: int) -> F8:
    """Payments of all accounts, each to destinations that it knows."""
    chance = np.random.default_rng(seed)
    row = np.zeros(EVENT_WIDTH)
    one = observation("withdrawal.requested", since_us, account="a", destination="d", asset="eth", amount_usd=1.0)
    write_row(row, one, SETTINGS.salt)
    rows = np.repeat(row[None], count, 0)
    who = chance.integers(0, len(NAMES), count)
    rows[:, E_ACCOUNT] = ACCOUNTS_OF[who]
    rows[:, E_DESTINATION] = KNOWN[who, chance.integers(0, KNOWN.shape[1], count)]
    rows[:, E_AMOUNT_USD] = np.round(chance.lognormal(4, 0.6, count), 2)
    rows[:, E_AT_US] = rows[:, E_RECEIVED_US] = since_us + np.arange(count) * step_us
    return rows


def storm(count: int, since_us: int, seed: int) -> F8:
    """Ordinary amounts of the first account, each to a destination that nobody ever saw."""
    rows = payments(count, since_us, 3600 * SECOND // STORM, seed)
    rows[:, E_ACCOUNT] = ACCOUNTS_OF[0]
    rows[:, E_DESTINATION] = np.random.default_rng(seed).integers(1 << 51, 1 << 52, count)
    return rows


def scored(engine: Engine, rows: F8) -> F8:
    out = np.empty((len(rows), OUT_WIDTH))
    engine.process_rows(rows, out, np.empty((0, VERDICT_WIDTH)))
    return out


def under_incident(engine: Engine, kind: RecordKind) -> None:
    told = msgspec.json.encode(Entities((f"account:{NAMES[0]}",)))
    engine.apply(LearningRecord(engine.sequence + 1, kind, None, told, ENGINE_VERSION, SETTINGS.digest()))


class Played:
    """Two weeks of ordinary payments, then the storm or nothing, then another two days of the ordinary."""

    def __init__(self, size: int) -> None:
        self.engine = Engine(SETTINGS, shipped())
        scored(self.engine, payments(4000, NOW, USUAL_STEP_US, 1))
        state, since = self.engine._state, NOW + 14 * DAY
        self.before = self.own_record()
        self.arena, touched = state.arena.nbytes, int(state.places.meta[-1, 0])
        self.learned = 0
        if size:
            out = scored(self.engine, storm(UNTIL_INCIDENT, since, 2))
            self.learned = int((out[:, O_OPERATION] == 0.0).sum())
            under_incident(self.engine, RecordKind.INCIDENT_OPENED)
            for start in range(UNTIL_INCIDENT, size, BLOCK):
                rows = storm(min(BLOCK, size - start), since + start * (3600 * SECOND // STORM), start)
                rows[:, E_HISTORY], rows[:, E_FROZEN] = 1.0, 1.0  # as replay does: that it is skipped is known
                self.learned += int((scored(self.engine, rows)[:, O_OPERATION] == 0.0).sum())
            under_incident(self.engine, RecordKind.INCIDENT_CLOSED)
        self.touched = int(state.places.meta[-1, 0]) - touched
        self.after = self.own_record()
        rows = payments(600, since + 2 * HOUR, USUAL_STEP_US, 3)
        self.others = scored(self.engine, rows)[rows[:, E_ACCOUNT] != ACCOUNTS_OF[0]]

    def own_record(self) -> F8:
        state = self.engine._state
        return state.record(ACCOUNTS, find(state.places, ACCOUNTS, ACCOUNTS_OF[0])).copy()

    def used(self) -> int:
        return int(self.engine._state.places.meta[DESTINATIONS, M_USED])


@pytest.fixture(scope="module")
def quiet() -> Played:
    return Played(0)


@pytest.fixture(scope="module")
def stormed() -> Played:
    return Played(STORM)


def test_memory_is_bounded_and_an_event_costs_the_same(stormed: Played) -> None:
    assert stormed.engine._state.arena.nbytes == stormed.arena
    assert stormed.used() > STORM // 2, "it really came to a million destinations"
    assert stormed.used() <= CAPACITY[Kind.DESTINATION]
    assert stormed.touched <= MOST_RECORDS * STORM


def test_the_storm_is_held_at_once_and_not_learned(stormed: Played) -> None:
    assert stormed.learned < 50
    assert stormed.after[LEARNED] - stormed.before[LEARNED] == stormed.learned
    assert stormed.after[NEW_DESTINATION] < 0.5, "a new destination is still news"


def test_nobody_else_loses_a_destination_to_it(stormed: Played) -> None:
    places = stormed.engine._state.places
    lost = [key for known in KNOWN[1:] for key in known if find(places, DESTINATIONS, float(key)) == NONE]
    assert not lost


def test_scores_of_other_accounts_stay_as_they_would_have_been(quiet: Played, stormed: Played) -> None:
    assert len(quiet.others) == len(stormed.others) > 500
    assert np.array_equal(quiet.others[:, O_DECISION], stormed.others[:, O_DECISION])
    moved = np.abs(quiet.others[:, O_SCORE] - stormed.others[:, O_SCORE])
    assert np.median(moved) < 0.01
    assert moved.mean() < 0.05


def test_a_theft_from_the_stormed_account_is_still_held(stormed: Played) -> None:
    row = payments(1, NOW + 20 * DAY, SECOND, 9)
    row[:, E_ACCOUNT], row[:, E_DESTINATION], row[:, E_AMOUNT_USD] = ACCOUNTS_OF[0], 4711.0, 50_000.0
    assert scored(stormed.engine, row)[0, O_DECISION] == 2.0
