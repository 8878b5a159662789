"""Our transactions are what another implementation reads and recovers; malformed input is named."""

import secrets

import pytest
from eth_account import Account

from service.domain.errors import InputError
from service.domain.evm import (
    MAX_FEE,
    MOST_GAS,
    NATIVE_GAS,
    Fee,
    Transaction,
    balance_data,
    chain_number,
    gas_limit,
    gas_of,
    ran_out,
    transaction_hash,
    transfer_data,
)

TO = "0x5afe000000000000000000000000000000000001"


@pytest.mark.parametrize(("value", "data", "nonce"), [(0, b"", 0), (10**18, b"", 7), (0, transfer_data(TO, 5), 2**40)])
def test_another_implementation_signs_the_same_digest_to_the_same_bytes(value: int, data: bytes, nonce: int) -> None:
    owner = Account.from_key(secrets.token_bytes(32))
    fields = {
        "chainId": 1, "nonce": nonce, "to": bytes.fromhex(TO[2:]), "value": value, "data": data, "gas": 100_000,
        "maxFeePerGas": 30 * 10**9, "maxPriorityFeePerGas": 10**9, "type": 2,
    }  # fmt: skip
    theirs = owner.sign_transaction(fields)
    ours = Transaction(1, nonce, TO, value, data, 100_000, Fee(30 * 10**9, 10**9))
    signed = owner.unsafe_sign_hash(ours.digest())
    raw = ours.signed(signed.v - 27, signed.r, signed.s)
    assert raw == bytes(theirs.raw_transaction)
    assert transaction_hash(raw) == "0x" + bytes(theirs.hash).hex()
    assert gas_of(raw) == 100_000


def test_calldata() -> None:
    assert transfer_data(TO, 255).hex() == "a9059cbb" + TO[2:].rjust(64, "0") + f"{255:064x}"
    assert balance_data(TO).hex() == "70a08231" + TO[2:].rjust(64, "0")


@pytest.mark.parametrize("amount", [-1, 2**256])
def test_an_amount_no_token_can_have_is_refused(amount: int) -> None:
    with pytest.raises(InputError):
        transfer_data(TO, amount)


@pytest.mark.parametrize("address", ["", "5afe", "0x5afe", TO[:-1] + "g", TO + "00", TO[2:]])
def test_an_address_is_checked(address: str) -> None:
    with pytest.raises(InputError, match="40 hexadecimal"):
        transfer_data(address, 1)


@pytest.mark.parametrize("chain", ["bip122:0", "eip155", "eip155:", "eip155:x"])
def test_a_chain_that_is_no_evm_chain_is_refused(chain: str) -> None:
    with pytest.raises(InputError):
        chain_number(chain)


def test_a_raised_fee_is_enough_to_replace() -> None:
    fee = Fee(9, 1)
    assert fee.raised().max_fee * 10 >= fee.max_fee * 11
    assert fee.raised().priority_fee * 10 >= fee.priority_fee * 11
    assert fee.times(4) == Fee(36, 4)


def test_raising_ends_at_the_limit() -> None:
    fee = Fee(MAX_FEE - 1, MAX_FEE // 16)
    assert fee.raised().max_fee == fee.times(2).max_fee == MAX_FEE
    assert Fee(MAX_FEE, MAX_FEE).times(32) == Fee(MAX_FEE, MAX_FEE).raised() == Fee(MAX_FEE, MAX_FEE)


@pytest.mark.parametrize(
    ("estimated", "used_in_vain", "limit"),
    [
        (None, 0, 50_000),
        (0, 0, NATIVE_GAS),
        (NATIVE_GAS, 0, NATIVE_GAS),
        (NATIVE_GAS + 1, 0, 25_201),
        (MOST_GAS, 0, MOST_GAS),
        (MOST_GAS + 1, 0, 50_000),
        (40_000, 24_000, 48_000),
        (40_000, 24_001, 48_002),
        (None, MOST_GAS, MOST_GAS),
    ],
)
def test_a_gas_limit_is_bounded_both_ways_and_grows_after_a_failure(
    estimated: int | None, used_in_vain: int, limit: int
) -> None:
    assert gas_limit(estimated, 50_000, used_in_vain) == limit


def test_what_ran_out_used_nearly_all_also_behind_two_proxies() -> None:
    assert ran_out(100_000, 100_000)
    assert ran_out(100_000 * 63 * 63 // 64 // 64, 100_000)
    assert not ran_out(93_000, 100_000)
