"""Keeps this process's engine at the head of the learning sequence (design D3).

Rules: the engine is only added to while this process has the turn, and never stays ahead of what is stored: after a batch
that failed it is forgotten, and built again from the stored snapshot and the rows that follow it. That is done before the
turn is taken, so that nobody waits for it but this process, and so is catching up by more than a page of rows. What other
processes added is applied row by row, and never so many at once that the event loop stands. The settings and rule set in
force are rows of the sequence; the stored settings win over this process's defaults.
"""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from rules.engine import ENGINE_VERSION, Engine
from rules.errors import CapacityError, LearningRecordError, RulesError
from rules.health import Health
from rules.learning import LearningRecord, ListsInForce, RecordKind
from rules.loader import DetectorSet
from rules.settings import EngineSettings
from service.domain.approval import ActionDocument
from service.domain.errors import ConfigurationError, UnavailableError
from service.domain.intake import LearningRequest
from service.domain.listed import MAX_LISTS, Listings, in_force
from service.flow.intake.lists import KeptLists
from service.flow.intake.snapshots import Snapshots
from service.flow.intake.suspects import Suspects
from service.flow.intake.warrants import KINDS as WARRANTED
from service.flow.intake.warrants import Authorised, looked_up, nobody, warranted_change, warranted_row
from service.ports.store.baselines import BaselineStore, BaselineView
from service.ports.store.intake import Facts, IntakeTurn, Writes

REFUSED: Final = 0
"""The sequence number of a request that could not be applied."""
FOLLOWED: Final = 1000
"""Rows of other processes that are applied in one go."""
_WITH_ENTITIES: Final = frozenset({RecordKind.INCIDENT_OPENED.value, RecordKind.INCIDENT_CLOSED.value})
_TELL_S: Final = 2.0
_BREATHE: Final = 50
"""Rows after which a build lets others run."""

_log = structlog.get_logger(__name__)


class EngineKeeper:
    """Builds, brings up to date and forgets the engine; sees to its snapshots."""

    def __init__(
        self,
        store: BaselineStore,
        detectors: DetectorSet,
        defaults: EngineSettings | None = None,
        authorised: Authorised = nobody,
    ) -> None:
        self._store = store
        self._detectors = detectors
        self._defaults = defaults
        self._authorised = authorised
        self._documents: Mapping[int, ActionDocument] = {}
        self._snapshots = Snapshots(store)
        self._lists = KeptLists(store)
        self._listed: tuple[str, ...] = ()
        """The address lists that are in force where the engine stands."""
        self._engine: Engine | None = None
        self._committed = 0
        self._head: bytes | None = None
        """The payload of the last row that the engine has and that is committed."""
        self._suspects = Suspects()
        self._far = False
        """More than a page of rows behind, or just built."""
        self._rules: bytes | None = None
        """The newest rule set that this process has seen in the sequence or put there."""

    def forget(self) -> None:
        """Drop the engine; it is built again when it is needed."""
        self._engine = None
        self._snapshots.forget()

    def use(self, detectors: DetectorSet) -> None:
        """Put a set of detectors in force from the next batch on, which adds its row to the sequence.

        Not at once: a batch under way, or an engine that is being built, goes on with the set that it began with.
        """
        self._detectors = detectors

    def health(self) -> Health | None:
        """Return how well the engine's promises hold; None while there is no engine."""
        return None if self._engine is None else self._engine.health()

    def undo(self) -> None:
        """Forget the engine unless it stands at what is committed: after a transaction that failed for a known reason."""
        self._suspects.given_up()
        if self._engine is not None and self._engine.sequence != self._committed:
            self.forget()

    def blame_requests(self, *, alone: bool) -> bool:
        """A batch failed for no known reason, `alone`: of one item. Say whether that is worth trying with fewer requests."""
        return self._suspects.failed(alone=alone)

    @property
    def leaves_requests(self) -> bool:
        """Say whether the batch under way leaves out what people decided, because no batch with it could be stored."""
        return self._suspects.left_out

    def committed(self, upto: int, stored: int, head: bytes | None) -> None:
        """Note that the sequence is committed up to a number; `stored` is that of the stored snapshot.

        `head`: the payload of the last row that was added, if any was.
        """
        self._suspects.committed()
        if self._engine is None:
            return
        self._committed, self._head = upto, self._head if head is None else head
        self._snapshots.committed(upto, stored)

    def copy(self) -> None:
        """Copy some of what changed, if a snapshot is due, before facts are read; a batch may be under way."""
        if self._engine is not None:
            self._snapshots.copy(self._engine)

    def has(self, engine: Engine) -> bool:
        """Say whether this is still the engine."""
        return self._engine is engine

    def for_going_on(self, facts: Facts) -> Engine | None:
        """Return the engine when it may go on before what it did last is committed.

        Not when something comes in between: a new rule set, what others added.
        """
        if not self.near(facts):
            return None
        engine = self._engine
        if engine is None or engine.sequence != facts.last or engine.detectors is not self._detectors:
            return None
        return engine

    async def listings(self) -> Listings | None:
        """Return what the address lists say that are in force where the engine stands, None where none is.

        Raises ConfigurationError, UnavailableError.
        """
        return await self._lists.fetched(self._listed)

    def listings_at_hand(self) -> Listings | None:
        """Return them as the batch before had them, for one that goes on from it. Raises LookupError."""
        return self._lists.at_hand(self._listed)

    async def stop(self) -> None:
        """Store a last snapshot."""
        engine = self._engine
        at_rest = engine is not None and engine.sequence == self._committed
        await self._snapshots.stop(engine if at_rest else None)

    async def prepare(self) -> None:
        """Build the engine if there is none, and bring one that is far behind near the head of the sequence.

        Takes as long as reading the snapshot and applying the rows since; call without the turn.

        Raises ConfigurationError when this version cannot read what is stored, UnavailableError.
        """
        if self._engine is None:
            await self._build()
            self._far = True  # others went on meanwhile
        if self._far:
            await self._catch_up()
            self._far = False

    async def _build(self) -> None:
        async with self._store.view() as view:
            _check_version(view)
            try:
                self._engine = await self._built(view)
            except RulesError as error:
                raise ConfigurationError(f"the stored baselines cannot be used: {error}") from error
            self._snapshots.begin(view.seq, view.last)
            self._committed = view.last

    async def follow(self) -> None:
        """Apply what other processes added meanwhile, without the turn: what is committed never changes."""
        await self.prepare()
        await self._catch_up()
        self._keep_up(idle=True)

    async def _catch_up(self) -> None:
        engine = self._engine
        while engine is not None and engine is self._engine:
            rows = await self._following(engine, self._store)
            if rows is None or (rows and engine.sequence == 0):
                self.forget()  # or another process was the first: its settings are in force from the first row on
                return
            await self._follow(engine, rows)
            self._committed = engine.sequence
            if len(rows) < FOLLOWED:
                return
            self._keep_up(idle=False)

    async def _following(self, engine: Engine, source: BaselineStore | IntakeTurn) -> Sequence[LearningRecord] | None:
        """Return the rows that follow the engine's last, at most a page; None when that one is not the engine's.

        Then rows were lost, with a standby that lagged or a backup, and maybe others took their numbers since.
        """
        rows = await source.rows_after(max(0, engine.sequence - 1), FOLLOWED + 1)
        if engine.sequence == 0:
            return rows
        if not rows or rows[0].seq != engine.sequence or (self._head is not None and rows[0].payload != self._head):
            _log.error("intake.set_back", sequence=engine.sequence)
            return None
        return rows[1:]

    def _keep_up(self, *, idle: bool) -> None:
        """See to snapshots of an engine that stands at what is committed."""
        if self._engine is not None:
            self._snapshots.copy(self._engine, idle=idle)
            self._snapshots.committed(self._committed)

    def near(self, facts: Facts) -> bool:
        """Say whether the engine can be brought up to date within the turn; if not, `prepare` has to be called without.

        Forgets an engine that does not continue the stored sequence.
        """
        engine = self._engine
        set_back = engine is not None and (
            engine.sequence > facts.last or not self._snapshots.fits(facts.saved) or self._is_other(facts)
        )
        # Another process was the first: its settings, not those drawn here, are in force from the first row on.
        overtaken = engine is not None and engine.sequence == 0 < facts.last
        if engine is None or set_back or overtaken:
            self.forget()
            return False
        self._far = facts.last - engine.sequence > FOLLOWED
        return not self._far

    def _is_other(self, facts: Facts) -> bool:
        """Say whether another row stands where the engine's last one stood."""
        here = self._engine is not None and self._engine.sequence == facts.last == self._committed
        return bool(
            here and facts.head and self._head is not None and hashlib.sha256(self._head).digest() != facts.head
        )

    async def up_to_date(self, turn: IntakeTurn, facts: Facts, writes: Writes) -> Engine:
        """Return the engine at the last sequence number; call with the turn, once it is `near`.

        Rows that a first start or a new rule set adds to the sequence go into `writes`. Raises ConfigurationError.
        """
        engine = self._engine
        if engine is None:
            raise UnavailableError("the engine was given up meanwhile: send it again", retry_after_s=1)
        if engine.sequence < facts.last:
            rows = await self._following(engine, turn)
            if rows is None:
                self.forget()
                raise UnavailableError("the engine is built anew: send it again", retry_after_s=1)
            await self._follow(engine, rows)
        self._committed = engine.sequence
        if engine.detectors is not self._detectors:
            engine.use(self._detectors)
        self._announce(engine, writes)
        self._documents = await looked_up(facts.requests, self._authorised)
        return engine

    async def _follow(self, engine: Engine, rows: Sequence[LearningRecord]) -> None:
        """Apply rows, and let others run between them."""
        for start in range(0, len(rows), _BREATHE):
            _apply(engine, rows[start : start + _BREATHE])
            await asyncio.sleep(0)
        for row in rows:
            self._head = row.payload
            if row.kind == RecordKind.LISTS.value:
                self._listed = in_force(row.payload)
            elif row.kind == RecordKind.RULES.value:
                self._rules = row.payload

    def _announce(self, engine: Engine, writes: Writes) -> None:
        if engine.sequence == 0:
            self.append(engine, writes, RecordKind.SETTINGS.value, engine.settings.encode(), "settings")
        rules = json.dumps({"digest": engine.detectors.digest()}, sort_keys=True).encode()
        if self._rules != rules:
            self.append(engine, writes, RecordKind.RULES.value, rules, "rules")
            self._rules = rules  # a batch that fails forgets the engine, and building it reads this again

    async def _built(self, view: BaselineView) -> Engine:
        began = told = time.monotonic()
        before = (await view.control_rows(view.seq)).get(RecordKind.SETTINGS.value)
        settings = self._first_settings() if before is None else msgspec.json.decode(before, type=EngineSettings)
        engine = Engine(settings, self._detectors)
        loaded = 0
        async for change in view.changes():
            engine.load(change.entity, change.kind, change.state)
            loaded += 1
            if loaded % _BREATHE == 0:
                await asyncio.sleep(0)
        if loaded:
            engine.take_changes()
        engine.sequence, self._head = view.seq, view.head
        async for row in view.rows():
            _apply(engine, (row,))
            self._head = row.payload
            if row.seq % _BREATHE == 0:
                await asyncio.sleep(0)
                if time.monotonic() - told >= _TELL_S:
                    told = time.monotonic()
                    _log.info("intake.recovering", sequence=row.seq, of=view.last)
        newest = await view.control_rows()
        self._rules, self._listed = newest.get(RecordKind.RULES.value), in_force(newest.get(RecordKind.LISTS.value))
        rows, seconds = view.last - view.seq, round(time.monotonic() - began, 3)
        _log.info("intake.engine_built", snapshot=view.seq, records=loaded, rows_applied=rows, seconds=seconds)
        return engine

    def _first_settings(self) -> EngineSettings:
        # The salt keeps fingerprints of ids unguessable; it is drawn once and lives in the sequence from then on.
        return self._defaults or EngineSettings(salt=secrets.token_hex(16))

    @staticmethod
    def append(engine: Engine, writes: Writes, kind: str, payload: bytes, subject: str) -> int:
        """Apply one control row and add it to the sequence; return its number. Raises LearningRecordError."""
        row = LearningRecord(engine.sequence + 1, kind, None, payload, ENGINE_VERSION, engine.settings_digest)
        engine.apply(row)
        writes.learning.append((row, subject))
        return row.seq

    def take_requests(self, engine: Engine, requests: Sequence[LearningRequest], writes: Writes) -> list[int]:
        """Give waiting requests their places; return the ids of those that cannot be applied, which are marked so."""
        refused = []
        for request in self._suspects.admitted(requests):
            try:
                payload = self._payload(request, engine.settings)
                seq = self.append(engine, writes, request.kind, payload, request.subject)
            except (LearningRecordError, CapacityError):
                seq = REFUSED
                refused.append(request.id)
            writes.requests.append((request.id, seq))
        return refused

    def _payload(self, request: LearningRequest, settings: EngineSettings) -> bytes:
        """Return the payload as the sequence keeps it: of incidents only the entities, whatever else was told."""
        if self._suspects.broken(request):
            raise LearningRecordError(f"request {request.id} ({request.kind}): no batch with it can be stored")
        if request.kind == RecordKind.LISTS.value:
            return self._listed_after(request)
        if request.kind in WARRANTED:
            return warranted_row(request, self._documents, settings)
        if request.kind not in _WITH_ENTITIES:
            return request.payload
        try:
            told = json.loads(request.payload)
            return json.dumps({"entities": told["entities"]}, sort_keys=True).encode()
        except (ValueError, KeyError, TypeError) as error:
            raise LearningRecordError(f"request {request.id} ({request.kind}): {error}") from error

    def _listed_after(self, request: LearningRequest) -> bytes:
        """Put one list more or less in force: the row names them all, so that the newest row says everything."""
        names = warranted_change(request, self._documents).after(self._listed)
        if len(names) > MAX_LISTS:
            raise LearningRecordError(f"request {request.id} ({request.kind}): more than {MAX_LISTS} lists")
        self._listed = names
        return msgspec.json.encode(ListsInForce(names))


def _check_version(view: BaselineView) -> None:
    if view.seq and view.engine_version != ENGINE_VERSION:
        raise ConfigurationError(
            f"the stored baselines are of engine {view.engine_version}, this is engine {ENGINE_VERSION}, which reads them"
            " differently: run the version that wrote them"
        )
    if view.seq > view.last:
        raise ConfigurationError(
            f"the stored baselines are those of row {view.seq} of the learning sequence, which ends at row {view.last}: rows"
            " were lost or only a part of a backup was restored; restore both of one moment (docs/concepts/intake.md)"
        )


def _apply(engine: Engine, rows: Iterable[LearningRecord]) -> None:
    for row in rows:
        if row.engine_version != ENGINE_VERSION:
            raise ConfigurationError(
                f"row {row.seq} of the learning sequence was written by engine {row.engine_version}, this is engine"
                f" {ENGINE_VERSION}: all processes of one database must run the same version"
            )
        try:
            engine.apply(row)
        except RulesError as error:
            raise ConfigurationError(f"the learning sequence cannot be applied: {error}") from error
