"""What the tests of response share: channels and on-call people as rows, and a channel that a test makes fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, insert, select, update

from service.domain.ids import IncidentId, MessageId
from service.flow.notify import delivery
from service.ports.notify import Letter
from service.store.tables.attention import messages, timers
from service.store.tables.proof import outbox, timeline
from service.store.tables.registry import channels, people
from tests.support.authority import House
from tests.support.incidents import add_connection, add_incident

CONTAINMENT = "portcullis_containment"


@dataclass
class FakeChannel:
    """Takes letters, or raises what it was told to, one after the other."""

    letters: list[Letter] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        if self.errors:
            raise self.errors.pop(0)
        self.letters.append(letter)
        return {"id": str(len(self.letters))}


def superuser_do(house: House, statement: Any) -> Sequence[Any]:
    from service.domain.secrets import Secret  # noqa: PLC0415  beside what it serves
    from service.store.database import SqlDatabase, create  # noqa: PLC0415  as above

    if "superuser" not in house.databases:
        house.databases["superuser"] = SqlDatabase(create(Secret(house.superuser_url), pool_size=2), house.clock)
    with house.databases["superuser"].begin() as uow:
        result = uow.connection.execute(statement)
        return result.all() if result.returns_rows else ()


def rows(house: House, table: Table, **equal: object) -> Sequence[Any]:
    wanted = select(table).where(*(table.c[name] == value for name, value in equal.items()))
    return superuser_do(house, wanted.order_by(next(iter(table.primary_key))))


def equip(house: House) -> IncidentId:
    """Channels page, mail, staff and users; the first person is on call at level 1, the second at level 2."""
    now = house.clock.now()
    for name, kind, audiences in (
        ("mail", "smtp", []),
        ("page", "webhook", []),
        ("staff", "slack", ["responders"]),
        ("users", "webhook", ["users"]),
    ):
        config = {"audiences": audiences, "recipient": "everybody" if audiences else ""}
        superuser_do(house, insert(channels).values(id=name, kind=kind, config=config, created_at=now))
    for level, person in enumerate(list(house.phones)[:2], 1):
        routes = [{"channel": "page", "recipient": f"pager-{level}"}]
        superuser_do(house, update(people).where(people.c.id == person).values(oncall_level=level, channels=routes))
    with house.databases["superuser"].begin() as uow:
        add_connection(uow.connection)
        return IncidentId(add_incident(uow.connection, ("account:con-a/hot-1",)))


def deliver_all(house: House, found: Mapping[str, FakeChannel]) -> None:
    for row in rows(house, messages, state="queued"):
        delivery.deliver(house.database(CONTAINMENT), found, house.office.public_key_pem, MessageId(row.id), "worker-1")


def fake_channels() -> dict[str, FakeChannel]:
    return {name: FakeChannel() for name in ("mail", "page", "staff", "users")}


def said(house: House, incident: str) -> list[str]:
    return [row.kind for row in rows(house, timeline, incident_id=incident)]


def events(house: House) -> list[str]:
    return [row.event for row in rows(house, outbox)]


def waiting_timers(house: House) -> dict[str, Any]:
    return {row.kind: row for row in rows(house, timers) if row.fired_at is None and row.cancelled_at is None}
