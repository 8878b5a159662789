"""Payloads in the shape that the platforms document, and what each one becomes here."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from service.custody.bitgo.gate import BitgoDoor
from service.custody.bitgo.webhooks import BitgoReceiver
from service.custody.fireblocks.gate import FireblocksDoor
from service.custody.fireblocks.webhooks import FireblocksReceiver
from service.domain.activity import Activity
from service.domain.gate import GateCall
from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig
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


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recorded_payload_becomes_what_it_says(path: Path) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    read = {"fireblocks": from_fireblocks, "bitgo": from_bitgo}[path.parent.name]
    found = read(told["face"], told["payload"])
    if told["becomes"] is None:
        assert found is None
        return
    assert found is not None
    for name, value in told["becomes"].items():
        seen = getattr(found, name)
        assert (str(seen) if isinstance(seen, Decimal) else seen) == value, name


def test_there_are_payloads() -> None:
    assert len(FIXTURES) >= 11
