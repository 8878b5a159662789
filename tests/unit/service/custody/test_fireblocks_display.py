import json
from decimal import Decimal

import pytest
import rlp
from eth_hash.auto import keccak
from jwt.algorithms import RSAAlgorithm

from service.custody.fireblocks.assets import read_assets
from service.custody.fireblocks.display import compare
from service.custody.fireblocks.keyset import KeySet
from service.custody.fireblocks.mapping import dollars
from service.custody.fireblocks.seen import RawTx, Seen, Shown, ShownDestination
from service.domain.assets import Assets
from service.domain.decode.call import selector
from service.domain.errors import InputError, UnauthenticatedError, UnavailableError
from tests.support.fireblocks import rsa_key

USDC = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
THERE, THIEF = "0x" + "12" * 20, "0x" + "34" * 20
ASSETS = read_assets({})
SOLANA = read_assets(
    {"assets": json.dumps({"SOL": {"caip19": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501", "decimals": 9}})}
)


def raw(to: str, value: int, data: bytes, chain: int = 1) -> tuple[RawTx, ...]:
    encoded = b"\x02" + bytes(rlp.encode([chain, 1, 1, 1, 21000, bytes.fromhex(to[2:]), value, data, []]))
    return (RawTx(encoded.hex(), keccak(encoded).hex()),)


def transfer(to: str, amount: int) -> bytes:
    return selector("transfer(address,uint256)") + bytes(12) + bytes.fromhex(to[2:]) + amount.to_bytes(32, "big")


def shown(asset: str, amount: str, *, operation: str = "TRANSFER", address: str = THERE) -> Shown:
    return Shown(operation, asset, (ShownDestination(amount_native_str=amount, display_dst_address=address),))


def mismatch(seen: Seen) -> bool | None:
    return None if seen.facts is None else seen.facts.display_mismatch


@pytest.mark.parametrize(
    ("what", "signed", "differs"),
    [
        (shown("USDC", "1.5"), raw(USDC, 0, transfer(THERE, 1_500_000)), False),
        (shown("USDC", "1.5"), raw(USDC, 0, transfer(THIEF, 1_500_000)), True),
        (shown("USDC", "1.5"), raw(USDC, 0, transfer(THERE, 1_500_001)), True),
        (shown("USDC", "1.5"), raw(USDC, 1, transfer(THERE, 1_500_000)), True),
        (shown("USDC", "1.5"), raw(THIEF, 0, transfer(THERE, 1_500_000)), True),
        (shown("USDC", "1.5"), raw(USDC, 0, transfer(THERE, 1_500_000), chain=10), True),
        (shown("ETH", "2"), raw(THERE, 2 * 10**18, b""), False),
        (shown("ETH", "2"), raw(THERE, 2 * 10**18, b"\x01"), True),
        (shown("ETH", "0.0000000000000000001"), raw(THERE, 0, b""), True),
        (shown("ETH", "many"), raw(THERE, 0, b""), True),
        (shown("ETH", "2", address=""), raw(THERE, 2 * 10**18, b""), True),
        (shown("ETH", "0", operation="CONTRACT_CALL"), raw(THERE, 0, b"\x01\x02\x03\x04"), False),
        (shown("ETH", "0", operation="CONTRACT_CALL"), raw(THIEF, 0, b"\x01\x02\x03\x04"), True),
    ],
)
def test_what_is_signed_beside_what_is_shown(what: Shown, signed: tuple[RawTx, ...], differs: bool) -> None:  # noqa: FBT001  a parameter of the table
    assert mismatch(compare(what, signed, ASSETS)) is differs


def test_the_real_recipient_is_told_and_any_bad_entry_counts() -> None:
    stolen = compare(shown("USDC", "1.5"), raw(USDC, 0, transfer(THIEF, 1_500_000)), ASSETS)
    assert stolen.recipient == THIEF
    good, bad = raw(THERE, 10**18, b""), raw(THIEF, 10**18, b"")
    assert mismatch(compare(shown("ETH", "1"), good + bad, ASSETS))


def test_what_cannot_be_compared_is_a_doubt() -> None:
    assert compare(shown("ETH", "1"), (), ASSETS).doubt is not None
    assert compare(shown("ETH", "1"), (RawTx("ff", "00"),), ASSETS).doubt is not None
    assert compare(shown("NEW", "1"), raw(THERE, 1, b""), ASSETS).doubt is not None
    assert compare(shown("BTC", "1"), (RawTx("0100", "00"),), ASSETS).doubt is not None
    assert compare(shown("BTC", "1"), (), ASSETS).doubt is not None
    assert compare(shown("SOL", "1"), (RawTx("0100", "00"),), SOLANA).doubt is None
    assert compare(shown("NEW", "1"), (RawTx("0400", "00"),), ASSETS).doubt is not None
    assert compare(shown("NEW", "1"), (), ASSETS).doubt is not None


def test_two_transactions_behind_one_that_is_shown_are_a_doubt() -> None:
    once = raw(THERE, 10**18, b"")
    seen = compare(shown("ETH", "1"), once + once, ASSETS)
    assert mismatch(seen) is False
    assert seen.doubt is not None
    assert compare(shown("ETH", "1"), once, ASSETS).doubt is None


@pytest.mark.parametrize("text", ["1e999999", "1e999990", "0." + "1" * 200_000, "1e-999999999", "1e77", "1.2e59"])
def test_an_absurd_amount_is_unknown_and_no_fault(text: str) -> None:
    assert ASSETS.base_units("ETH", Decimal(text)) is None
    stored = dollars(Decimal(text))
    assert stored is None or len(str(stored)) <= 20 or stored == 0


def test_amounts_keep_every_digit() -> None:
    whole = "123456789012345678901234567890.000000000000000001"
    assert ASSETS.base_units("ETH", Decimal(whole)) == int(whole.replace(".", ""))


def test_assets_are_exact_and_can_be_added() -> None:
    own = read_assets({"assets": json.dumps({"XYZ": {"caip19": "eip155:1/erc20:0xAb", "decimals": 2}})})
    assert own.base_units("XYZ", Decimal("1.25")) == 125
    assert own.base_units("XYZ", Decimal("1.255")) is None
    assert own.base_units("NEW", Decimal(1)) is None
    assert own.base_units("ETH", Decimal("NaN")) is None
    assert (own.name("NEW"), own.place("NEW", "0xAB"), own.place("ETH", "0xAB")) == (
        "fireblocks:NEW",
        "0xab",
        "eip155:1:0xab",
    )
    assert isinstance(own, Assets)
    for wrong in ("[]", "{", '{"X": {"caip19": "x", "decimals": 1}}', '{"X": {"caip19": "eip155:1/slip44:60"}}'):
        with pytest.raises(InputError) as refused:
            read_assets({"assets": wrong})
        assert refused.value.field == "assets"


def test_a_key_set_is_looked_at_again_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    other = json.loads(RSAAlgorithm.to_jwk(rsa_key("webhook").public_key())) | {"kid": "other"}
    answers = [json.dumps({"keys": [other]}).encode(), b"not json"]
    monkeypatch.setattr("service.custody.fireblocks.keyset._download", lambda _url: answers.pop(0))
    keys = KeySet("https://keys.example", lambda: clock[0])
    with pytest.raises(UnavailableError):
        keys.key("k")
    assert keys.wants_fetch("k")
    keys.fetch()
    assert keys.key("other").key_size == 2048
    assert not keys.wants_fetch("k")
    with pytest.raises(UnauthenticatedError):
        keys.key("k")
    clock[0] = 61.0
    assert keys.wants_fetch("k")
    keys.fetch()
    assert keys.key("other").key_size == 2048
    with pytest.raises(UnavailableError):
        keys.key("k")
    assert not keys.wants_fetch("k")
    clock[0] = 67.0
    assert keys.wants_fetch("k")
