"""The co-signer's callback to its end: messages, changes of the configuration, batches, bytes that nobody can read."""

import json

import pytest
from eth_hash.auto import keccak

from service.domain.bitcoin.network import MAIN, address_of
from service.domain.decode.eip712 import read_typed_data
from tests.integration.intake.test_fireblocks import ask, keys, play, tampered, url
from tests.support.cosigner_bitcoin import Coin, as_json, entries, witness
from tests.support.fireblocks import RAW_TX, sign_request
from tests.support.intake import World, encoded

__all__ = ["keys", "url"]  # fixtures
pytestmark = pytest.mark.servers

CHANGES = {
    "UNMANAGED_WALLET": "governance.destination_whitelisted",
    "EXCHANGE": "governance.destination_whitelisted",
    "FIAT_ACCOUNT": "governance.destination_whitelisted",
    "ADD_USER": "governance.user_added",
    "RE_ENROLL_DEVICE": "access.device_enrolled",
    "ENABLE_ONE_TIME_ADDRESS": "governance.policy_changed",
    "CHANGE_QUORUM_THRESHOLD": "governance.quorum_changed",
    "ADD_NETWORK_CONNECTION": "governance.policy_changed",
    "SET_NETWORK_CONNECTION_ROUTING_POLICY": "governance.policy_changed",
    "SET_NETWORK_ID_POLICY": "governance.policy_changed",
    "UPDATE_APPROVAL_GROUP_MAPPING": "governance.role_changed",
    "USERS_GROUP_APPROVAL": "governance.role_changed",
    "POLICY_APPROVAL": "governance.policy_changed",
    "SOMETHING_NEW": "governance.policy_changed",
}


def test_every_change_is_scored_and_no_key_inside_is_kept_anywhere(
    url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async def script(world: World) -> None:
        extra = {"subType": "EXTERNAL", "asset": "ETH", "address": "0x" + "9" * 40, "deep": [{"api_key": "hunter2"}]}
        for name in CHANGES:
            change = {"requestId": f"c-{name}", "type": name, "extraInfo": {**extra, "apiKey": "hunter2"}}
            await ask(world, change, "config_change_sign_request")
        rows = world.rows("SELECT kind, actor, status, score FROM activities ORDER BY received_at")
        assert [row["kind"] for row in rows] == list(CHANGES.values())
        assert {(row["actor"], row["status"]) for row in rows} == {("fireblocks-console", "scored")}
        tables = world.rows(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for table in tables:
            name = table["relname"]
            assert world.count(name, f"position('hunter2' in {name}::text) > 0") == 0, name
        raw = world.rows("SELECT string_agg(encode(raw, 'escape'), '') AS raw FROM activities")[0]["raw"]
        assert "hunter2" not in raw
        assert "[redacted]" in raw

    play(url, script)
    shown = capsys.readouterr()
    assert "hunter2" not in caplog.text + shown.out + shown.err


TYPED = {
    "types": {
        "Permit": [
            {"name": name, "type": kind}
            for kind, name in (
                ("address", "owner"),
                ("address", "spender"),
                ("uint256", "value"),
                ("uint256", "nonce"),
                ("uint256", "deadline"),
            )
        ]
    },
    "primaryType": "Permit",
    "domain": {"name": "Coin", "chainId": 1, "verifyingContract": "0x" + "c" * 40},
    "message": {"owner": "0x" + "a" * 40, "spender": "0x" + "b" * 40, "value": "5", "nonce": 0, "deadline": 9},
}


def typed(
    document: object, digest: str, *, operation: str = "TYPED_MESSAGE", kind: str = "EIP712"
) -> dict[str, object]:
    return sign_request(
        operation=operation,
        destinations=[],
        amountStr=None,
        extraParameters={"rawMessageData": {"messages": [{"content": document, "type": kind}]}},
        rawTx=[{"rawTx": "", "payload": digest}],
    )


def test_typed_messages_are_hashed_by_ourselves_and_told(url: str) -> None:
    digest = read_typed_data(encoded(TYPED)).digest.hex()
    text = b"log me in".hex()
    said = keccak(b"\x19Ethereum Signed Message:\n9log me in").hex()
    unknown = {**TYPED, "types": {"Order": TYPED["types"]["Permit"]}, "primaryType": "Order"}  # type: ignore[index]  # a plain dict
    other = read_typed_data(encoded(unknown)).digest.hex()
    cases = [
        (typed(TYPED, digest), "APPROVE"),
        (typed(json.dumps(TYPED), digest), "APPROVE"),
        (typed(TYPED, "00" * 32), "REJECT"),
        (typed(unknown, other), "RETRY"),
        (typed({"types": {}}, digest), "RETRY"),
        (typed(text, said, kind="EIP191"), "APPROVE"),
        (typed(text, digest, kind="EIP191"), "REJECT"),
        (typed("00" * 32, keccak(b"\x19Ethereum Signed Message:\n32" + bytes(32)).hex(), kind="EIP191"), "RETRY"),
        (typed(text, said, kind="BTC_MESSAGE"), "RETRY"),
        (typed(text, said, operation="RAW"), "RETRY"),
        (sign_request(operation="TYPED_MESSAGE"), "RETRY"),
        (typed(TYPED, digest) | {"rawTx": [{"payload": digest}, {"payload": digest}]}, "RETRY"),
    ]

    async def script(world: World) -> None:
        for number, (question, action) in enumerate(cases):
            told = await ask(world, question | {"requestId": f"m-{number}", "txId": f"m-{number}"})
            assert told["action"] == action, number
        rows = world.rows("SELECT kind, reasons FROM activities WHERE event_id = 'gate:m-0'")
        assert rows[0]["kind"] == "signing.requested"
        assert "may spend 5 base units" in rows[0]["reasons"]
        doubted = world.rows("SELECT reasons FROM activities WHERE event_id = 'gate:m-3'")[0]
        assert "of a kind that is not known" in doubted["reasons"]

    play(url, script)


@pytest.mark.parametrize(
    "raw",
    [
        [{"rawTx": "zz", "payload": "00"}],
        [{"rawTx": RAW_TX, "payload": "not hex"}],
        [{"rawTx": RAW_TX, "payload": "00"}] * 21,
        [{"rawTx": "c1" * 5000, "payload": "00" * 32}],
        [{"rawTx": "00" * 80_000, "payload": "00" * 32}],
    ],
    ids=["not hex", "payload not hex", "too many", "bomb", "long"],
)
def test_bytes_that_nobody_can_read_are_asked_for_again(url: str, raw: list[dict[str, str]]) -> None:
    async def script(world: World) -> None:
        assert (await ask(world, sign_request(rawTx=raw)))["action"] == "RETRY"
        assert world.count("activities") == 1

    play(url, script)


def test_the_parts_of_a_batch_are_answered_each_by_its_own_id(url: str) -> None:
    async def script(world: World) -> None:
        for part in ("tx-1-batch-0", "tx-1-batch-1", "tx-1-batch-0"):
            assert (await ask(world, sign_request(requestId=part)))["action"] == "APPROVE"
        assert world.count("decisions") == 2
        assert world.count("learning", "kind = 'activity'") == 1, "one transaction, counted once"
        changed = sign_request(requestId="tx-1-batch-0", destId="2")
        assert (await ask(world, changed))["action"] == "RETRY", "the same id with other facts"
        other = tampered()[0] | {"requestId": "tx-1-batch-2"}
        assert (await ask(world, other))["action"] == "REJECT"

    play(url, script)


KEY, FRIEND, THIEF = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20
SEGWIT: list[Coin] = [(KEY, 60_000), (KEY, 50_000)]
LEGACY: list[Coin] = [(KEY, None), (KEY, None)]


def bitcoin(name: str, coins: list[Coin], paid: bytes = FRIEND, **changes: object) -> dict[str, object]:
    """80,000 satoshis to a friend are shown."""
    there = str(address_of(witness(FRIEND), MAIN))
    told = dict(sign_request()["destinations"][0], amountNativeStr="0.0008", displayDstAddress=there)  # type: ignore[index]  # the sample is a plain dict
    raw = as_json(entries(coins, [(80_000, witness(paid)), (27_000, witness(KEY))]))
    amounts = {"asset": "BTC", "amount": 0.0008, "amountStr": "0.00080000", "fee": "0.00003000"}
    return (
        sign_request(**amounts, destAddress=there, destinations=[told], rawTx=raw, requestId=name, txId=name) | changes
    )


def test_bitcoin_entries_are_held_against_what_is_shown(url: str) -> None:
    true, changed = bitcoin("b-0", SEGWIT), bitcoin("b-1", SEGWIT, THIEF)
    swapped = as_json(entries(SEGWIT, [(80_000, witness(THIEF)), (27_000, witness(KEY))]))
    true_raw = as_json(entries(SEGWIT, [(80_000, witness(FRIEND)), (27_000, witness(KEY))]))
    lied = [one | {"payload": other["payload"]} for one, other in zip(true_raw, swapped, strict=True)]
    cases = [
        (true, "APPROVE"),
        (bitcoin("b-2", LEGACY), "APPROVE"),
        (changed, "RETRY"),
        (bitcoin("b-3", SEGWIT, rawTx=true_raw[:1]), "RETRY"),
        (bitcoin("b-4", SEGWIT, rawTx=[]), "RETRY"),
        (bitcoin("b-5", LEGACY, THIEF), "REJECT"),
    ]

    async def script(world: World) -> None:
        for question, action in cases:
            assert (await ask(world, question))["action"] == action, question["requestId"]
        assert (
            world.rows("SELECT kind FROM activities WHERE event_id = 'gate:b-0'")[0]["kind"] == "withdrawal.requested"
        )
        doubted = world.rows("SELECT reasons FROM activities WHERE event_id = 'gate:b-1'")[0]
        assert "of which the hash is signed" in doubted["reasons"]
        (stolen,) = world.rows("SELECT destination, reasons FROM activities WHERE event_id = 'gate:b-5'")
        assert stolen["destination"].endswith(str(address_of(witness(THIEF), MAIN)))
        assert "80000 sat to" in stolen["reasons"]
        assert [row["kind"] for row in world.rows("SELECT kind FROM alerts WHERE kind = 'signing_tampering'")]
        assert (await ask(world, bitcoin("b-6", SEGWIT, rawTx=lied)))["action"] == "REJECT"

    play(url, script)
