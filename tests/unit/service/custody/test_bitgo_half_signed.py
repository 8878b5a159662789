"""BitGo's half-signed transactions: held against what the question tells, and doubted where they cannot be."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from service.custody.bitgo.gate import BitgoDoor
from service.custody.bitgo.half_signed import Told, look
from service.domain.activity import SigningFacts
from service.domain.decode.evm import decode_transaction
from service.domain.gate import GateCall, GateQuestion
from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig
from tests.support.bitgo import CHANGE, PAID, PATH_SECRET, TBTC, WALLET, half_signed, policy_request

THIEF = b"\x00\x14" + b"\xbb" * 20
HASHED = b"\xa9\x14" + bytes(range(20)) + b"\x87"
TOKEN = "0x" + "a0" * 20
TO = "0x" + "5d" * 20
ASSETS = json.loads(TBTC) | {"eth:usdc": {"caip19": f"eip155:1/erc20:{TOKEN}", "decimals": 6}}
ETH = "eip155:1/slip44:60"
USDC = f"eip155:1/erc20:{TOKEN}"
RAW = "02ef0104843b9aca008506a0c1987d825208945dc69b1fbb13bafd09af88a782f0f285772ad5f8872386f26fc1000080c0"


def asked(coin: str = "tbtc4", **changes: object) -> GateQuestion:
    settings = {"wallets": json.dumps({WALLET: coin}), "assets": json.dumps(ASSETS)}
    config = ConnectionConfig(
        ConnectionId("bg"), "bitgo", settings, lambda _: PATH_SECRET.encode(), ("policy_path_secret",)
    )
    body = json.dumps(policy_request(**changes)).encode()
    return BitgoDoor(config).question(GateCall(f"policy/{PATH_SECRET}", {}, body, 1_700_000_000))


def facts(found: GateQuestion) -> SigningFacts:
    assert found.activity.signing is not None
    return found.activity.signing


def legacy(*outputs: tuple[int, bytes]) -> str:
    """A transaction with a first signature where the second is missing, as BitGo's legacy format has it."""
    spent = TransactionInput(b"\x07" * 32, 1, script_sig=Script(b"\x00\x01\x02\x00"))
    made = Transaction(vin=[spent], vout=[TransactionOutput(amount, Script(script)) for amount, script in outputs])
    return str(made.serialize().hex())


def test_a_psbt_that_pays_what_is_told_is_a_payment() -> None:
    found = asked()
    assert (found.doubt, found.activity.kind, facts(found).display_mismatch) == (None, "withdrawal.requested", False)
    assert "250000 sat to" in (facts(found).summary or "")
    assert found.payload_digest is not None


@pytest.mark.parametrize("outputs", [((250_000, THIEF), (749_000, CHANGE)), ((250_001, PAID), (748_999, CHANGE))])
@pytest.mark.parametrize("form", [half_signed, legacy])
def test_bytes_that_are_another_payment_say_so(form: Any, outputs: tuple[tuple[int, bytes], ...]) -> None:
    found = asked(halfSigned=form(*outputs))
    assert (found.activity.kind, facts(found).display_mismatch) == ("signing.requested", True)
    paid = Script(outputs[0][1]).address({"bech32": "tb", "p2pkh": b"\x6f", "p2sh": b"\xc4"})
    assert paid in (facts(found).summary or "")


def test_the_thief_is_the_destination_not_whom_the_request_tells() -> None:
    found = asked(halfSigned=half_signed((250_000, THIEF), (749_000, CHANGE)))
    thief = Script(THIEF).address({"bech32": "tb", "p2pkh": b"\x6f", "p2sh": b"\xc4"})
    assert (found.activity.destination or "").endswith(f":{thief}")


@pytest.mark.parametrize(
    ("half", "words"),
    [
        (half_signed((250_000, PAID), (749_000, CHANGE), (49_000, THIEF)), "pays others besides"),
        (half_signed(fee=200_000), "fee is large"),
        (half_signed(spent=HASHED), "fee is not proven"),
        (half_signed(sighash=2), "leaves outputs open"),
        (legacy((250_000, PAID), (749_000, CHANGE)), "format psbt"),
        ({"txHex": legacy((250_000, PAID), (749_000, CHANGE))}, "format psbt"),
        ("70736274ff00", "cannot be decoded"),
        ("zz", "cannot be decoded"),
        ("00" * 300_000, "cannot be decoded"),
        ({"somethingElse": True}, "cannot be decoded"),
    ],
)
def test_what_cannot_be_compared_is_a_doubt(half: object, words: str) -> None:
    found = asked(halfSigned=half)
    assert words in (found.doubt or "")
    assert found.activity.kind == "withdrawal.requested"


def test_an_address_of_no_chain_is_a_doubt() -> None:
    outputs = [{"outputAddress": "bc1nonsense", "outputValue": 250_000}]
    assert "none of the wallet's chain" in (asked(outputs=outputs).doubt or "")


def operation(
    *, to: str = TO, amount: int = 5, data: str = "", token: str | None = None, **changes: object
) -> dict[str, object]:
    """A multisig wallet's operation, hashed here once more."""
    expiry, sequence = 1_700_604_800, 7
    word = b"ERC20" if token else b"ETHER"
    what = bytes.fromhex(token[2:] if token else data)
    numbers = [number.to_bytes(32, "big") for number in (amount, expiry, sequence)]
    hashed = keccak(word + bytes.fromhex(to[2:]) + numbers[0] + what + numbers[1] + numbers[2])
    told = {
        "recipients": [{"address": to, "amount": str(amount), "data": data}],
        "expireTime": expiry,
        "contractSequenceId": sequence,
        "operationHash": "0x" + hashed.hex(),
        "signature": "0x" + "11" * 65,
        **({"tokenContractAddress": token} if token else {}),
    }
    return told | changes


def evm(half: object, coin: str = "eth", to: str = TO, amount: int = 5) -> GateQuestion:
    return asked(coin, halfSigned=half, outputs=[{"outputAddress": to, "outputValue": amount}], spendAmount=amount)


@pytest.mark.parametrize(
    ("coin", "half"),
    [
        ("eth", operation()),
        ("eth", {"txInfo": operation()}),
        ("eth:usdc", operation(token=TOKEN)),
    ],
)
def test_an_operation_that_is_the_payment_is_one(coin: str, half: Mapping[str, object]) -> None:
    found = evm(half, coin)
    assert (found.doubt, facts(found).display_mismatch) == (None, False)
    assert "pays 5" in (facts(found).summary or "")


@pytest.mark.parametrize(
    ("coin", "half"),
    [
        ("eth", operation(to=TOKEN)),
        ("eth", operation(amount=6)),
        ("eth", operation(data="a9059cbb")),
        ("eth", operation(token=TOKEN)),
        ("eth:usdc", operation()),
        ("eth:usdc", operation(token=TO)),
    ],
)
def test_an_operation_that_is_another_payment_says_so(coin: str, half: Mapping[str, object]) -> None:
    found = evm(half, coin)
    assert (found.activity.kind, facts(found).display_mismatch) == ("signing.requested", True)


@pytest.mark.parametrize(
    ("half", "words"),
    [
        (operation(expireTime=1), "not what its signature covers"),
        (operation(contractSequenceId=2**256), "not what its signature covers"),
        (operation(operationHash="0x" + "00" * 32), "not what its signature covers"),
        (operation(recipients=[]), "several recipients at once, or none"),
        (operation(recipients=[{"address": TO, "amount": "5"}] * 2), "several recipients at once, or none"),
        (operation(recipients=[{"address": "there", "amount": "5"}]), "cannot be decoded"),
        (operation(operationHash=None), "cannot be decoded"),
        ({"signature": "0x"}, "cannot be decoded"),
        ("0x00", "cannot be decoded"),
    ],
)
def test_an_operation_that_cannot_be_recomputed_is_a_doubt(half: object, words: str) -> None:
    assert words in (evm(half).doubt or "")


def test_a_whole_evm_transaction_is_decoded() -> None:
    there = str(decode_transaction(bytes.fromhex(RAW)).to)
    assert evm(RAW, to=there, amount=10**16).doubt is None
    assert facts(evm({"txHex": f"0x{RAW}"}, to=there, amount=10**16)).display_mismatch is False
    assert facts(evm(RAW, to=there, amount=10**15)).display_mismatch is True


def test_a_chain_that_is_neither_is_weighed_as_told() -> None:
    found = asked("sol", halfSigned="AQAB", outputs=[{"outputAddress": "there", "outputValue": 250_000}])
    assert (found.doubt, found.activity.signing) == (None, None)


JUNK = st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3), max_leaves=4)


@given(
    st.text(max_size=40)
    | st.binary(max_size=80).map(lambda b: (b"psbt\xff" + b).hex())
    | st.dictionaries(st.sampled_from(["txHex", "txInfo", "recipients", "operationHash", "expireTime"]), JUNK),
    st.sampled_from([ETH, USDC, "bip122:000000000019d6689c085ae165831e93/slip44:0", None]),
)
def test_no_bytes_raise_anything(half: Any, asset: str | None) -> None:
    seen = look(half, [Told(TO, 5, own=False)], asset)
    assert asset is None or seen.doubt is not None
