"""HTTP itself: every error is a problem, headers are plain, bodies bounded, faults ours say so and tell nothing."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from rules.engine import Engine
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.settings import EngineSettings
from service.api.front import MAX_BODY
from service.domain.quorum import Role
from service.domain.secrets import Secret
from service.store.database import SqlDatabase, create
from service.store.tables.activity import learning
from tests.support.api import ApiWorld, api_on, problem

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_what_is_no_path_or_no_method_is_a_problem(world: ApiWorld) -> None:
    assert problem(world.call("GET", "/v1/nothing", Role.ADMIN))["status"] == 404
    assert problem(world.call("GET", "/v1/alerts/", Role.ADMIN))["status"] == 404
    answer = world.call("PUT", "/v1/alerts", Role.ADMIN)
    assert (problem(answer)["code"], answer.headers["allow"]) == ("method_not_allowed", "GET")
    answer = world.call("OPTIONS", "/v1/alerts", headers={"origin": "https://evil.example"})
    assert problem(answer)["status"] == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_head_is_get_without_the_body(world: ApiWorld) -> None:
    answer = world.call("HEAD", "/v1/alerts", Role.VIEWER)
    assert (answer.status_code, answer.content) == (200, b"")
    assert world.call("HEAD", "/v1/alerts").status_code == 401
    assert world.call("HEAD", "/v1/events", Role.VIEWER).status_code == 405


@pytest.mark.parametrize("path", ["/v1/health", "/v1/alerts", "/v1/nothing", "/v1/openapi.json"])
def test_every_answer_has_plain_headers_and_a_trace_id(world: ApiWorld, path: str) -> None:
    headers = world.call("GET", path, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}).headers
    assert headers["x-trace-id"] == TRACE
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(
    "parent", ["", "00-zz", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"01-{TRACE}-00f067aa0ba902b7-01"]
)
def test_a_wrong_traceparent_is_replaced(world: ApiWorld, parent: str) -> None:
    first, second = (
        world.call("GET", "/v1/health", headers={"traceparent": parent}).headers["x-trace-id"] for _ in range(2)
    )
    assert len(first) == 32
    assert first not in {second, TRACE, "0" * 32}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"verdict": ' + b"9" * 5000 + b"}",
        b"null",
        b'"x"',
        b'{"verdict": "\\ud800"}',
    ],
)
def test_a_body_that_cannot_be_read_is_invalid_input(world: ApiWorld, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = world.call("POST", "/v1/alerts/alr_x/verdict", Role.ANALYST, content=body, headers=headers)
    assert problem(answer)["code"] == "invalid_input"


def test_a_body_is_bounded_whether_or_not_its_length_is_told(world: ApiWorld) -> None:
    async def streamed() -> Any:
        for _ in range(MAX_BODY // 65536 + 1):
            yield b"x" * 65536

    for content in (b"x" * (MAX_BODY + 1), streamed()):
        answer = world.call("POST", "/v1/tokens", content=content)
        assert (problem(answer)["code"], answer.status_code) == ("too_large", 413)


def test_a_nul_in_a_body_is_invalid_input(world: ApiWorld) -> None:
    answer = world.call("POST", "/v1/incidents/inc_x/assign", Role.RESPONDER, json={"person": "a\x00b"})
    assert problem(answer)["code"] in {"not_found", "invalid_input"}
    answer = world.call("POST", "/v1/tokens", Role.ADMIN, json={"label": "a", "role": "ingest", "connection": "\x00"})
    assert problem(answer)["code"] == "invalid_input"


def test_an_unforeseen_error_tells_nothing(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("service.api.routers.alerts.reading.alerts_page", broken)
    answer = world.call("GET", "/v1/alerts", Role.VIEWER)
    assert problem(answer)["code"] == "internal"
    assert "hunter2" not in answer.text
    assert answer.headers["x-trace-id"]


def test_a_database_that_is_away_is_503_and_health_says_degraded(
    world: ApiWorld, postgres_url: str, tmp_path: Any
) -> None:
    away = api_on(postgres_url, world.parts.clock, tmp_path)
    there = away.parts.database
    gone = SqlDatabase(create(Secret("postgresql://nobody@/none?host=/nonexistent")), world.parts.clock)
    object.__setattr__(away.parts, "database", gone)
    health = away.call("GET", "/v1/health")
    assert (problem(health)["status"], problem(health)["detail"]) == (503, "degraded: the database is away")
    world.token(Role.VIEWER)
    away.tokens = world.tokens
    answer = away.call("GET", "/v1/alerts", Role.VIEWER)
    assert (problem(answer)["code"], answer.headers["retry-after"]) == ("unavailable", "2")
    there.engine.dispose()
    away.close()


def test_a_pool_without_a_free_connection_is_503(world: ApiWorld, postgres_url: str, tmp_path: Any) -> None:
    busy = api_on(postgres_url, world.parts.clock, tmp_path)
    busy.token(Role.VIEWER)
    busy.call("GET", "/v1/alerts", Role.VIEWER)
    busy.parts.database.engine.pool._timeout = 0  # type: ignore[attr-defined]  # the queue pool's own
    held = [busy.parts.database.engine.connect() for _ in range(4)]
    answer = busy.call("GET", "/v1/alerts", Role.VIEWER)
    for connection in held:
        connection.close()
    assert problem(answer)["code"] == "unavailable"
    busy.close()


def test_health_tells_anybody_one_word_and_readers_what_waits(world: ApiWorld) -> None:
    assert world.call("GET", "/v1/health").json()["status"] in {"ok", "degraded"}
    assert set(world.call("GET", "/v1/health").json()) == {"status"}
    found = world.get("/v1/health/details")
    assert found["listeners"] == 0
    with world.database.begin() as uow:
        uow.connection.execute(
            text("INSERT INTO outbox (event, payload, created_at) VALUES ('x', '{}', now() - interval '1 hour')")
        )
    assert world.call("GET", "/v1/health").json() == {"status": "degraded"}
    assert world.get("/v1/health/details")["oldest_event_waits_s"] > 3000


def test_health_tells_readers_how_a_live_engine_is(world: ApiWorld) -> None:
    found = world.get("/v1/health/details")
    assert (found["sequence"], found["rows_behind"], found["calibrations"], found["budgets"]) == (None, None, [], [])
    engine = Engine(EngineSettings(salt="test", alerts_per_day=20.0), DetectorSet((), ""))
    for number in range(600):
        at_us = 1_767_225_600_000_000 + number * 400_000_000
        paid = {"account": f"a{number % 7}", "destination": f"d{number % 5}", "amount_usd": 100.0 + number % 11}
        told = {
            "event_id": "e",
            "kind": "withdrawal.requested",
            "occurred_at_us": at_us,
            "received_at_us": at_us,
            **paid,
        }
        engine.process(msgspec.convert(told, Observation))
    object.__setattr__(world.parts, "engine_health", engine.health)
    with world.database.begin() as uow:
        row = {"kind": "activity", "payload": b"", "engine_version": "", "settings_digest": "", "at": uow.now}
        uow.connection.execute(learning.insert(), [{"seq": seq, **row} for seq in (600, 602)])
    found = world.get("/v1/health/details")
    assert (found["sequence"], found["rows_behind"]) == (600, 2)
    money = next(one for one in found["calibrations"] if one["name"] == "money")
    assert 200 < money["scores"] <= 600
    assert 0.0 <= money["drift_at_10_percent"] < 5.0
    assert 0.0 <= money["drift_at_1_percent"] < 50.0
    assert [one["drift_at_1_percent"] for one in found["calibrations"] if one["name"] == "signing"] == [None]
    assert found["budgets"][0]["asked"] == 20.0
    assert found["budgets"][0]["realised"] >= 0.0
    assert {one["asked"] for one in found["budgets"][1:]} == {None}
    assert world.call("GET", "/v1/health/details").status_code == 401


def test_intake_paths_go_to_the_raw_application_alone(world: ApiWorld) -> None:
    for method, path in (
        ("POST", "/webhooks/x"),
        ("POST", "/cosigner/x/v2/tx_sign_request"),
        ("POST", "/v1/activities"),
        ("POST", "/v1/decisions"),
    ):
        assert world.call(method, path).status_code == 204
    assert world.call("GET", "/v1/activities").status_code == 401


def test_a_client_that_leaves_while_sending_is_let_go(world: ApiWorld) -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/tokens", "headers": [], "query_string": b""}
    asyncio.run(world.app(scope, receive, send))
    assert sent == []


def test_the_description_needs_no_other_place(world: ApiWorld) -> None:
    described = world.call("GET", "/v1/openapi.json").json()
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert "http://" not in json.dumps(described)
    assert world.call("GET", "/docs").status_code == 404
