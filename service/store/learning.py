"""Reading the learning sequence and the stored baselines, for replay."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, select

from rules.learning import LearningRecord, StateChange
from service.store.tables.activity import baselines, learning

_AT_ONCE: Final = 1000


def records(connection: Connection) -> Iterator[LearningRecord]:
    """Yield every row of the sequence in order, without holding them all."""
    query = select(learning).order_by(learning.c.seq).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query):
        yield LearningRecord(row.seq, row.kind, row.operation, row.payload, row.engine_version, row.settings_digest)


def stored_baselines(connection: Connection) -> Iterator[StateChange]:
    """Yield every stored baseline."""
    query = select(baselines).order_by(baselines.c.kind, baselines.c.entity).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query):
        yield StateChange(row.kind, row.entity, row.state)
