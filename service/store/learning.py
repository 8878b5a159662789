"""Reading the learning sequence, what was said of each activity in it, and the stored baselines, for replay."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from rules.learning import LearningRecord, StateChange
from service.store.tables.activity import activities, learning
from service.store.tables.baseline import baseline_snapshot, baselines

_AT_ONCE: Final = 1000


def snapshot_at(connection: Connection) -> int:
    """Return the sequence number at which the stored baselines stand; 0 when none are stored."""
    return int(connection.execute(select(baseline_snapshot.c.seq)).scalar_one())


def records(connection: Connection, *, after: int = 0, up_to: int | None = None) -> Iterator[LearningRecord]:
    """Yield the rows of the sequence in order, without holding them all."""
    query = select(learning).where(learning.c.seq > after).order_by(learning.c.seq)
    if up_to is not None:
        query = query.where(learning.c.seq <= up_to)
    query = query.execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query):
        yield LearningRecord(row.seq, row.kind, row.operation, row.payload, row.engine_version, row.settings_digest)


class Said(NamedTuple):
    """What is stored as said of one activity."""

    activity_id: str
    score: float
    p_value: float
    reasons: str
    """JSON of `rules.signal.Reason`, those of detectors too."""


def said_of(connection: Connection) -> Iterator[tuple[LearningRecord, Said | None]]:
    """Yield every row of the sequence in order, with what is stored of its activity; None where nothing was said."""
    query = (
        select(learning, activities.c.id, activities.c.score, activities.c.p_value, activities.c.reasons)
        .outerjoin(activities, (activities.c.id == learning.c.subject) & (activities.c.seq == learning.c.seq))
        .order_by(learning.c.seq)
        .execution_options(yield_per=_AT_ONCE)
    )
    for row in connection.execute(query):
        record = LearningRecord(row.seq, row.kind, row.operation, row.payload, row.engine_version, row.settings_digest)
        said = None if row.score is None else Said(row.id, row.score, row.p_value, row.reasons)
        yield record, said


def stored_baselines(connection: Connection) -> Iterator[StateChange]:
    """Yield every stored baseline."""
    query = select(baselines).order_by(baselines.c.kind, baselines.c.entity).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query):
        yield StateChange(row.kind, row.entity, row.state)
