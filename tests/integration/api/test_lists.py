"""Lists: filters, pages that stay stable, exact amounts, and what never leaves."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.ids import first_id_at, new_id
from service.domain.quorum import Role
from tests.integration.api.rows import add_activity
from tests.support.api import ApiWorld, problem
from tests.support.incidents import add_account, add_alert, add_incident


def query(name: str, value: str) -> dict[str, Any]:
    return {name: value}


def ids(found: Any) -> list[str]:
    return [item["id"] for item in found["items"]]


def test_pages_are_stable_while_rows_are_added(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        known = [add_activity(uow.connection, account="paged") for _ in range(7)]
    first = world.get("/v1/activities", account="paged", limit=3)
    with world.database.begin() as uow:
        add_activity(uow.connection, account="paged")
    second = world.get("/v1/activities", account="paged", limit=3, cursor=first["next"])
    third = world.get("/v1/activities", account="paged", limit=3, cursor=second["next"])
    assert ids(first) + ids(second) + ids(third) == sorted(known, reverse=True)
    assert third["next"] is None


def test_activities_are_filtered_and_amounts_are_exact(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        held = add_activity(uow.connection, account="filtered", decision="hold", actor="ada", destination="d1")
        add_activity(uow.connection, account="filtered", kind="access.login_failed", decision=None, score=None)
    assert ids(world.get("/v1/activities", account="filtered", anomalous="true")) == [held]
    for name, value in (("actor", "ada"), ("destination", "d1"), ("kind", "withdrawal.requested")):
        assert ids(world.get("/v1/activities", account="filtered", **query(name, value))) == [held]
    assert ids(world.get("/v1/activities", account="filtered", connection="other")) == []
    found = world.get(f"/v1/activities/{held}")
    assert found["amount_base_units"] == "1" + "0" * 40
    assert found["amount_usd"] == "12.50"
    assert found["reasons"] == [{"feature": "amount_usd", "observed": "5", "usual": "1", "share": 2.5}]


def test_a_span_of_time_is_a_span_of_ids(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        known = add_activity(uow.connection, account="spanned")
    now = datetime.now(UTC)
    ago, later = (now - timedelta(minutes=1)).isoformat(), (now + timedelta(minutes=1)).isoformat()
    assert ids(world.get("/v1/activities", account="spanned", since=ago, until=later)) == [known]
    assert ids(world.get("/v1/activities", account="spanned", since=later)) == []
    assert ids(world.get("/v1/activities", account="spanned", until=ago)) == []
    told = problem(world.call("GET", "/v1/activities", Role.VIEWER, params={"since": "2026-01-01T00:00:00"}))
    assert told["field"] == "since"
    assert first_id_at("act", now) <= new_id("act")


def test_raw_bodies_are_for_those_who_judge(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        known = add_activity(uow.connection)
    path = f"/v1/activities/{known}"
    for role in (Role.VIEWER, Role.APPROVER, Role.TREASURY):
        assert problem(world.call("GET", path, role, params={"body": "true"}))["code"] == "forbidden"
        assert world.get(path, role)["raw"] is None
    found = world.get(path, Role.ANALYST, body="true")
    assert base64.b64decode(found["raw"]) == b'{"secret of the body": 1}\xff'
    assert "raw" not in world.get("/v1/activities", Role.ADMIN)["items"][0]


def test_alerts_are_filtered(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        incident = add_incident(uow.connection, ("account:con-a/x",), kind="account_takeover", severity=2)
        lone = add_alert(uow.connection, None, ("account:con-a/x",), kind="signing_tampering")
    assert len(world.get("/v1/alerts", incident=incident)["items"]) == 1
    assert ids(world.get("/v1/alerts", kind="signing_tampering", waiting="true")) == [lone]
    body = {"verdict": "false_positive"}
    judged = world.call("POST", f"/v1/alerts/{lone}/verdict", Role.ANALYST, json=body).json()
    assert judged["verdict"] == "false_positive"
    assert judged["verdict_by"].startswith("token:tok_")
    assert ids(world.get("/v1/alerts", kind="signing_tampering", waiting="true")) == []


def test_incidents_are_filtered_by_state_kind_and_least_severity(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        low = add_incident(uow.connection, ("account:con-a/y",), kind="signing_tampering", severity=1)
        high = add_incident(
            uow.connection, ("account:con-a/y",), kind="signing_tampering", severity=3, state="contained"
        )
    assert ids(world.get("/v1/incidents", kind="signing_tampering")) == [high, low]
    assert ids(world.get("/v1/incidents", kind="signing_tampering", severity="medium")) == [high]
    assert ids(world.get("/v1/incidents", kind="signing_tampering", state="open")) == [low]


def test_accounts_and_connections_show_no_settings(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        known = add_account(uow.connection, "hot-9")
    assert ids(world.get("/v1/accounts", connection="con-a", ref="hot-9", live="no")) == [known]
    whole = world.get(f"/v1/accounts/{known}")
    assert (whole["live_since"], whole["safe_destinations"]) == (None, [])
    for found in (world.get("/v1/connections"), world.get("/v1/connections/con-a", Role.ADMIN)):
        assert "hidden-setting" not in str(found)
        assert "config" not in str(found)
    assert problem(world.call("GET", "/v1/connections/none", Role.VIEWER))["code"] == "not_found"


def test_an_account_is_registered_without_addresses_and_once(world: ApiWorld) -> None:
    token = "eip155:1/erc20:0x" + "aB" * 20
    body = {"connection": "con-a", "ref": "hot-new", "holder": "platform", "assets": [token, token.lower()]}
    made = world.call("POST", "/v1/accounts", Role.ADMIN, json=body)
    assert made.status_code == 201, made.text
    assert made.json() | {"ref": "hot-new", "addresses": [], "live_since": None, "provisioning": "ready"} == made.json()
    assert made.json()["assets"] == [token.lower()], "a token is one however it is spelt"
    assert problem(world.call("POST", "/v1/accounts", Role.ADMIN, json=body))["code"] == "conflict"
    for field, value, code in (
        ("addresses", ["eip155:1:0x00"], "invalid_input"),
        ("safe_destinations", [], "invalid_input"),
        ("connection", "none", "not_found"),
    ):
        answer = world.call("POST", "/v1/accounts", Role.ADMIN, json=body | {"ref": "hot-new-2", field: value})
        assert (problem(answer)["code"], problem(answer)["field"]) == (code, field)


def test_an_account_goes_live_once(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        known = add_account(uow.connection, "hot-10")
    first = world.call("POST", f"/v1/accounts/{known}/go-live", Role.ADMIN).json()["live_since"]
    assert first is not None
    assert world.call("POST", f"/v1/accounts/{known}/go-live", Role.ADMIN).json()["live_since"] == first
    assert ids(world.get("/v1/accounts", ref="hot-10", live="yes")) == [known]


@pytest.mark.parametrize("path", ["alerts", "incidents", "activities", "accounts", "connections", "tokens"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "!!"}, "cursor"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "x" * 129}, "cursor"),
        ({"sate": "open"}, "sate"),
    ],
)
def test_a_wrong_question_names_its_field(world: ApiWorld, path: str, query: dict[str, str], field: str) -> None:
    told = problem(world.call("GET", f"/v1/{path}", Role.ADMIN, params=query))
    assert (told["status"], told["code"], told["field"]) == (422, "invalid_input", field)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/alerts?incident=%00",
        "/v1/activities?account=a%00b",
        "/v1/accounts?ref=%00",
        "/v1/incidents?assignee=%00",
        "/v1/alerts/alr_%00",
        "/v1/accounts/%F0%9F%92%A9",
    ],
)
def test_hostile_text_is_refused_and_never_an_error_of_ours(world: ApiWorld, path: str) -> None:
    assert problem(world.call("GET", path, Role.VIEWER))["code"] == "invalid_input"
