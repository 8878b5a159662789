"""A workspace's audit log asked for, kept, and taken by intake as access events: each line once, whatever dies between."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import httpx
import pytest

from service.custody.fireblocks.audit import AuditLog
from service.domain.errors import UnavailableError
from service.domain.ids import ConnectionId
from service.flow.intake.polled import PolledIntake
from service.flow.poll import Asking, poll
from service.ports.custody import ConnectionConfig, EventSource
from service.store.polled import PostgresPolledStore
from tests.integration.custody.conftest import PATIENT, Workspace
from tests.integration.drills.harness import API_KEY
from tests.support.fireblocks import WORKSPACE, pem, rsa_key
from tests.support.incidents import CONNECTION
from tests.support.intake import add_connection, running, seed

pytestmark = pytest.mark.servers
FB = ConnectionId(CONNECTION)


def log_of(workspace: Workspace) -> AuditLog:
    settings = {"api_base_url": workspace.drill.seeded["base_path"], "api_key": API_KEY}
    client = httpx.Client(timeout=PATIENT, trust_env=False)
    workspace.clients.append(client)
    config = ConnectionConfig(FB, "fireblocks", settings, lambda _: b"", ())
    return AuditLog(config, lambda m: workspace.token.sign(CONNECTION, m), client)


def asking(workspace: Workspace, source: Callable[[], EventSource]) -> Asking:
    return Asking(workspace.db, workspace.clock, lambda _: (source(), 60.0))


def connected(url: str) -> None:
    settings = {
        "poll_every_s": "60",
        "workspace_id": WORKSPACE,
        "tenant_id": "t",
        "webhook_public_key": pem(rsa_key("webhook")),
    }
    add_connection(url, CONNECTION, "fireblocks", settings, {})


def kept(workspace: Workspace) -> int:
    with workspace.db.begin() as uow:
        return int(uow.connection.exec_driver_sql("SELECT count(*) FROM polled_events").scalar_one())


def test_each_line_is_kept_once_and_asked_for_from_where_it_ended(alone: Workspace, fresh_postgres_url: str) -> None:
    connected(fresh_postgres_url)
    source = partial(log_of, alone)
    alone.world.log("u-1", "User", "Login failed", "Security")
    with alone.db.begin() as uow:
        assert uow.polling.due(10) == [FB]
    assert poll(asking(alone, source), FB) == 1
    assert poll(asking(alone, source), FB) == 0, "it is not due again"
    with alone.db.begin() as uow:
        assert uow.polling.due(10) == []
    alone.world.log("u-1", "User", "Logged in", "Security")
    alone.clock.pass_by(timedelta(seconds=61))
    assert poll(asking(alone, source), FB) == 1, "the overlap brought the first one again, which is not new"
    assert kept(alone) == 2


def test_more_than_a_page_is_read_page_by_page(alone: Workspace, fresh_postgres_url: str) -> None:
    connected(fresh_postgres_url)
    for number in range(1203):
        alone.world.log(f"u-{number}", "User", "Logged in")
    assert poll(asking(alone, partial(log_of, alone)), FB) == 1203


def test_a_worker_that_dies_in_between_loses_nothing(alone: Workspace, fresh_postgres_url: str) -> None:
    connected(fresh_postgres_url)
    alone.world.log("u-1", "User", "Logged in")
    alone.arm("drop", "/v1/management/audit_logs", "GET")
    with pytest.raises(UnavailableError):
        poll(asking(alone, partial(log_of, alone)), FB)
    alone.clock.pass_by(timedelta(seconds=61))
    assert poll(asking(alone, partial(log_of, alone)), FB) == 1


def test_a_worker_that_was_overtaken_keeps_nothing(alone: Workspace, fresh_postgres_url: str) -> None:
    connected(fresh_postgres_url)
    found = log_of(alone).poll(None, now=alone.clock.now())
    with alone.db.begin() as uow:
        assert uow.polling.claim(FB, timedelta(seconds=60)) is not None
        assert uow.polling.claim(FB, timedelta(seconds=60)) is None
    with alone.db.begin() as uow:
        uow.polling.keep(FB, None, "5", ())
    alone.world.log("u-1", "User", "Logged in")
    with alone.db.begin() as uow:
        assert uow.polling.keep(FB, None, found.cursor, found.events) == 0
        assert uow.connection.exec_driver_sql("SELECT cursor FROM poll_cursors").scalar_one() == "5"


def test_what_was_taken_is_forgotten_after_a_while_and_what_was_not_stays(
    alone: Workspace, fresh_postgres_url: str
) -> None:
    connected(fresh_postgres_url)
    for number in range(3):
        alone.world.log(f"u-{number}", "User", "Logged in")
    assert poll(asking(alone, partial(log_of, alone)), FB) == 3
    at = alone.clock.now() - timedelta(hours=23)
    seed(fresh_postgres_url, [("UPDATE polled_events SET taken_at = %s WHERE id %% 3 < 2", (at,))])
    for hours, left in ((0, 3), (2, 1)):
        alone.clock.pass_by(timedelta(hours=hours, seconds=61))
        with alone.db.begin() as uow:
            assert uow.polling.claim(FB, timedelta(seconds=60)) is not None
            cursor = uow.connection.exec_driver_sql("SELECT cursor FROM poll_cursors").scalar_one()
            uow.polling.keep(FB, cursor, cursor, ())
        assert kept(alone) == left


def test_intake_takes_each_line_as_an_activity(alone: Workspace, fresh_postgres_url: str) -> None:
    connected(fresh_postgres_url)
    for subject, event in (("User", "Login failed"), ("Quorum", "Updated"), ("Something", "nobody knows")):
        alone.world.log("u-1", subject, event)
    assert poll(asking(alone, partial(log_of, alone)), FB) == 3

    async def script() -> None:
        async with running(fresh_postgres_url, connection=CONNECTION) as world:
            taking = PolledIntake(world.intake.submit, PostgresPolledStore(world.store.pool))
            assert await taking.look() == 3
            assert await taking.look() == 0
            rows = world.rows("SELECT kind, actor, status FROM activities ORDER BY kind")
            assert [(row["kind"], row["actor"], row["status"]) for row in rows] == [
                ("access.login_failed", "u-1", "scored"),
                ("governance.quorum_changed", "u-1", "scored"),
                ("other.Something nobody knows", None, "noted"),
            ]
            seed(fresh_postgres_url, [("UPDATE polled_events SET taken_at = NULL", ())])
            assert await taking.look() == 3
            assert world.count("activities") == 3, "taken twice, stored once"
            seed(fresh_postgres_url, [("UPDATE polled_events SET taken_at = NULL", ())])
            seed(fresh_postgres_url, [("ALTER TABLE activities RENAME TO away", ())])
            assert await taking.look() == 0, "what cannot be stored stays"
            seed(fresh_postgres_url, [("ALTER TABLE away RENAME TO activities", ())])
            assert await taking.look() == 3

    asyncio.run(script())
