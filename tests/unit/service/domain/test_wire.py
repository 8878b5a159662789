import base64
import json
from decimal import Decimal

import pytest
import rlp
from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput
from hypothesis import given
from hypothesis import strategies as st

from service.domain.bitcoin.network import address_of, network_of
from service.domain.decode.call import selector
from service.domain.errors import InputError
from service.domain.ids import ConnectionId
from service.domain.wire import Decoded, check_event_id, decoded, parse_wire, to_activity
from tests.support.intake import encoded, withdrawal
from tests.support.safe_service import safe_tx

BTC = "bip122:000000000019d6689c085ae165831e93/slip44:0"
SAFE = "0x" + "5a" * 20
TYPED_PERMIT = {
    "types": {"Permit": [{"name": n, "type": t} for n, t in (
        ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"), ("deadline", "uint256")
    )]},
    "primaryType": "Permit",
    "domain": {"name": "Coin"},
    "message": {"owner": "0x" + "a" * 40, "spender": "0x" + "b" * 40, "value": 5, "nonce": 0, "deadline": 9},
}  # fmt: skip


def psbt(sighash: int | None) -> bytes:
    script = b"\x00\x14" + bytes(20)
    made = PSBT(Transaction(vin=[TransactionInput(bytes(32), 0)], vout=[TransactionOutput(900, Script(script))]))
    made.inputs[0].witness_utxo = TransactionOutput(1000, Script(script))
    made.inputs[0].sighash_type = sighash
    return base64.b64encode(made.serialize())


PSBT_TEXT, OPEN_PSBT = psbt(None), psbt(2)


def test_every_field_arrives() -> None:
    body = encoded(
        withdrawal(1, ip="203.0.113.7", country="SG", asn=64500, device="d", timestamp="2020-09-25T20:51:00+02:00")
    )
    found = to_activity(parse_wire(body), ConnectionId("c"), "e")
    assert found.occurred_at.isoformat() == "2020-09-25T18:51:00+00:00"
    assert (found.amount_base_units, found.amount_usd) == (2 * 10**16, Decimal("60.00"))
    assert (found.ip, found.country, found.asn, found.device) == ("203.0.113.7", "SG", 64500, "d")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"account": None}, "data.account"),
        ({"account": ""}, "data.account"),
        ({"account": "x" * 201}, "data.account"),
        ({"account": "a\0b"}, "data.account"),
        ({"amount_base_units": "-1"}, "data.amount_base_units"),
        ({"amount_base_units": "1\n"}, "data.amount_base_units"),
        ({"amount_base_units": 5}, "data.amount_base_units"),
        ({"amount_base_units": "9" * 79}, "data.amount_base_units"),
        ({"amount_base_units": str(2**256)}, "data.amount_base_units"),
        ({"amount_usd": "1e9"}, "data.amount_usd"),
        ({"amount_usd": "NaN"}, "data.amount_usd"),
        ({"amount_usd": "1.00\n"}, "data.amount_usd"),
        ({"amount_usd": ""}, "data.amount_usd"),
        ({"amount_usd": "1" * 19}, "data.amount_usd"),
        ({"amount_usd": "1." + "1" * 19}, "data.amount_usd"),
        ({"balance_usd": "-1"}, "data.balance_usd"),
        ({"balance_usd": "٣"}, "data.balance_usd"),
        ({"amount_base_units": ""}, "data.amount_base_units"),
        ({"amount_base_units": "٣"}, "data.amount_base_units"),
        ({"destination_kind": "friend"}, "data.destination_kind"),
        ({"asn": -1}, "data.asn"),
        ({"type": "withdrawal.exploded"}, "type"),
        ({"timestamp": "2020-09-25T18:51:00"}, "timestamp"),
        ({"timestamp": "1969-09-25T18:51:00Z"}, "timestamp"),
        ({"type": "signing.requested"}, "data.raw_transaction"),
        ({"type": "signing.requested", "raw_transaction": "zz"}, "data.raw_transaction"),
        ({"type": "signing.requested", "typed_data": {"types": {}}}, "typed_data"),
        ({"type": "signing.requested", "psbt": "%"}, "data.psbt"),
        ({"type": "signing.requested", "psbt": "cHNidP8="}, "psbt"),
        ({"type": "access.login_failed", "actor": None}, "data.actor"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as refused:
        to_activity(parse_wire(encoded(withdrawal(1, **changes))), ConnectionId("c"), "e")
    assert refused.value.field == field


@pytest.mark.parametrize("event_id", ["", "x" * 201, "a\0b", "gate:", "gate:r-1"])
def test_an_id_that_cannot_be_one_is_refused(event_id: str) -> None:
    with pytest.raises(InputError) as refused:
        check_event_id(event_id, "webhook-id")
    assert refused.value.field == "webhook-id"


@pytest.mark.parametrize("event_id", ["x" * 200, "gate", "gate-1", "agate:1", "Gate:1"])
def test_any_other_id_is_taken(event_id: str) -> None:
    assert check_event_id(event_id, "id") == event_id


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"null", b'"x"', b"[" * 5000, b"{"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InputError) as refused:
        parse_wire(body)
    assert refused.value.field == "body"


def test_the_largest_amount_is_a_word_of_the_evm() -> None:
    wire = parse_wire(encoded(withdrawal(1, amount_base_units=str(2**256 - 1))))
    assert to_activity(wire, ConnectionId("c"), "e").amount_base_units == 2**256 - 1


@pytest.mark.parametrize(
    ("shown", "words", "doubted"),
    [
        ({"typed_data": TYPED_PERMIT}, "may spend 5 base units", False),
        (
            {"typed_data": {**TYPED_PERMIT, "types": {"X": []}, "primaryType": "X", "message": {}}},
            "not known here",
            True,
        ),
        ({"typed_data": safe_tx(SAFE)}, f"signs for the Safe at {SAFE}", False),
        ({"typed_data": safe_tx(SAFE, gasPrice=1, baseGas=10**15)}, "pays whoever sends it up to 1 wei", True),
        ({"psbt": PSBT_TEXT.decode(), "asset": BTC}, "pays 900 sat to bc1q", False),
        ({"psbt": OPEN_PSBT.decode(), "asset": BTC}, "signatures leave outputs or inputs open", True),
    ],
)
def test_messages_and_psbts_are_read(shown: dict[str, object], words: str, *, doubted: bool) -> None:
    wire = parse_wire(encoded(withdrawal(1, type="signing.requested", **shown)))
    signing = to_activity(wire, ConnectionId("c"), "e").signing
    assert signing is not None
    assert words in (signing.summary or "")
    bytes_told = decoded(wire)
    assert bytes_told.payload_digest is not None
    assert (bytes_told.doubt is not None) == doubted


THERE, THIEF, TOKEN = ("0x" + digits * 20 for digits in ("12", "34", "56"))


def transaction(to: str, value: int, data: bytes = b"", chain: int = 1) -> str:
    return (b"\x02" + bytes(rlp.encode([chain, 1, 1, 1, 21000, bytes.fromhex(to[2:]), value, data, []]))).hex()


def transfer(to: str, amount: int) -> bytes:
    return selector("transfer(address,uint256)") + bytes(12) + bytes.fromhex(to[2:]) + amount.to_bytes(32, "big")


def asked(**changes: object) -> Decoded:
    told = {"destination": f"eip155:1:{THERE}", "asset": "eip155:1/slip44:60", "amount_base_units": "5", **changes}
    return decoded(parse_wire(encoded(withdrawal(1, **told))))


@pytest.mark.parametrize(
    ("changes", "raw", "differs"),
    [
        ({}, transaction(THERE, 5), False),
        ({"destination": THERE.upper().replace("X", "x")}, transaction(THERE, 5), False),
        ({"type": "withdrawal.signed"}, transaction(THIEF, 5), True),
        ({}, transaction(THIEF, 5), True),
        ({}, transaction(THERE, 6), True),
        ({}, transaction(THERE, 5, chain=10), True),
        ({}, transaction(THERE, 5, b"\x01"), True),
        ({"asset": f"eip155:1/erc20:{TOKEN}"}, transaction(TOKEN, 0, transfer(THERE, 5)), False),
        ({"asset": f"eip155:1/erc20:{TOKEN}"}, transaction(TOKEN, 0, transfer(THIEF, 5)), True),
        ({"asset": f"eip155:1/erc20:{TOKEN}"}, transaction(THIEF, 0, transfer(THERE, 5)), True),
    ],
)
def test_a_withdrawals_bytes_are_held_against_what_is_told(
    changes: dict[str, object], raw: str, *, differs: bool
) -> None:
    found = asked(raw_transaction=raw, **changes)
    assert found.signing is not None
    assert (found.signing.display_mismatch, found.doubt) == (differs, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"asset": "house:coin", "raw_transaction": transaction(THERE, 5)},
        {"destination": "customer-7", "raw_transaction": transaction(THERE, 5)},
        {"destination": f"eip155:10:{THERE}", "raw_transaction": transaction(THERE, 5)},
        {"asset": "eip155:1/erc20:0x12", "raw_transaction": transaction(THERE, 5)},
        {"typed_data": TYPED_PERMIT},
        {"contract_call": {"to": THERE}},
        {"raw_transaction": transaction(THERE, 5), "psbt": PSBT_TEXT.decode()},
        {"type": "access.login_failed", "raw_transaction": transaction(THERE, 5)},
    ],
)
def test_bytes_that_cannot_be_compared_are_a_doubt(changes: dict[str, object]) -> None:
    assert asked(**changes).doubt is not None


def test_a_withdrawal_without_bytes_is_weighed_as_told() -> None:
    assert asked() == Decoded()


TAPROOT, OTHER = b"\x51\x20" + bytes(range(32)), b"\x00\x14" + b"\x07" * 20
PAID = TAPROOT[:2] + b"\x01" * 32
PLACE = address_of(PAID, network_of(BTC.partition("/")[0]))


def paying(*outputs: tuple[bytes, int], spent: int = 100_000, script: bytes = TAPROOT) -> str:
    made = PSBT(Transaction(
        vin=[TransactionInput(bytes(32), 0)], vout=[TransactionOutput(sats, Script(to)) for to, sats in outputs]
    ))  # fmt: skip
    made.inputs[0].witness_utxo = TransactionOutput(spent, Script(script))
    return base64.b64encode(made.serialize()).decode()


@pytest.mark.parametrize(
    ("psbt_text", "differs", "doubted"),
    [
        (paying((PAID, 90_000)), False, False),
        (paying((PAID, 90_000), (TAPROOT, 9_000)), False, False),
        (paying((PAID, 90_000), (OTHER, 9_000)), False, True),
        (paying((PAID, 90_000), script=OTHER), False, True),
        (paying((PAID, 90_000), spent=1_000_000), False, True),
        (paying((PAID, 89_999)), True, False),
        (paying((OTHER, 90_000)), True, True),
        (paying((PAID, 45_000), (PAID, 45_000)), False, False),
    ],
)
def test_a_withdrawals_psbt_is_held_against_what_is_told(psbt_text: str, *, differs: bool, doubted: bool) -> None:
    found = asked(psbt=psbt_text, asset=BTC, destination=PLACE, amount_base_units="90000")
    assert found.signing is not None
    assert (found.signing.display_mismatch, found.doubt is not None) == (differs, doubted)


def test_a_psbt_told_as_another_chains_payment_is_another_payment() -> None:
    found = asked(psbt=paying((PAID, 5)))
    assert found.signing is not None
    assert found.signing.display_mismatch


def test_unknown_fields_are_no_error() -> None:
    told = withdrawal(1)
    told["more"] = {"x": 1}
    assert parse_wire(encoded(told)).type == "withdrawal.requested"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "timestamp", "data"]), inner),
    max_leaves=8,
)


@given(_JSON)
def test_no_json_raises_anything_else(document: object) -> None:
    with pytest.raises(InputError):
        parse_wire(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("eip155:1:0xAbCdEf0123456789aBcDeF0123456789ABCDEF01", "eip155:1:0xabcdef0123456789abcdef0123456789abcdef01"),
        ("0XABCDEF0123456789ABCDEF0123456789ABCDEF01", "0xabcdef0123456789abcdef0123456789abcdef01"),
        ("bip122:000000000019d6689c085ae165831e93:1BoatSLRHtKNngkdXEeobR76b53LETtpyT",) * 2,
        ("Cold-Wallet-7",) * 2,
    ],
)
def test_the_way_of_writing_an_evm_address_changes_nothing(told: str, kept: str) -> None:
    """A hold on a destination is looked up by its text: upper case would have passed it by."""
    found = to_activity(parse_wire(encoded(withdrawal(1, destination=told))), ConnectionId("c"), "e")
    assert found.destination == kept
