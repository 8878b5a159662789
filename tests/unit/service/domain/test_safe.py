"""What a Safe's owners sign, against an implementation that is not ours; and answers that no Safe gives."""

import pytest
from eth_abi.abi import decode, encode
from eth_account._utils.encode_typed_data.encoding_and_hashing import hash_domain, hash_eip712_message
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from service.domain import safe
from service.domain.errors import InputError, UnavailableError
from service.domain.safe import SENTINEL, ZERO, SafeState, SafeTransaction

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
TYPES = {
    "SafeTx": [
        {"name": name, "type": kind}
        for name, kind in (
            ("to", "address"), ("value", "uint256"), ("data", "bytes"), ("operation", "uint8"),
            ("safeTxGas", "uint256"), ("baseGas", "uint256"), ("gasPrice", "uint256"), ("gasToken", "address"),
            ("refundReceiver", "address"), ("nonce", "uint256"),
        )
    ]
}  # fmt: skip


def state(*owners: str, threshold: int = 2, version: tuple[int, int, int] = (1, 5, 0)) -> SafeState:
    return SafeState(version, 0, threshold, owners, (), ZERO, ZERO)


@given(addresses, addresses, st.binary(max_size=200), st.integers(0, 2**64), st.integers(1, 2**32))
def test_the_digest_is_eip_712(address: str, to: str, data: bytes, nonce: int, chain_id: int) -> None:
    message = {
        "to": to, "value": 0, "data": data, "operation": 0, "safeTxGas": 0, "baseGas": 0, "gasPrice": 0,
        "gasToken": ZERO, "refundReceiver": ZERO, "nonce": nonce,
    }  # fmt: skip
    domain = hash_domain({"chainId": chain_id, "verifyingContract": address})
    expected = keccak(b"\x19\x01" + domain + hash_eip712_message(TYPES, message))
    assert SafeTransaction(chain_id, address, to, data, nonce).digest() == expected


def test_signatures_stand_in_the_order_of_their_owners() -> None:
    low, high = "0x" + "0a" * 20, "0x" + "B0" * 20
    raw = SafeTransaction(1, "0x" + "11" * 20, ZERO, b"", 0).calldata({high: b"h" * 65, low: b"l" * 65})
    kinds = ["address", "uint256", "bytes", "uint8", *["uint256"] * 3, "address", "address", "bytes"]
    assert decode(kinds, raw[4:])[-1] == b"l" * 65 + b"h" * 65


def test_a_change_of_owners_names_the_one_before() -> None:
    first, second = "0x" + "0a" * 20, "0x" + "0b" * 20
    assert state(first, second).before(first) == SENTINEL
    assert state(first, second).before(second.upper().replace("0X", "0x")) == first
    with pytest.raises(InputError, match="is no owner"):
        state(first).before(second)


@pytest.mark.parametrize("threshold", [0, 2])
def test_an_owner_is_not_removed_when_nobody_could_sign_afterwards(threshold: int) -> None:
    owners = ("0x" + "0a" * 20, "0x" + "0b" * 20)
    with pytest.raises(InputError, match="cannot be met by 1 owners"):
        safe.remove_owner(state(*owners), owners[0], threshold)


@given(st.binary(max_size=256))
def test_what_is_no_list_of_addresses_is_not_read_as_one(raw: bytes) -> None:
    try:
        found = safe.addresses_answered(raw, "getOwners", 3)
    except UnavailableError:
        return
    assert len(found) <= 3


def test_a_longer_list_than_anybody_has_is_not_believed() -> None:
    with pytest.raises(UnavailableError, match="more than 3"):
        safe.addresses_answered(encode(["address[]"], [[ZERO] * 4]), "getOwners", 3)


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33), b"\x01" + bytes(31)])
def test_a_slot_without_an_address_is_not_read_as_one(raw: bytes) -> None:
    with pytest.raises(UnavailableError):
        safe.address_in_slot(raw)


def test_versions() -> None:
    assert safe.version_of("1.3.0+L2") == (1, 3, 0)
    assert state(version=(1, 4, 1)).has_module_guard is False
    for text in ("", "1.5", "1.x.0", "1.5.0.0", "1.9999.0"):
        with pytest.raises(InputError):
            safe.version_of(text)
