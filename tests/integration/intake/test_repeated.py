"""Which alerts stand for what happens again: those of incidents that nobody takes to be over."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, update

from service.clock import SystemClock
from service.domain.ids import IncidentId
from service.domain.secrets import Secret
from service.store.database import SqlDatabase, create
from service.store.grants import API
from service.store.intake import connect
from service.store.tables.incident import incidents, plans, steps
from tests.integration.api.rows import add_step
from tests.support.incidents import CONNECTION, add_alert, add_connection, add_incident
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers


def nothing(_: Connection, __: str) -> None:
    pass


def closed(at: Connection, _: str) -> None:
    at.execute(update(incidents).values(state="closed"))


def asked(at: Connection, incident: str, state: str = "waiting_approval") -> None:
    add_step(at, incident, effect="loosens", action="resume_withdrawals")
    at.execute(update(plans).values(alerts=1))
    at.execute(update(steps).values(state=state))


def in_vain(at: Connection, incident: str) -> None:
    asked(at, incident, "refused")


def told_since(at: Connection, incident: str) -> None:
    asked(at, incident, "done")
    at.execute(update(plans).values(alerts=0))


@pytest.mark.parametrize(
    ("happened", "stands"), [(nothing, True), (closed, False), (asked, False), (in_vain, True), (told_since, True)]
)
def test_an_alert_stands_until_its_incident_is_closed_or_to_be_loosened(
    fresh_postgres_url: str, happened: Callable[[Connection, str], None], *, stands: bool
) -> None:
    db = SqlDatabase(create(Secret(fresh_postgres_url), pool_size=1), SystemClock())
    with db.begin() as uow:
        add_connection(uow.connection)
        entities = (f"account:{CONNECTION}/hot-1",)
        incident = IncidentId(add_incident(uow.connection, entities))
        (alert,) = uow.incidents.alerts_of(incident)
        waiting = add_alert(uow.connection, None, entities)
        happened(uow.connection, incident)
    db.engine.dispose()

    async def standing() -> set[str]:
        store = await connect(Secret(url_of_role(fresh_postgres_url, API)), size=1)
        async with store.turn() as turn:
            found = await turn.standing_alerts([alert.dedup_key, waiting], datetime.now(UTC) - timedelta(minutes=10))
        await store.close()
        return set(found.values())

    assert asyncio.run(standing()) == ({alert.id, waiting} if stands else {waiting})
