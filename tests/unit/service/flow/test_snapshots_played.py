"""Two processes on one sequence, seeded: commits and snapshots fail, engines are given up, batches are scored ahead.

Whatever happens, every snapshot that is stored is byte for byte what the sequence gives up to its number, and no snapshot
is older than the one before.
"""

import asyncio
import hashlib
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest

from rules.baseline import tables
from rules.baseline.layout import Kind
from rules.engine import ENGINE_VERSION, Engine
from rules.errors import CapacityError
from rules.learning import LearningRecord
from rules.loader import DetectorSet
from rules.observation import Observation, encode
from rules.replay import compare, replay
from rules.settings import EngineSettings
from service.domain.intake import LearningRequest
from service.flow.intake import snapshots
from service.flow.intake.keeper import EngineKeeper
from service.ports.store.intake import Facts, IntakeTurn, Writes
from tests.support.baselines import Database, MemoryBaselines
from tests.unit.rules.scenario import NOW, SECOND, observation

SETTINGS = EngineSettings(salt="of this play", max_accounts=40)
NONE = DetectorSet((), "none")
SMALL = {
    Kind.DESTINATION: 64,
    Kind.ACTOR: 32,
    Kind.ASSET: 16,
    Kind.PEER_GROUP: 8,
    Kind.DEVICE: 32,
    Kind.NETWORK: 32,
}
KINDS = (
    *("withdrawal.requested",) * 6,
    "withdrawal.failed",
    "deposit.confirmed",
    "signing.requested",
    "access.login_succeeded",
)
TURNS = 40
PROCESSES = 2

Batch = tuple[list[LearningRecord], int]


class Turn:
    """The part of a turn that an engine is brought up to date by."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows_after(self, seq: int, limit: int) -> Sequence[LearningRecord]:
        await self._database.wait()
        return self._database.log[seq : seq + limit]


class Play:
    """One play."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- a play that can be repeated
        self.database = Database(self.random.random)
        self.turn = asyncio.Lock()
        self.events = self.requests = 0

    def observed(self) -> Observation:
        """An event among few entities, of which the pools have no room for all."""
        chance = self.random
        self.events += 1
        kind = chance.choice(KINDS)
        told: dict[str, object] = {"actor": f"p{chance.randrange(40)}", "device": f"v{chance.randrange(40)}"}
        if not kind.startswith("access"):
            told |= {
                "account": f"a{chance.randrange(45)}",
                "destination": f"eip155:1:0x{chance.randrange(200):040x}",
                "asset": f"coin-{chance.randrange(20)}",
                "amount_usd": chance.choice([10.0, 1e3, 9e6]),
            }
        counts = chance.random() < 0.9
        at = NOW + self.events * SECOND
        return observation(kind, at, event_id=f"e{self.events}", counts=counts, ip=f"10.{at % 40}.0.1", **told)

    def requested(self) -> list[LearningRequest]:
        """What people ask for, of which some is refused."""
        found = []
        for _ in range(self.random.choice([0, 0, 1, 2])):
            self.requests += 1
            account = f"a{self.random.randrange(45)}"
            kind, payload = self.random.choice(
                [
                    (
                        "verdict",
                        {"verdict": "true_positive", "detectors": ["d"], "account": account, "occurred_at_us": NOW},
                    ),
                    (
                        "verdict",
                        {"verdict": "false_positive", "detectors": ["d"], "occurred_at_us": NOW, "judged": [1.0]},
                    ),
                    ("peer_group", {"account": account, "peer_group": "g"}),
                    ("incident_opened", {"entities": [f"account:{account}"]}),
                    ("incident_closed", {"entities": [f"account:{account}"]}),
                ]
            )
            found.append(LearningRequest(self.requests, kind, "s", json.dumps(payload).encode()))
        return found

    def scored(self, keeper: EngineKeeper, engine: Engine, writes: Writes, requests: list[LearningRequest]) -> Batch:
        """The rows that a batch adds to the sequence, and the number of the last."""
        keeper.take_requests(engine, requests, writes)
        rows = [row for row, _ in writes.learning]
        seq = engine.sequence
        told = [self.observed() for _ in range(self.random.choice([0, 1, 3, 20]))]
        for one, found in zip(told, engine.process_all(told, [False] * len(told)) if told else [], strict=True):
            if not isinstance(found, CapacityError):
                seq += 1
                rows.append(
                    LearningRecord(seq, "activity", found[1].value, encode(one), ENGINE_VERSION, engine.settings_digest)
                )
        return rows, seq

    def facts(self, last: int, saved: int) -> Facts:
        return Facts({}, {}, {}, last=last, saved=saved)

    async def batches(self, keeper: EngineKeeper) -> None:
        """Some batches with the turn, each maybe scored while the one before it is written."""
        database = self.database
        saved = database.seq
        await database.wait()  # facts may be older than what is stored by now
        facts, engine = self.facts(len(database.log), saved), keeper._engine
        if not keeper.near(facts):
            assert keeper._engine is engine or engine is None or engine.sequence == 0, (
                "no engine is given up for old facts"
            )
            return
        writes = Writes(datetime.now(UTC))
        current = await keeper.up_to_date(cast("IntakeTurn", Turn(database)), facts, writes)
        batch: Batch | None = self.scored(keeper, current, writes, self.requested())
        while batch is not None:
            rows, upto = batch
            keeper.copy()
            saved = database.seq
            await database.wait()
            batch = self.ahead(keeper, upto, saved)
            await database.wait()
            if self.random.random() < 0.1:
                keeper.undo()  # it was not stored
                return
            database.log.extend(rows)
            keeper.committed(upto, saved, rows[-1].payload if rows else None)
            await database.wait()
        keeper.undo()

    def ahead(self, keeper: EngineKeeper, upto: int, saved: int) -> Batch | None:
        engine = keeper.for_going_on(self.facts(upto, saved)) if self.random.random() < 0.7 else None
        assert keeper._engine is not None, "no engine is given up for old facts"
        return None if engine is None else self.scored(keeper, engine, Writes(datetime.now(UTC)), [])

    async def process(self) -> None:
        keeper = EngineKeeper(MemoryBaselines(self.database), NONE, SETTINGS)
        for _ in range(TURNS):
            what = self.random.random()
            if what < 0.75:
                await keeper.prepare()
                async with self.turn:
                    await self.batches(keeper)
            elif what < 0.95:
                await keeper.follow()
            else:
                keeper.forget()
            await self.database.wait()
        await keeper.stop()

    async def all(self) -> None:
        await asyncio.gather(*(self.process() for _ in range(PROCESSES)))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pools, snapshots that are always due, and few records that are copied at once."""
    for kind, most in SMALL.items():
        monkeypatch.setitem(tables.CAPACITY, kind, most)
    for name, value in {"EVERY_ROWS": 20, "EVERY_S": 0.0, "RETRY_S": 0.0, "COPIED": 3, "COPIED_IDLE": 20}.items():
        monkeypatch.setattr(snapshots, name, value)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("seed", range(12))
def test_what_is_stored_is_what_the_sequence_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    play, wrong = Play(seed), []
    genuine = MemoryBaselines.save

    async def checked(store: MemoryBaselines, *given: object, **named: object) -> int | None:
        before = len(play.database.moves)
        found = await genuine(store, *given, **named)  # type: ignore[arg-type]  # handed on
        if len(play.database.moves) > before:
            upto = play.database.log[: play.database.seq]
            wrong.extend(compare(replay(upto, SETTINGS, NONE), play.database.changes()))
        return found

    monkeypatch.setattr(MemoryBaselines, "save", checked)
    asyncio.run(play.all())
    assert wrong == []
    assert len(play.database.moves) > 3, "snapshots were stored"
    assert all(before < after for before, after in play.database.moves)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("others", [0, 3, 10, 40], ids=["fewer rows", "still fewer", "as many", "more rows"])
def test_a_database_that_lost_its_last_rows_is_followed_however_many_came_since(others: int) -> None:
    """A standby that lagged takes over: numbers say nothing, so the engine is held against the row it stands at."""
    play = Play(others)
    database = play.database

    async def add(keeper: EngineKeeper, count: int) -> None:
        await keeper.prepare()
        facts = play.facts(len(database.log), database.seq)
        facts.head = hashlib.sha256(database.log[-1].payload).digest() if database.log else b""
        while not keeper.near(facts):
            await keeper.prepare()
        writes = Writes(datetime.now(UTC))
        engine = await keeper.up_to_date(cast("IntakeTurn", Turn(database)), facts, writes)
        rows, seq = [row for row, _ in writes.learning], engine.sequence
        for one in [play.observed() for _ in range(count)]:
            ((_, operation),) = engine.process_all([one], [False])  # type: ignore[misc]  # there is room
            seq += 1
            rows.append(
                LearningRecord(seq, "activity", operation.value, encode(one), ENGINE_VERSION, engine.settings_digest)
            )
        database.log.extend(rows)
        keeper.committed(seq, database.seq, rows[-1].payload if rows else None)

    async def all_of_it() -> None:
        roomy = msgspec.structs.replace(SETTINGS, max_accounts=400)
        lagging, other = (EngineKeeper(MemoryBaselines(database), NONE, roomy) for _ in range(2))
        await add(lagging, 20)
        del database.log[-10:]
        await add(other, others)
        first = lagging._engine
        await lagging.follow()
        await add(lagging, 1)
        assert lagging._engine is not first
        await lagging.follow()
        await lagging.stop()
        assert lagging._engine is not None
        assert compare(replay(database.log, roomy, NONE), lagging._engine.snapshot()) == []
        assert compare(replay(database.log[: database.seq], roomy, NONE), database.changes()) == []

    asyncio.run(all_of_it())
