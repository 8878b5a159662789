"""EIP-712: hashes as eth-account's, an implementation that is not ours; and what a signature allows."""

import json
import sys
from contextlib import suppress
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from service.domain.decode.call import selector
from service.domain.decode.calldata import ITSELF_MULTI_SENDS, MULTI_SENDS
from service.domain.decode.eip712 import MAX_BYTES, TypedData, read_typed_data
from service.domain.decode.signing import facts_of_typed_data
from service.domain.decode.typed import decode_typed_data, typed_doubt
from service.domain.errors import InputError

_limit = sys.getrecursionlimit()
from eth_account.messages import _hash_eip191_message, encode_typed_data  # noqa: E402  raises the recursion limit

sys.setrecursionlimit(_limit)

A, B, C = ("0x" + digit * 40 for digit in "abc")
DOMAIN = {"name": "Coin", "version": "1", "chainId": 1, "verifyingContract": C}
PERMIT = "owner:address spender:address value:uint256 nonce:uint256 deadline:uint256"
DAI = "holder:address spender:address nonce:uint256 expiry:uint256 allowed:bool"
DETAILS = "token:address amount:uint160 expiration:uint48 nonce:uint48"
PERMITTED = "token:address amount:uint256"
SAFE = (
    "to:address value:uint256 data:bytes operation:uint8 safeTxGas:uint256 baseGas:uint256 gasPrice:uint256 "
    "gasToken:address refundReceiver:address nonce:uint256"
)


def fields(text: str) -> list[dict[str, str]]:
    return [dict(zip(("name", "type"), one.split(":"), strict=True)) for one in text.split()]


def data(message: dict[str, Any], **types: str) -> dict[str, Any]:
    primary = next(iter(types))
    told = {name: fields(text) for name, text in types.items()}
    return {"types": told, "primaryType": primary, "domain": DOMAIN, "message": message}


def read(document: dict[str, Any]) -> TypedData:
    return read_typed_data(json.dumps(document).encode())


def theirs(document: dict[str, Any]) -> bytes:
    return bytes(_hash_eip191_message(encode_typed_data(full_message=document)))


MAIL: dict[str, Any] = {
    "types": {
        "EIP712Domain": fields("name:string version:string chainId:uint256 verifyingContract:address"),
        "Person": fields("name:string wallet:address"),
        "Mail": fields("from:Person to:Person contents:string"),
    },
    "primaryType": "Mail",
    "domain": {"name": "Ether Mail", "version": "1", "chainId": 1, "verifyingContract": "0x" + "Cc" * 20},
    "message": {
        "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
        "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
        "contents": "Hello, Bob!",
    },
}


def test_the_official_example() -> None:
    document = json.loads(json.dumps(MAIL))
    document["domain"]["verifyingContract"] = "0x" + "C" * 40
    found = read(document)
    assert found.digest.hex() == "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2"
    assert (found.chain_id, found.contract) == (1, "0x" + "c" * 40)
    assert decode_typed_data(found).name == "unknown message"
    assert facts_of_typed_data(found).governance_call is None


@pytest.mark.parametrize(
    "document",
    [
        MAIL,
        data({"a": [[1, 2], []], "b": "0x1234", "c": [True, False]}, Odd="a:int8[][] b:bytes2 c:bool[2]"),
        data({"a": -1, "b": "0x", "c": "-128", "d": "0xff"}, Odd="a:int256 b:bytes c:int8 d:uint8"),
        data({"next": {"n": "é"}}, Outer="next:Inner", Inner="n:string"),
        {**data({"a": True}, X="a:bool"), "domain": {}},
    ],
    ids=["mail", "arrays", "numbers", "nested", "domain"],
)  # fmt: skip
def test_the_digest_is_that_of_another_library(document: dict[str, Any]) -> None:
    assert read(document).digest == theirs(document)


def permit(value: object) -> dict[str, Any]:
    return data({"owner": A, "spender": B, "value": value, "nonce": 0, "deadline": 9}, Permit=PERMIT)


def single(amount: int) -> dict[str, Any]:
    details = {"token": A, "amount": amount, "expiration": 1, "nonce": 2}
    return data(
        {"details": details, "spender": B, "sigDeadline": 3},
        PermitSingle="details:PermitDetails spender:address sigDeadline:uint256",
        PermitDetails=DETAILS,
    )


def batch(*amounts: int) -> dict[str, Any]:
    return data(
        {"permitted": [{"token": A, "amount": n} for n in amounts], "spender": B, "nonce": 1, "deadline": 3},
        PermitBatchTransferFrom="permitted:TokenPermissions[] spender:address nonce:uint256 deadline:uint256",
        TokenPermissions=PERMITTED,
    )


def safe(operation: int, calldata: bytes, to: str = A, **changes: object) -> dict[str, Any]:
    message = {"to": to, "value": "5", "data": "0x" + calldata.hex(), "operation": operation, "nonce": 7}
    message |= {"safeTxGas": 0, "baseGas": 0, "gasPrice": 0}
    return data(message | {"gasToken": C, "refundReceiver": C} | changes, SafeTx=SAFE)


SWAP = selector("swapOwner(address,address,address)") + b"".join(
    bytes.fromhex(x[2:]).rjust(32, b"\0") for x in (A, B, C)
)
BOTH = {"holder": A, "spender": B, "nonce": 0, "expiry": 0}


@pytest.mark.parametrize(
    ("document", "facts", "words"),
    [
        (permit(5), (False, False, False), f"signs that {B} may spend 5 base units of {A} at {C}"),
        (permit(str(2**256 - 1)), (False, True, False), "without limit"),
        (permit(0), (False, False, False), "may spend nothing"),
        (data({**BOTH, "allowed": True}, Permit=DAI), (False, True, False), "without limit"),
        (single(2**160 - 1), (False, True, False), f"without limit of token {A}"),
        (single(7), (False, False, False), "7 base units"),
        (batch(1, 2**200), (False, True, False), "signs 2 allowances"),
        (safe(0, SWAP), (False, False, True), f"replaces the owner {B} by {C}"),
        (
            safe(1, b"\x01\x02\x03\x04"),
            (True, None, None),
            "by delegatecall, which can rewrite the wallet with 5 wei",
        ),
        (safe(2, b""), (None, None, True), "malformed SafeTx"),
        (
            safe(0, b"", gasPrice=2, baseGas=9),
            (False, False, True),
            f"pays {C} for gas at least 18 base units of token {C}",
        ),
    ],
)
def test_what_a_signature_allows(document: dict[str, Any], facts: tuple[bool | None, ...], words: str) -> None:
    found = read(document)
    assert found.digest == theirs(document)
    told = facts_of_typed_data(found)
    assert (told.delegatecall, told.unlimited_approval, told.governance_call) == facts
    assert words in (told.summary or "")


def test_a_gas_refund_is_a_doubt_in_a_batch_too_and_at_a_price_of_nothing_is_none() -> None:
    assert typed_doubt(decode_typed_data(read(safe(0, b"", baseGas=9)))) is None
    batch_of = selector("multiSend(bytes)") + encode(["bytes"], [bytes(1 + 20 + 64) * 9])
    for place, data_ in ((A, b""), (min(MULTI_SENDS), batch_of)):
        found = decode_typed_data(read(safe(int(bool(data_)), data_, place, gasPrice=2)))
        assert "gas refund" in (typed_doubt(found) or "")
        assert f"pays {C} for gas" in found.sentence()


def test_a_signed_batch_of_1_5_0_that_calls_the_zero_address_calls_the_safe_itself() -> None:
    item = bytes(1 + 20 + 32) + len(SWAP).to_bytes(32, "big") + SWAP
    batch_of = selector("multiSend(bytes)") + encode(["bytes"], [item])
    for place in sorted(MULTI_SENDS):
        told = facts_of_typed_data(read(safe(1, batch_of, place)))
        assert (told.delegatecall, told.governance_call) == (False, True)
        assert ("call to the Safe itself: swapOwner replaces the owner" in (told.summary or "")) == (
            place in ITSELF_MULTI_SENDS
        )


def test_a_message_that_only_resembles_a_permit_is_unknown() -> None:
    near = data({"owner": A, "spender": B, "value": 1, "nonce": 0, "deadline": 9}, Permit=PERMIT.replace("256", "128"))
    assert decode_typed_data(read(near)).name == "unknown message"
    hidden = single(1)
    hidden["types"]["PermitDetails"] = fields("other:address")
    hidden["message"]["details"] = {"other": A}
    assert decode_typed_data(read(hidden)).name == "unknown message"


def spoilt(**changes: object) -> bytes:
    return json.dumps({**permit(5), **changes}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
        json.dumps(permit(5)).replace('"nonce": 0', '"nonce": 0, "nonce": 1').encode(),
        spoilt(extra=1),
        spoilt(primaryType="Other"),
        spoilt(primaryType=3),
        spoilt(primaryType="EIP712Domain"),
        spoilt(message=[]),
        spoilt(message={}),
        spoilt(domain={**DOMAIN, "hidden": 1}),
        spoilt(types={"Permit": [{"name": "a", "type": "uint7"}]}, message={"a": 1}),
        spoilt(types={"Permit": [{"name": "a", "type": "Gone"}]}, message={"a": 1}),
        spoilt(types={"Permit": [{"name": "a"}]}),
        spoilt(types={"uint256": []}, primaryType="uint256", message={}),
        spoilt(types={"Permit": fields("a:bool a:bool")}),
        spoilt(types={f"T{i}": [] for i in range(65)}),
        spoilt(types={"P": fields("a:uint8" + "[]" * 40)}, primaryType="P", message={"a": []}),
        spoilt(types={"P": fields("p:P")}, primaryType="P", message={"p": {"p": {}}}),
        json.dumps(permit(1.5)).encode(),
        json.dumps(permit(2**256)).encode(),
        json.dumps(permit("5e3")).encode(),
        json.dumps(permit(value=True)).encode(),
        json.dumps(permit(None)).encode(),
        json.dumps(data({"a": "\ud800"}, P="a:string")).encode(),
        json.dumps(data({"a": "0x1"}, P="a:bytes")).encode(),
        json.dumps(data({"a": "0x12"}, P="a:bytes2")).encode(),
        json.dumps(data({"a": [1]}, P="a:uint8[2]")).encode(),
        json.dumps(data({"a": "0x12"}, P="a:address")).encode(),
        json.dumps(data({"a": list(range(5000))}, P="a:uint16[]")).encode(),
    ],
    ids=range(32),
)
def test_anything_else_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_typed_data(text)
    assert caught.value.field == "typed_data"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([A, "uint8", "0x12"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([permit(5), single(3), batch(1), safe(0, b"")]), st.data())
def test_a_damaged_message_is_read_or_refused(document: dict[str, Any], drawn: st.DataObject) -> None:
    copy = json.loads(json.dumps(document))
    place: Any = copy
    while isinstance(place, (dict, list)) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = drawn.draw(st.sampled_from(keys))
        if drawn.draw(st.booleans()):
            place[key] = drawn.draw(json_values)
            break
        place = place[key]
    with suppress(InputError):
        decode_typed_data(read(copy)).sentence()


@given(
    st.integers(0, 2**256 - 1), st.integers(-(2**127), 2**127 - 1), st.binary(max_size=40), st.text(max_size=20),
    st.lists(st.booleans(), max_size=3),
)  # fmt: skip
def test_any_values_hash_as_in_another_library(n: int, i: int, raw: bytes, text: str, flags: list[bool]) -> None:
    message = {"n": n, "i": i, "raw": "0x" + raw.hex(), "text": text, "flags": flags}
    document = data(message, P="n:uint256 i:int128 raw:bytes text:string flags:bool[]")
    with suppress(InputError):
        assert read(document).digest == theirs(document)
        return
    assert any("\ud800" <= c <= "\udfff" for c in text)
