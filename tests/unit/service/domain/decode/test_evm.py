import sys
from contextlib import suppress

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from service.domain.decode.call import selector
from service.domain.decode.calldata import decode_call
from service.domain.decode.evm import decode_transaction, from_hex
from service.domain.decode.signing import facts_of, facts_of_call
from service.domain.errors import InputError
from tests.support.fireblocks import PAYLOAD, RAW_TX

_limit = sys.getrecursionlimit()
from eth_account import Account  # noqa: E402  a library below it raises the recursion limit for the whole process

sys.setrecursionlimit(_limit)

TO = "0x" + "12" * 20
KEY = "0x" + "11" * 32


def word(value: int | str) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes(12) + bytes.fromhex(value.removeprefix("0x"))


def dynamic(data: bytes) -> bytes:
    return word(len(data)) + data + bytes(-len(data) % 32)


def exec_transaction(to: str, operation: int, data: bytes) -> bytes:
    head = word(to) + word(0) + word(320) + word(operation) + word(0) * 3 + word(TO) * 2 + word(320)
    return selector(
        "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
    ) + head + dynamic(data)  # fmt: skip


def test_the_official_vector() -> None:
    found = decode_transaction(bytes.fromhex(RAW_TX))
    assert found.digest.hex() == PAYLOAD
    assert (found.chain, found.nonce, found.value, found.data) == ("eip155:1", 4, 10**16, b"")
    assert found.to == "0x5dc69b1fbb13bafd09af88a782f0f285772ad5f8"


@pytest.mark.parametrize(
    "fields",
    [
        {"gasPrice": 5},
        {"gasPrice": 5, "accessList": []},
        {"maxFeePerGas": 5, "maxPriorityFeePerGas": 1},
    ],
)
def test_what_an_independent_library_signs_decodes_to_the_same(fields: dict[str, object]) -> None:
    told = {"chainId": 10, "nonce": 3, "to": TO, "value": 7, "gas": 21000, "data": "0xabcdef", **fields}
    raw = bytes(Account.sign_transaction(told, KEY).raw_transaction)
    found = decode_transaction(raw)
    assert (found.chain_id, found.nonce, found.to, found.value, found.data.hex()) == (10, 3, TO, 7, "abcdef")


def test_unsigned_legacy_transactions_with_and_without_a_chain() -> None:
    six = rlp.encode([3, 5, 21000, bytes.fromhex(TO[2:]), 7, b""])
    nine = rlp.encode([3, 5, 21000, bytes.fromhex(TO[2:]), 7, b"", 137, 0, 0])
    assert decode_transaction(six).chain is None
    assert decode_transaction(nine).chain == "eip155:137"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x02",
        b"\x03" + rlp.encode([1] * 9),
        b"\x04" + rlp.encode([1, 1, 1, 1, 1, bytes(20), 1, b"", [], [[1, bytes(20), 0, 0, 1, 1]]]),
        b"\x02" + rlp.encode([1] * 8),
        b"\x02" + rlp.encode([1, 1, 1, 1, 1, b"short", 1, b"", []]),
        b"\x02" + rlp.encode([1, 1, 1, 1, 1, bytes(20), b"\x00\x01", b"", []]),
        b"\x02" + rlp.encode([1, 1, 1, 1, 1, [], 1, b"", []]),
        bytes.fromhex(RAW_TX) + b"\x00",
        b"\x7f",
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError):
        decode_transaction(raw)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with suppress(InputError):
        decode_transaction(raw)
    decode_call(raw)
    decode_call(selector("multiSend(bytes)") + raw)
    decode_call(exec_transaction(TO, 0, raw))


@given(st.text(max_size=40))
def test_hex_is_read_or_refused(text: str) -> None:
    with suppress(InputError):
        assert from_hex(text, field="f").hex() == text[2 * text.lower().startswith("0x") :].lower()


def test_token_calls() -> None:
    transfer = decode_call(selector("transfer(address,uint256)") + word(TO) + word(5))
    assert (transfer.name, transfer.recipient, transfer.amount) == ("transfer", TO, 5)
    little = decode_call(selector("approve(address,uint256)") + word(TO) + word(5))
    endless = decode_call(selector("approve(address,uint256)") + word(TO) + word(2**256 - 1))
    assert (little.unlimited_approval, endless.unlimited_approval) == (False, True)
    dirty = selector("transfer(address,uint256)") + b"\x01" * 32 + word(5)
    assert decode_call(dirty).name == "unknown call"


@pytest.mark.parametrize("signature", ["changeMasterCopy(address)", "setGuard(address)", "upgradeTo(address)"])
def test_governance_is_seen_at_any_depth(signature: str) -> None:
    inner = selector(signature) + word(TO)
    assert decode_call(inner).governance
    wrapped = decode_call(exec_transaction(TO, 0, exec_transaction(TO, 0, inner)))
    assert wrapped.any("governance")
    assert not wrapped.any("delegatecall")
    for _ in range(5):
        inner = exec_transaction(TO, 0, inner)
    assert decode_call(inner).any("governance")


def test_a_delegatecall_through_a_safe_is_seen_alone_and_in_a_batch() -> None:
    call = exec_transaction(TO, 1, selector("transfer(address,uint256)") + word(TO) + word(0))
    assert decode_call(call).any("delegatecall")
    item = bytes([1]) + bytes.fromhex(TO[2:]) + word(0) + word(4) + b"abcd"
    harmless = bytes([0]) + bytes.fromhex(TO[2:]) + word(0) + word(0)
    batch = selector("multiSend(bytes)") + word(32) + dynamic(harmless + item + harmless)
    found = decode_call(batch)
    assert found.any("delegatecall")
    assert "delegatecall" in found.sentence()
    cut = selector("multiSend(bytes)") + word(32) + dynamic(harmless + item[:-1])
    assert decode_call(cut).any("governance")


def test_facts_of_calls_and_transactions() -> None:
    creation = decode_transaction(b"\x02" + rlp.encode([1, 1, 1, 1, 1, b"", 0, b"\x60", []]))
    assert facts_of(creation).governance_call
    told = facts_of_call(to=TO, operation=1, method="anything()", data="", field="f")
    assert (told.delegatecall, told.unlimited_approval) == (True, None)
    unread = facts_of_call(to=TO, operation=0, method="", data="0x01020304", field="f")
    assert (unread.delegatecall, unread.unlimited_approval, unread.governance_call) == (None, None, None)
    known = decode_call(selector("approve(address,uint256)") + word(TO) + word(2**256 - 1))
    assert (known.fact("unlimited_approval"), known.fact("governance")) == (True, False)
    named = facts_of_call(to=TO, operation=0, method="setGuard(address)", data="", field="f")
    assert named.governance_call


def nested(size: int) -> bytes:
    heads: list[bytes] = []
    inside = 1
    while inside < size:
        width = (inside.bit_length() + 7) // 8
        heads.append(bytes([0xC0 + inside]) if inside < 56 else bytes([0xF7 + width]) + inside.to_bytes(width, "big"))
        inside += len(heads[-1])
    return b"".join(reversed(heads)) + b"\xc0"


def test_rlp_bombs_are_refused_before_anything_is_built() -> None:
    for bomb in (nested(120_000), b"\x02" + nested(120_000), bytes(rlp.encode([b"\x01"] * 100_000))):
        with pytest.raises(InputError, match="nested deeper"):
            decode_transaction(bomb)
    for lie in (b"\xff" * 9, b"\xf8\xff", b"\xbf" + b"\xff" * 8, b"\x02\xfb\xff\xff\xff\xff"):
        with pytest.raises(InputError):
            decode_transaction(lie)


def test_an_access_list_of_any_honest_size_is_read() -> None:
    keys = [[bytes(20), [bytes(32)] * 30] for _ in range(100)]
    raw = b"\x02" + bytes(rlp.encode([1, 1, 1, 1, 1, bytes(20), 0, b"", keys]))
    assert decode_transaction(raw).chain_id == 1
