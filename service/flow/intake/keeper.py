"""Keeps this process's engine at the head of the learning sequence (design D3).

Rules: the engine is only touched while the sequence is locked, and never runs ahead of what is stored: after any failed
batch it is forgotten and built again from the stored baselines. What other processes added is applied row by row. The
settings and rule set in force are rows of the sequence; the stored settings win over this process's defaults.
"""

import json
import secrets
from typing import Final

import msgspec

from rules.engine import ENGINE_VERSION, Engine
from rules.errors import LearningRecordError, RulesError
from rules.health import Health
from rules.learning import LearningRecord, RecordKind
from rules.loader import DetectorSet
from rules.settings import EngineSettings
from service.domain.errors import ConfigurationError
from service.domain.intake import LearningRequest
from service.ports.store.intake import IntakeTransaction, Writes

REFUSED: Final = 0
"""The sequence number of a request that could not be applied."""
_WITH_ENTITIES: Final = frozenset({RecordKind.INCIDENT_OPENED.value, RecordKind.INCIDENT_CLOSED.value})


class EngineKeeper:
    """Builds, brings up to date and forgets the engine."""

    def __init__(self, detectors: DetectorSet, defaults: EngineSettings | None = None) -> None:
        self._detectors = detectors
        self._defaults = defaults
        self._engine: Engine | None = None

    def forget(self) -> None:
        """Drop the engine; the next batch builds it again from the store."""
        self._engine = None

    def use(self, detectors: DetectorSet) -> None:
        """Put a set of detectors in force from the next batch on, which adds its row to the sequence."""
        self._detectors = detectors
        self.forget()

    def health(self) -> Health | None:
        """Return how well the engine's promises hold; None while there is no engine."""
        return None if self._engine is None else self._engine.health()

    async def up_to_date(self, transaction: IntakeTransaction, last: int, writes: Writes) -> Engine:
        """Return the engine at sequence number `last`; call with the sequence locked.

        Rows that a first start or a new rule set adds to the sequence go into `writes`.
        Raises ConfigurationError when what is stored cannot be read by this version.
        """
        engine = self._engine
        if engine is None or engine.sequence > last:
            engine = self._engine = await self._built(transaction, last, writes)
        elif engine.sequence < last:
            for row in await transaction.rows_after(engine.sequence):
                engine.apply(row)
            engine.take_changes()
        return engine

    async def _built(self, transaction: IntakeTransaction, last: int, writes: Writes) -> Engine:
        control = await transaction.control_rows()
        stored = control.get(RecordKind.SETTINGS.value)
        settings = self._first_settings() if stored is None else msgspec.json.decode(stored, type=EngineSettings)
        engine = Engine(settings, self._detectors)
        try:
            found = False
            async for change in transaction.baselines():
                engine.load(change.entity, change.kind, change.state)
                found = True
        except RulesError as error:
            raise ConfigurationError(f"a stored baseline cannot be used: {error}") from error
        if found:
            engine.take_changes()
        engine.sequence = last
        if stored is None:
            self.append(engine, writes, RecordKind.SETTINGS.value, settings.encode(), "settings")
        rules = json.dumps({"digest": self._detectors.digest()}, sort_keys=True).encode()
        if control.get(RecordKind.RULES.value) != rules:
            self.append(engine, writes, RecordKind.RULES.value, rules, "rules")
        return engine

    def _first_settings(self) -> EngineSettings:
        # The salt keeps fingerprints of ids unguessable; it is drawn once and lives in the sequence from then on.
        return self._defaults or EngineSettings(salt=secrets.token_hex(16))

    @staticmethod
    def append(engine: Engine, writes: Writes, kind: str, payload: bytes, subject: str) -> int:
        """Apply one control row and add it to the sequence; return its number. Raises LearningRecordError."""
        row = LearningRecord(engine.sequence + 1, kind, None, payload, ENGINE_VERSION, engine.settings.digest())
        engine.apply(row)
        writes.learning.append((row, subject))
        return row.seq

    def take_requests(self, engine: Engine, requests: list[LearningRequest], writes: Writes) -> list[int]:
        """Give waiting requests their places; return the ids of those that cannot be applied, which are marked so."""
        refused = []
        for request in requests:
            try:
                seq = self.append(engine, writes, request.kind, _payload(request), request.subject)
            except LearningRecordError:
                seq = REFUSED
                refused.append(request.id)
            writes.requests.append((request.id, seq))
        return refused


def _payload(request: LearningRequest) -> bytes:
    """Return the payload as the sequence keeps it: of incidents only the entities, whatever else was told."""
    if request.kind not in _WITH_ENTITIES:
        return request.payload
    try:
        told = json.loads(request.payload)
        return json.dumps({"entities": told["entities"]}, sort_keys=True).encode()
    except (ValueError, KeyError, TypeError) as error:
        raise LearningRecordError(f"request {request.id} ({request.kind}): {error}") from error
