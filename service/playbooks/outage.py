"""Writes down whether a platform answered a step's calls (`domain/line.py`).

Rules: people are paged about a dead platform once, and told when it answers again; who did not call it gives its turn back.
"""

from service.domain.events import ConnectionLost
from service.domain.ids import ConnectionId, IncidentId
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork


def note_line(
    db: Database,
    connection: ConnectionId,
    incident: IncidentId,
    heard: bool | None,  # noqa: FBT001  yes, no or not asked
    *,
    troubled: bool,
) -> bool:
    """Note that a platform was heard or not, None when it was not called; `troubled` when it was not before.

    Say whether all was well before and is now: then nothing is written.
    """
    if heard is not False and not troubled:
        return True
    with db.begin() as uow:
        if heard is None:
            uow.lines.give_turn(connection)
        elif heard:
            ended = uow.lines.mend(connection)
            if ended is not None and ended.told:
                sentence = f"{connection} answers again"
                uow.record(_entry(uow, connection, incident, "connection.answers", sentence))
        elif uow.lines.fail(connection).is_dead and uow.lines.note_told(connection):
            sentence = f"{connection} answers nothing: its steps wait and are tried again, everyone on call is paged"
            event = ConnectionLost(connection, incident)
            uow.record(_entry(uow, connection, incident, "connection.lost", sentence), event)
    return False


def _entry(uow: UnitOfWork, connection: ConnectionId, incident: IncidentId, kind: str, sentence: str) -> Entry:
    facts = {"connection": connection}
    return Entry(kind=kind, at=uow.now, subject=connection, sentence=sentence, incident_id=incident, facts=facts)
