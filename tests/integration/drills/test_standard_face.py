"""Containment actions of a `standard` platform: signed, idempotent, acting on the same ledger."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.integration.drills.harness import API_KEY, SECRET, THIEF, Drill, OtherSide, seed_of


@pytest.fixture
def platform(make_drill: Any, other_side: OtherSide) -> Drill:
    accounts = [a | {"platform": "standard"} for a in seed_of(other_side, other_side.key)["accounts"]]
    targets = {"standard_url": other_side.url + "/webhooks/std", "standard_secret": SECRET}
    made: Drill = make_drill(accounts=accounts, webhooks=targets)
    return made


def act(
    drill: Drill,
    body: Mapping[str, object],
    secret: str = SECRET,
    age_s: int = 0,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    raw = json.dumps(body)
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    signed = {
        "webhook-id": str(body["id"]),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(str(body["id"]), at, raw),
    }
    return drill.http.post("/standard/action", content=raw, headers=signed | dict(headers or {}))


def state(drill: Drill, action_id: str) -> str:
    return str(drill.http.get(f"/standard/status/{action_id}").json()["state"])


def test_hold_and_release(platform: Drill) -> None:
    hold = {"id": "a-1", "action": "hold_outgoing", "account": "0"}
    first = act(platform, hold).json()
    assert first["state"] == "done"
    assert act(platform, hold).json() == first
    assert act(platform, hold | {"account": "1"}).status_code == 409
    held = platform.transfer()
    assert platform.wait_status(held, "PENDING_AUTHORIZATION")
    assert act(platform, {"id": "a-2", "action": "release_outgoing", "account": "0"}).json()["state"] == "done"
    assert state(platform, "a-1") == "pending"
    platform.wait_status(held, "COMPLETED")


def test_cancel_lock_and_revoke(platform: Drill) -> None:
    act(platform, {"id": "h", "action": "hold_outgoing", "account": "0"})
    first, second = platform.transfer(), platform.transfer(to=THIEF)
    assert (
        act(platform, {"id": "c", "action": "cancel", "account": "0", "transaction": first}).json()["state"] == "done"
    )
    lock = {"id": "l", "action": "lock_destination", "account": "0", "destination": THIEF}
    assert act(platform, lock).json()["state"] == "done"
    assert platform.status(first)["status"] == "CANCELLED"
    assert platform.status(second)["status"] == "BLOCKED"
    blocked = {"id": "c-2", "action": "cancel", "account": "0", "transaction": second}
    assert act(platform, blocked).json()["state"] == "done", "what can no longer leave needs no cancelling"
    order = {
        "account": "0",
        "asset": "ETH",
        "amount_base_units": "1",
        "user": "u-1",
        "destination": THIEF.split(":")[2],
    }
    platform.post("/transfer", order, expect=403)
    revoke = {"id": "r", "action": "revoke_credential", "account": "0", "destination": API_KEY}
    assert act(platform, revoke).json()["state"] == "done"
    assert [state(platform, i) for i in ("c", "l", "r")] == ["done"] * 3


def test_what_cannot_be_done_is_refused_with_the_reason(platform: Drill) -> None:
    done = platform.transfer()
    platform.wait_status(done, "COMPLETED")
    late = act(platform, {"id": "c-1", "action": "cancel", "account": "0", "transaction": done}).json()
    assert (late["state"], "COMPLETED" in late["detail"]) == ("refused", True)
    assert act(platform, {"id": "c-2", "action": "hold_outgoing", "account": "9"}).json()["state"] == "refused"
    assert act(platform, {"id": "c-3", "action": "dance", "account": "0"}).status_code == 400
    assert platform.http.get("/standard/status/none").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,x"},
        {"webhook-signature": "a,b,c"},
        {"webhook-signature": ""},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "1e99"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-id": "other"},
    ],
)
def test_malformed_signatures_are_refused(platform: Drill, headers: dict[str, str]) -> None:
    assert act(platform, {"id": "x", "action": "hold_outgoing", "account": "0"}, headers=headers).status_code == 401


def test_old_and_foreign_signatures_are_refused(platform: Drill) -> None:
    hold = {"id": "x", "action": "hold_outgoing", "account": "0"}
    assert act(platform, hold, age_s=400).status_code == 401
    assert act(platform, hold, secret="whsec_" + "A" * 32).status_code == 401


def test_withdrawals_are_told_in_the_wire_schema(platform: Drill, other_side: OtherSide) -> None:
    made = platform.transfer(10**18)
    platform.wait_status(made, "COMPLETED")
    received = other_side.wait_for(lambda r: r.path == "/webhooks/std", 4)
    activities = [json.loads(r.body) for r in received]
    kinds = {a["type"] for a in activities}
    assert kinds == {"withdrawal.requested", "withdrawal.approved", "withdrawal.broadcast", "withdrawal.confirmed"}
    data = activities[0]["data"]
    assert (data["transaction"], data["amount_usd"], data["account"]) == (made, "350.00", "0")
    assert data["asset"] == "eip155:1/slip44:60"
