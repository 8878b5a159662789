"""The rows and chains that tracing starts from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from service.clock import SystemClock
from service.domain.ids import IncidentId, new_id
from service.domain.secrets import Secret
from service.flow import forensics
from service.flow.forensics import Tracer
from service.ports.tracing import AccountSource, OutputSource
from service.store.database import SqlDatabase, create
from service.store.tables.activity import activities, learning
from service.store.tables.incident import alerts, incidents
from service.store.tables.keys import accounts
from service.store.tables.proof import outbox
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident
from tests.support.regtest import Regtest
from tests.support.servers import url_of_role
from tests.support.traced_chain import TracedChain, traced_chain

LONG_S = 1e6
"""Longer than any test traces."""


@pytest.fixture(autouse=True)
def one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, what is traced is traced in one go."""
    monkeypatch.setattr(forensics, "SLICE_S", LONG_S)


@pytest.fixture
def anvil() -> Iterator[TracedChain]:
    with traced_chain() as chain:
        yield chain


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Regtest:
    chain = Regtest(tmp_path_factory.mktemp("regtest"))
    chain.grow(130)
    return chain


@dataclass
class Records:
    """The database as the containment worker and the API see it."""

    superuser: SqlDatabase
    worker: SqlDatabase
    api: SqlDatabase

    def incident(self, *addresses: str, since: datetime, ref: str = "hot-1") -> IncidentId:
        """An incident of one harmed account with these CAIP-10 addresses."""
        with self.superuser.begin() as uow:
            add_connection(uow.connection)
            account = add_account(uow.connection, ref)
            at = accounts.c.id == account
            uow.connection.execute(update(accounts).where(at).values(addresses=list(addresses)))
            identity = add_incident(uow.connection, (f"account:{CONNECTION}/{ref}",))
            uow.connection.execute(update(incidents).where(incidents.c.id == identity).values(first_harm_at=since))
        return IncidentId(identity)

    def activity(self, seq: int, kind: str, at: datetime, **told: Any) -> str:
        """An activity with its observation, as intake leaves them."""
        identity = new_id("act")
        row = {"id": identity, "connection_id": CONNECTION, "event_id": identity, "body_digest": b"", "kind": kind,
               "status": "scored", "occurred_at": at, "received_at": at, "raw": b"", "seq": seq,
               "account": told.pop("account", None), "actor": told.pop("actor", None),
               "transaction": told.pop("transaction", None), "decision": "allow"}  # fmt: skip
        observed = {"event_id": identity, "kind": kind, **told}
        with self.superuser.begin() as uow:
            uow.connection.execute(insert(activities).values(row))
            uow.connection.execute(
                insert(learning).values(
                    seq=seq, kind="activity", payload=json.dumps(observed).encode(), engine_version="1",
                    settings_digest="", at=at,
                )
            )  # fmt: skip
        return identity

    def alert_about(self, incident: IncidentId, activity: str) -> None:
        with self.superuser.begin() as uow:
            uow.connection.execute(update(alerts).where(alerts.c.incident_id == incident).values(activity_id=activity))

    def waiting(self) -> list[str]:
        with self.superuser.begin() as uow:
            return [row.event for row in uow.connection.execute(select(outbox).order_by(outbox.c.id))]

    def tracer(
        self, *, accounts: dict[str, AccountSource] | None = None, outputs: dict[str, OutputSource] | None = None
    ) -> Tracer:
        return Tracer(self.worker, accounts or {}, outputs or {}, SystemClock())


@pytest.fixture
def records(fresh_postgres_url: str) -> Iterator[Records]:
    clock = SystemClock()
    urls = (fresh_postgres_url, *(url_of_role(fresh_postgres_url, f"portcullis_{r}") for r in ("containment", "api")))
    found = Records(*(SqlDatabase(create(Secret(url), pool_size=2), clock) for url in urls))
    yield found
    for db in (found.superuser, found.worker, found.api):
        db.engine.dispose()


@pytest.fixture
def yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)
