import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from eth_hash.auto import keccak

from service.domain.errors import UnavailableError
from tests.support.fireblocks import (
    KID,
    RAW_TX,
    WORKSPACE,
    KeyServer,
    callback,
    key_server,
    pem,
    rsa_key,
    sign_request,
    v1_headers,
    v2_headers,
)
from tests.support.intake import (
    World,
    add_account,
    add_connection,
    clear_by_hand,
    encoded,
    hold_by_hand,
    running,
    seed,
    stand_still,
)

pytestmark = pytest.mark.servers


def sign(message: bytes, key: str = "") -> bytes:
    return rsa_key("callback").sign(message, padding.PKCS1v15(), hashes.SHA256())


@pytest.fixture
def keys() -> Any:
    with key_server() as server:
        server.keys.append((KID, rsa_key("webhook")))
        yield server


@pytest.fixture
def url(fresh_postgres_url: str, keys: KeyServer) -> str:
    settings = {
        "workspace_id": WORKSPACE,
        "tenant_id": "tenant-1",
        "jwks_url": keys.url,
        "webhook_public_key": pem(rsa_key("webhook")),
        "cosigner_public_key": pem(rsa_key("cosigner")),
        "gate_deadline_s": "25",
    }
    add_connection(fresh_postgres_url, "fb", "fireblocks", settings, {})
    add_account(fresh_postgres_url, "fb", "0")
    return fresh_postgres_url


def envelope(status: str = "SUBMITTED", *, event: str = "e-1", workspace: str = WORKSPACE, **changes: object) -> bytes:
    data = {
        "id": "tx-1",
        "status": status,
        "assetId": "ETH",
        "source": {"type": "VAULT_ACCOUNT", "id": "0"},
        "destination": {"type": "EXTERNAL_WALLET", "id": "w"},
        "destinationAddress": "0x5dC69B1Fbb13Bafd09af88A782F0F285772AD5f8",
        "addressType": "WHITELISTED",
        "amountInfo": {"amount": "0.01", "amountUSD": "27.50"},
        "createdBy": "user-1",
    }
    return encoded(
        {
            "id": event,
            "resourceId": "tx-1",
            "workspaceId": workspace,
            "eventType": "transaction.created",
            "eventVersion": 1,
            "createdAt": 1754229343763,
            "data": data | changes,
        }
    )


def play(url: str, script: Callable[[World], Any], **options: Any) -> None:
    async def run() -> None:
        async with running(url, signer=options.get("signer", sign), connection="fb") as world:
            await script(world)

    asyncio.run(run())


def test_v2_webhooks_are_verified_and_mapped(url: str, keys: KeyServer) -> None:
    async def script(world: World) -> None:
        for status, event in (("SUBMITTED", "e-1"), ("COMPLETED", "e-2")):
            body = envelope(status, event=event)
            answer = await world.client.post(
                "/webhooks/fb", content=body, headers=v2_headers(body, key=rsa_key("webhook"))
            )
            assert answer.status_code == 200, answer.text
        row = world.rows("SELECT * FROM activities WHERE event_id = 'e-1'")[0]
        assert row["kind"] == "withdrawal.requested"
        assert row["destination"] == "eip155:1:0x5dc69b1fbb13bafd09af88a782f0f285772ad5f8"
        assert row["asset"] == "eip155:1/slip44:60"
        assert row["amount_base_units"] == 10**16
        assert world.rows("SELECT state FROM transactions")[0]["state"] == "confirmed"
        assert keys.asked == 1

    play(url, script)


def test_what_does_not_verify_is_refused_before_anything_is_stored(url: str, keys: KeyServer) -> None:
    genuine = envelope()
    foreign = envelope(workspace="another")
    key = rsa_key("webhook")
    cases: list[tuple[bytes, Mapping[str, str]]] = [
        (foreign, v2_headers(foreign, key=key)),
        (genuine, v2_headers(genuine, key=rsa_key("stranger"))),
        (genuine + b" ", v2_headers(genuine, key=key)),
        (genuine, v2_headers(genuine, key=key, header={"alg": "none", "kid": KID})),
        (genuine, v2_headers(genuine, key=key, header={"alg": "RS512", "kid": KID, "crit": ["b64"], "b64": False})),
        (genuine, v2_headers(genuine, key=key, header={"alg": "RS512", "kid": "unknown"})),
        (genuine, {"Fireblocks-Webhook-Signature": "a.b"}),
        (genuine, {"Fireblocks-Webhook-Signature": "..", **v1_headers(genuine, key=key)}),
        (genuine, {"Fireblocks-Signature": "%%%"}),
        (genuine, {}),
    ]

    async def script(world: World) -> None:
        for body, headers in cases:
            answer = await world.client.post("/webhooks/fb", content=body, headers=headers)
            assert answer.status_code == 401, (headers, answer.text)
        assert world.count("activities") == 0
        assert keys.asked <= 2

    play(url, script)


def test_v1_webhooks_and_events_that_mean_nothing(url: str) -> None:
    old = encoded(
        {
            "type": "TRANSACTION_CREATED",
            "tenantId": "tenant-1",
            "timestamp": 1754229343763,
            "data": json.loads(envelope())["data"],
        }
    )
    other = encoded(json.loads(envelope()) | {"eventType": "vault_account.created", "id": "e-9", "data": {}})

    async def script(world: World) -> None:
        answer = await world.client.post("/webhooks/fb", content=old, headers=v1_headers(old, key=rsa_key("webhook")))
        assert answer.json()["status"] == "scored"
        answer = await world.client.post(
            "/webhooks/fb", content=other, headers=v2_headers(other, key=rsa_key("webhook"))
        )
        assert answer.json()["status"] == "noted"
        assert world.count("learning", "kind = 'activity'") == 1

    play(url, script)


def test_keys_that_cannot_be_fetched_are_our_own_fault(url: str, keys: KeyServer) -> None:
    keys.down = True
    body = envelope()

    async def script(world: World) -> None:
        for _ in range(3):
            answer = await world.client.post(
                "/webhooks/fb", content=body, headers=v2_headers(body, key=rsa_key("webhook"))
            )
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
        assert keys.asked == 1

    play(url, script)


async def ask(world: World, claims: Mapping[str, object], path: str = "tx_sign_request") -> dict[str, Any]:
    body = callback(claims, rsa_key("cosigner"))
    answer = await world.client.post(f"/cosigner/fb/v2/{path}", content=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = jwt.decode(answer.text, pem(rsa_key("callback")), ["RS256"])
    assert found["requestId"] == claims["requestId"]
    return found


def test_the_official_vector_is_approved_and_counted_once(url: str) -> None:
    async def script(world: World) -> None:
        assert (await ask(world, sign_request()))["action"] == "APPROVE"
        assert (await ask(world, sign_request(iat=1)))["action"] == "APPROVE"
        row = world.rows("SELECT * FROM activities")[0]
        assert row["kind"] == "withdrawal.requested"
        body = envelope()
        answer = await world.client.post("/webhooks/fb", content=body, headers=v2_headers(body, key=rsa_key("webhook")))
        assert answer.json()["status"] == "repeated"
        assert world.count("learning", "kind = 'activity'") == 1

    play(url, script)


def tampered() -> list[dict[str, object]]:
    other = [dict(sign_request()["destinations"][0], displayDstAddress="0x" + "1" * 40)]  # type: ignore[index]  # the sample is a plain dict
    more = [dict(sign_request()["destinations"][0], amountNativeStr="0.02")]  # type: ignore[index]  # the sample is a plain dict
    delegatecall = (
        "6a761202" + "00" * 12 + "96" * 20 + "00" * 32 + f"{320:064x}" + f"{1:064x}" + "00" * 192
        + f"{4:064x}" + "a9059cbb" + "00" * 28
    )  # fmt: skip
    raw = bytes.fromhex("02") + _rlp([1, 4, 1, 1, 21000, bytes.fromhex("5d" * 20), 0, bytes.fromhex(delegatecall), []])
    upgrade = [{"rawTx": raw.hex(), "payload": keccak(raw).hex()}]
    return [
        sign_request(destinations=other),
        sign_request(destinations=more),
        sign_request(rawTx=[{"rawTx": RAW_TX, "payload": "00" * 32}]),
        sign_request(rawTx=upgrade),
    ]


def _rlp(fields: list[object]) -> bytes:
    import rlp  # noqa: PLC0415  used here alone

    return bytes(rlp.encode(fields))


@pytest.mark.parametrize("index", range(4))
def test_what_is_not_shown_is_rejected_before_signing(url: str, index: int) -> None:
    async def script(world: World) -> None:
        answer = await ask(world, tampered()[index])
        assert answer["action"] == "REJECT"
        assert "shown" in answer["rejectionReason"]
        alert = world.rows("SELECT * FROM alerts")[0]
        assert (alert["kind"], alert["decision"]) == ("signing_tampering", "hold")
        assert (await ask(world, tampered()[index]))["action"] == "REJECT"

    play(url, script)


def test_holds_and_doubts_are_retried(url: str) -> None:
    async def script(world: World) -> None:
        assert (await ask(world, sign_request(rawTx=[])))["action"] == "RETRY"
        unlisted = sign_request(sourceId="77", requestId="r-2", txId="tx-2")
        assert (await ask(world, unlisted))["action"] == "RETRY"
        hold_by_hand(url, "fb", "account", "0")
        held = sign_request(requestId="r-3", txId="tx-3")
        assert (await ask(world, held))["action"] == "RETRY"
        seed(url, [("UPDATE gate_holds SET released_at = now()", ())])
        assert (await ask(world, held))["action"] == "APPROVE"

    play(url, script)


def test_a_doubt_passes_by_its_own_clearance_alone(url: str) -> None:
    async def script(world: World) -> None:
        told = envelope(id=str(sign_request()["txId"]))
        await world.client.post("/webhooks/fb", content=told, headers=v2_headers(told, key=rsa_key("webhook")))
        doubted = sign_request(rawTx=[])
        assert (await ask(world, doubted))["action"] == "RETRY"
        (asked,) = world.rows("SELECT activity_id, decision FROM decisions")
        assert asked["decision"] == "hold"
        clear_by_hand(url, world.rows("SELECT id FROM activities WHERE event_id = 'e-1'")[0]["id"])
        assert (await ask(world, doubted))["action"] == "RETRY"
        clear_by_hand(url, asked["activity_id"])
        assert (await ask(world, doubted))["action"] == "APPROVE"
        other = sign_request(rawTx=[], requestId="r-2")
        assert (await ask(world, other))["action"] == "RETRY"

    play(url, script)


def first_destination(**changes: object) -> dict[str, object]:
    return dict(sign_request()["destinations"][0], **changes)  # type: ignore[index]  # the sample is a plain dict


@pytest.mark.parametrize(
    "changes",
    [
        {"sourceType": "VAULT_ACCOUNT"},
        {"sourceType": "EXCHANGE"},
        {"sourceId": ""},
        {"sourceId": None},
        {"amountStr": "0.001"},
        {
            "asset": "BTC",
            "rawTx": [],
            "destinations": [first_destination(), first_destination(displayDstAddress="bc1q")],
        },
        {"asset": "NOBODY_KNOWS", "rawTx": []},
    ],
)
def test_what_cannot_be_weighed_as_one_transfer_of_ours_is_held(url: str, changes: dict[str, object]) -> None:
    async def script(world: World) -> None:
        assert (await ask(world, sign_request(**changes)))["action"] == "RETRY"
        assert (await ask(world, sign_request(**changes)))["action"] == "RETRY"

    play(url, script)


def test_a_destination_that_is_told_only_at_the_gate_is_weighed_there(url: str) -> None:
    async def script(world: World) -> None:
        early = envelope(destinationAddress="", id=str(sign_request()["txId"]))
        headers = v2_headers(early, key=rsa_key("webhook"))
        assert (await world.client.post("/webhooks/fb", content=early, headers=headers)).json()["status"] == "scored"
        await ask(world, sign_request())
        rows = world.rows("SELECT status, destination FROM activities ORDER BY received_at")
        assert [row["status"] for row in rows] == ["scored", "scored"]
        assert rows[1]["destination"] is not None

    play(url, script)


def test_a_forged_failure_does_not_open_the_gate(url: str) -> None:
    async def script(world: World) -> None:
        failed = envelope("FAILED", id=str(sign_request()["txId"]))
        headers = v2_headers(failed, key=rsa_key("webhook"))
        assert (await world.client.post("/webhooks/fb", content=failed, headers=headers)).json()["status"] == "noted"
        assert (await ask(world, sign_request()))["action"] == "RETRY"

    play(url, script)


@pytest.mark.parametrize("amounts", [{"amount": "1e999999"}, {"amount": "1", "amountUSD": "1e-99999999"}])
def test_an_absurd_amount_is_stored_without_a_fault(url: str, amounts: dict[str, str]) -> None:
    async def script(world: World) -> None:
        body = envelope(amountInfo=amounts)
        answer = await world.client.post("/webhooks/fb", content=body, headers=v2_headers(body, key=rsa_key("webhook")))
        assert answer.status_code == 200, answer.text

    play(url, script)


def test_configuration_changes_are_activities_without_their_secrets(url: str) -> None:
    async def script(world: World) -> None:
        change = {"requestId": "c-1", "type": "EXCHANGE", "extraInfo": {"apiKey": "hunter2", "accountName": "x"}}
        assert (await ask(world, change, "config_change_sign_request"))["action"] == "APPROVE"
        row = world.rows("SELECT * FROM activities")[0]
        assert row["kind"] == "governance.destination_whitelisted"
        assert b"hunter2" not in bytes(row["raw"])

    play(url, script)


def test_forged_callbacks_use_up_nobody_s_rate(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_still(monkeypatch)
    seed(url, [('UPDATE connections SET config = (config::jsonb || \'{"rate_per_s": "0.5"}\')', ())])

    async def script(world: World) -> None:
        forged = callback(sign_request(), rsa_key("stranger"))
        for _ in range(3):
            assert (await world.client.post("/cosigner/fb/v2/tx_sign_request", content=forged)).status_code == 401
        assert (await ask(world, sign_request()))["action"] == "APPROVE"

    play(url, script)


def test_faults_hold_and_only_a_failing_signature_fails(url: str) -> None:
    def broken(message: bytes, key: str = "") -> bytes:
        raise UnavailableError("the token is gone")

    async def script(world: World) -> None:
        body = callback(sign_request(), rsa_key("stranger"))
        assert (await world.client.post("/cosigner/fb/v2/tx_sign_request", content=body)).status_code == 401
        assert (await world.client.post("/cosigner/fb/v2/other", content=body)).status_code == 404
        assert (await world.client.post("/cosigner/none/v2/tx_sign_request", content=body)).status_code == 404
        seed(url, [("ALTER TABLE activities RENAME TO away", ())])
        assert (await ask(world, sign_request()))["action"] == "RETRY"
        seed(url, [("ALTER TABLE away RENAME TO activities", ())])
        assert (await ask(world, sign_request()))["action"] == "APPROVE"

    play(url, script)

    async def unsigned(world: World) -> None:
        body = callback(sign_request(requestId="r-9", txId="tx-9"), rsa_key("cosigner"))
        answer = await world.client.post("/cosigner/fb/v2/tx_sign_request", content=body)
        assert answer.status_code == 503

    play(url, unsigned, signer=broken)
