"""Payloads in the shape that the platforms document, and what each one becomes here."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from service.custody.bitgo.gate import BitgoDoor
from service.custody.bitgo.webhooks import BitgoReceiver
from service.custody.evm.webhooks import EvmReceiver, signature
from service.custody.fireblocks.audit import AuditLog
from service.custody.fireblocks.gate import FireblocksDoor
from service.custody.fireblocks.webhooks import FireblocksReceiver
from service.custody.safe.webhooks import SafeReceiver
from service.custody.standard.webhooks import StandardReceiver
from service.discovery import declarations
from service.domain.activity import Activity
from service.domain.gate import GateCall
from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig, PlatformDeclaration
from tests.support.bitgo import PATH_SECRET, SETTINGS, WEBHOOK_SECRET, signed
from tests.support.fireblocks import WORKSPACE, callback, pem, rsa_key, v1_headers

FIXTURES = sorted((Path(__file__).parents[3] / "fixtures").glob("*/*.json"))
FIREBLOCKS = {
    "workspace_id": WORKSPACE,
    "webhook_public_key": pem(rsa_key("webhook")),
    "cosigner_public_key": pem(rsa_key("cosigner")),
}


def from_fireblocks(face: str, payload: dict[str, Any]) -> Activity | None:
    config = ConnectionConfig(ConnectionId("fb"), "fireblocks", FIREBLOCKS, lambda _: b"", ())
    body = json.dumps(payload).encode()
    if face == "webhook":
        headers = v1_headers(body, key=rsa_key("webhook"))
        told = {name.lower().encode(): value.encode() for name, value in headers.items()}
        return FireblocksReceiver(config).receive(told, body, now_s=0).activity
    question = FireblocksDoor(config).question(GateCall(face, {}, callback(payload, rsa_key("cosigner")), 0.0))
    assert question.doubt is None
    assert b"not-a-real-key" not in question.facts
    return question.activity


def from_bitgo(face: str, payload: dict[str, Any]) -> Activity | None:
    secrets = {"webhook_secret": WEBHOOK_SECRET.encode(), "policy_path_secret": PATH_SECRET.encode()}
    config = ConnectionConfig(ConnectionId("bg"), "bitgo", SETTINGS, secrets.__getitem__, tuple(secrets))
    body = json.dumps(payload).encode()
    if face == "webhook":
        headers = {name.encode(): value.encode() for name, value in signed(body).items()}
        return BitgoReceiver(config).receive(headers, body, now_s=0).activity
    question = BitgoDoor(config).question(GateCall(f"policy/{PATH_SECRET}", {}, body, 0.0))
    assert question.doubt is None
    return question.activity


def from_audit_log(payload: dict[str, Any]) -> Activity | None:
    settings = {"api_base_url": "https://api.platform.test/v1", "api_key": "api-user"}
    config = ConnectionConfig(ConnectionId("fb"), "fireblocks", settings, lambda _: b"", ())
    client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=payload)))
    (event,) = AuditLog(config, lambda _: b"signature", client).poll(None, now=datetime(2026, 1, 1, tzinfo=UTC)).events
    return event.activity


def from_safe(payload: dict[str, Any]) -> Activity | None:
    secret = b"events:sixteen-or-more-characters"
    watched = {"safes": f"eip155:{payload['chainId']}:{payload['address']}"}
    config = ConnectionConfig(ConnectionId("con-a"), "safe", watched, lambda _: secret, ("webhook_basic",))
    headers = {b"authorization": b"Basic " + base64.b64encode(secret)}
    return SafeReceiver(config).receive(headers, json.dumps(payload).encode(), now_s=0).activity


def from_standard(payload: dict[str, Any]) -> Activity | None:
    secret = "whsec_" + base64.b64encode(bytes(24)).decode()
    config = ConnectionConfig(ConnectionId("st"), "standard", {}, lambda _: secret.encode(), ("webhook_secret",))
    body, at = json.dumps(payload), datetime.now(UTC)
    told = {"webhook-id": "e-1", "webhook-timestamp": str(int(at.timestamp()))}
    told["webhook-signature"] = Webhook(secret).sign("e-1", at, body)
    headers = {name.encode(): value.encode() for name, value in told.items()}
    return StandardReceiver(config).receive(headers, body.encode(), now_s=at.timestamp()).activity


def from_evm(payload: dict[str, Any]) -> Activity | None:
    secret, body, at = b"a-secret-of-24-characters-or-more", json.dumps(payload).encode(), b"1700000000000"
    config = ConnectionConfig(ConnectionId("ev"), "evm", {}, lambda _: secret, ("webhook_hmac",))
    headers = {b"x-timestamp": at, b"x-signature": signature(secret, body, at)}
    return EvmReceiver(config).receive(headers, body, now_s=1_700_000_000).activity


def read(platform: str, face: str, payload: dict[str, Any]) -> Activity | None:
    """Put a payload in at the door that its face names."""
    if face == "audit":
        return from_audit_log(payload)
    if platform in {"fireblocks", "bitgo"}:
        return {"fireblocks": from_fireblocks, "bitgo": from_bitgo}[platform](face, payload)
    return {"safe": from_safe, "standard": from_standard, "evm": from_evm}[platform](payload)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recorded_payload_becomes_what_it_says(path: Path) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    found = read(path.parent.name, told["face"], told["payload"])
    if told["becomes"] is None:
        assert found is None
        return
    assert found is not None
    for name, value in told["becomes"].items():
        seen = getattr(found, name)
        assert (str(seen) if isinstance(seen, Decimal) else seen) == value, name


def test_every_platform_that_pushes_or_is_asked_has_payloads() -> None:
    faces = {(path.parent.name, json.loads(path.read_text(encoding="utf-8"))["face"]) for path in FIXTURES}
    platforms = declarations("service.custody", "PLATFORM", PlatformDeclaration)
    assert {name for name, _ in faces} == set(platforms) - {"bitcoin"}, "a chain sends no webhooks"
    assert {(name, "audit") for name, platform in platforms.items() if platform.poll} <= faces
    gates = {name for name, platform in platforms.items() if platform.gate}
    assert {name for name, face in faces if face not in {"webhook", "audit"}} == gates
