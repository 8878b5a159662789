"""Rebuild baselines from the learning sequence, and compare them with what was stored.

Rules: replay reads rows and nothing else; the same rows give the same bytes, whatever the hash seed, the clock or the
order in which entities first came. A difference names the record and where its bytes part.
"""

from collections.abc import Iterable

import msgspec

from rules.engine import ENGINE_VERSION, Engine
from rules.errors import LearningRecordError
from rules.learning import LearningRecord as LearningRecord  # noqa: PLC0414 -- part of this module's interface
from rules.learning import StateChange
from rules.loader import DetectorSet
from rules.settings import EngineSettings


class Difference(msgspec.Struct, frozen=True):
    """One record that is not what the sequence gives. ``at_byte`` is -1 when one side is missing."""

    kind: int
    entity: str
    problem: str
    at_byte: int = -1


def replay(records: Iterable[LearningRecord], settings: EngineSettings, detectors: DetectorSet) -> Engine:
    """An engine that applied the rows in order.

    ``settings`` are those in force before the first row. Raises :class:`LearningRecordError` when a row was written by
    another engine version: its bytes cannot be promised.
    """
    engine = Engine(settings, detectors)
    for record in records:
        if record.engine_version != ENGINE_VERSION:
            raise LearningRecordError(
                f"row {record.seq} was written by engine {record.engine_version}, this is {ENGINE_VERSION}: "
                "replay it with the version that wrote it"
            )
        engine.apply(record)
    return engine


def compare(engine: Engine, stored: Iterable[StateChange]) -> list[Difference]:
    """Every record in which the engine and the store differ, in order of kind and entity; empty when equal."""
    expected = {(change.kind, change.entity): change.state for change in engine.snapshot()}
    found: list[Difference] = []
    for change in stored:
        state = expected.pop((change.kind, change.entity), None)
        if state is None:
            found.append(Difference(change.kind, change.entity, "stored, but the sequence does not give it"))
        elif state != change.state:
            at = next((i for i, (a, b) in enumerate(zip(state, change.state, strict=False)) if a != b), -1)
            found.append(Difference(change.kind, change.entity, "differs", at))
    found += [Difference(kind, entity, "not stored") for kind, entity in expected]
    return sorted(found, key=lambda difference: (difference.kind, difference.entity))
