"""Bytes of EVM transactions against the official vector and an independent implementation."""

import pytest
from eth_account import Account as EthAccount
from hypothesis import given, settings
from hypothesis import strategies as st

from drills.emulator import evm
from drills.emulator.errors import FieldError, RpcError
from drills.emulator.records import EvmCall
from drills.evm.node import ZERO, call_data
from drills.evm.safe import EXECUTE, usurping

RAW = "02ef0104843b9aca008506a0c1987d825208945dc69b1fbb13bafd09af88a782f0f285772ad5f8872386f26fc1000080c0"
PAYLOAD = "77b4e74099ce90c08503c0e0bb6e672dbe1c5e3e127ce333bf22eb581cd3f6ce"
TO = "0x5dc69b1fbb13bafd09af88a782f0f285772ad5f8"


def test_official_vector() -> None:
    fees = evm.Fees(gas=21_000, max_fee=0x06A0C1987D, priority_fee=10**9)
    transaction = evm.EvmTransaction(1, 4, fees, EvmCall(TO, 10**16))
    assert transaction.unsigned_bytes().hex() == RAW
    assert transaction.payload().hex() == PAYLOAD


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**128), st.binary(max_size=100), st.integers(1, 2**200))
def test_signed_transactions_are_read_back(nonce: int, value: int, data: bytes, key: int) -> None:
    owner = EthAccount.from_key(key.to_bytes(32, "big"))
    fields = {"chainId": 1, "type": 2, "nonce": nonce, "value": value, "data": data, "gas": 90_000}
    fields |= {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9, "to": bytes.fromhex(TO[2:])}
    raw = bytes(owner.sign_transaction(fields).raw_transaction)
    found, sender = evm.decode_signed(raw)
    assert sender == owner.address.lower()
    assert found == evm.EvmTransaction(1, nonce, evm.Fees(90_000, 10**10, 10**9), EvmCall(TO, value, data))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_cleanly(raw: bytes) -> None:
    with pytest.raises(RpcError):
        evm.decode_signed(b"\x02" + raw)


def test_erc20_transfer_is_read_back() -> None:
    call = evm.transfer_call("0x" + "aa" * 20, TO, 7)
    assert evm.read_erc20_transfer(call.data) == (TO, 7)
    assert evm.read_erc20_transfer(call.data + b"\0") is None
    assert evm.read_erc20_transfer(b"") is None


def test_the_inner_call_of_a_safe_is_read_as_the_abi_has_it() -> None:
    target = "0x" + "bd" * 20
    inner = usurping(target)
    assert (inner.data[:4], inner.operation) == (evm.TRANSFER, evm.DELEGATECALL)
    data = call_data(EXECUTE, inner.to, 0, inner.data, inner.operation, 0, 0, 0, ZERO, ZERO, b"")
    assert evm.read_exec_transaction(data) == evm.SafeCall(target, 0, 1)
    assert evm.read_exec_transaction(data[:100]) is None


def test_checksum_address() -> None:
    assert (
        evm.checksum_address("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed")
        == "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    )


@pytest.mark.parametrize("text", ["eip155:1:0x12", "bip122:1:0x" + "a" * 40, "0x" + "a" * 40, "eip155:x:0x" + "a" * 40])
def test_malformed_accounts_are_refused(text: str) -> None:
    with pytest.raises(FieldError):
        evm.from_caip10(text)
