"""Webhooks verify with an independent library and are retried by the platform's rules."""

import base64
from typing import Any

import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from standardwebhooks.webhooks import Webhook

from tests.integration.drills.harness import SECRET, Drill, OtherSide, Received


def is_v2(request: Received) -> bool:
    return request.path == "/webhooks/v2"


def verify_v2(request: Received, drill: Drill) -> dict[str, Any]:
    keys = httpx.get(drill.seeded["jwks_url"], trust_env=False).json()["keys"]
    header, empty, signature = request.headers["fireblocks-webhook-signature"].split(".")
    assert empty == ""
    kid = jwt.get_unverified_header(f"{header}.e30.{signature}")["kid"]
    key = jwt.PyJWK(next(k for k in keys if k["kid"] == kid))
    payload = base64.urlsafe_b64encode(request.body).rstrip(b"=").decode()
    assert jwt.api_jws.decode(f"{header}.{payload}.{signature}", key, ["RS512"]) == request.body
    found: dict[str, Any] = msgspec.json.decode(request.body)
    return found


def test_a_transfer_tells_its_life(drill: Drill, other_side: OtherSide) -> None:
    made = drill.transfer()
    drill.wait_status(made, "COMPLETED")
    other_side.wait_for(is_v2, 6)
    events = [verify_v2(r, drill) for r in other_side.received if is_v2(r)]
    assert {e["workspaceId"] for e in events} == {drill.seeded["workspace_id"]}
    assert {e["resourceId"] for e in events} == {made}
    assert len({e["id"] for e in events}) == len(events)
    created = next(e for e in events if e["eventType"] == "transaction.created")
    assert created["data"]["status"] == "SUBMITTED"
    statuses = {e["data"]["status"] for e in events}
    assert statuses == {"SUBMITTED", "QUEUED", "PENDING_SIGNATURE", "BROADCASTING", "CONFIRMING", "COMPLETED"}
    assert created["createdAt"] > 10**12


def test_v1_signature_verifies(make_drill: Any, other_side: OtherSide) -> None:
    drill = make_drill(webhooks={"v1_url": other_side.url + "/webhooks/v1"})
    drill.transfer()
    request = other_side.wait_for(lambda r: r.path == "/webhooks/v1")[0]
    key = load_pem_public_key(drill.seeded["webhook_v1_public_key_pem"].encode())
    assert isinstance(key, rsa.RSAPublicKey)
    signature = base64.b64decode(request.headers["fireblocks-signature"])
    key.verify(signature, request.body, padding.PKCS1v15(), hashes.SHA512())
    assert msgspec.json.decode(request.body)["type"].startswith("TRANSACTION_")


@pytest.mark.parametrize(
    ("statuses", "state", "tries"),
    [
        ([503, 429, 408], "delivered", [503, 429, 408, 200]),
        ([422], "refused", [422]),
        ([500] * 10, "failed", [500] * 10),
    ],
)
def test_retry_rules(drill: Drill, other_side: OtherSide, statuses: list[int], state: str, tries: list[int]) -> None:
    other_side.statuses = list(statuses)
    webhooks = drill.server.emulator.running().webhooks
    drill.server.loop.call_soon_threadsafe(webhooks.emit, "transaction.alert.stuck", "t-1", {})
    other_side.wait_for(is_v2, len(tries))
    found = wait_delivery(drill, state)
    assert found["tries"] == tries
    assert len({r.body for r in other_side.received}) == 1


def wait_delivery(drill: Drill, state: str) -> dict[str, Any]:
    for _ in range(1000):
        found: dict[str, Any] = drill.get("/deliveries")[0]
        if found["state"] == state:
            return found
    raise AssertionError(found)


def test_standard_events_verify_with_the_official_library(make_drill: Any, other_side: OtherSide) -> None:
    targets = {"standard_url": other_side.url + "/webhooks/std", "standard_secret": SECRET}
    drill = make_drill(webhooks=targets)
    drill.post("/access", {"type": "access.login_failed", "actor": "ops", "details": {"country": "KP", "asn": 1}})
    request = other_side.wait_for(lambda r: r.path == "/webhooks/std")[0]
    activity = Webhook(SECRET).verify(request.body, dict(request.headers))
    assert activity["type"] == "access.login_failed"
    assert activity["data"] == {"actor": "ops", "country": "KP", "asn": 1}
