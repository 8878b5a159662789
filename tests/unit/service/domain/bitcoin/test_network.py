"""Addresses: the vectors of BIP-173 and BIP-350, base58, and everything that is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.bitcoin.network import MAIN, REGTEST, TEST, Network, address_of, network_of, payable, script_of
from service.domain.errors import InputError

VALID = [
    ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", MAIN, "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    (
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        TEST,
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
    ),
    (
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        MAIN,
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    ),
    ("BC1SW50QGDZ25J", MAIN, "6002751e"),
    ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", MAIN, "76a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac"),
    ("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", MAIN, "a914b472a266d0bd89c13706a4132ccfb16f7c3b9fcb87"),
]
INVALID = [
    "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",  # a character outside bech32
    "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",  # a version nobody has
    "bc1pw5dgrnzv",  # one byte of program
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",  # version 0 with bech32m
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",  # version 1 with bech32
    "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",  # another network
    "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
    "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ",  # a private key is no address
    "",
    "x" * 91,
    "0x5afe000000000000000000000000000000000001",
]


@pytest.mark.parametrize(("address", "network", "script"), VALID)
def test_an_address_is_its_script_and_back(address: str, network: Network, script: str) -> None:
    assert script_of(address, network).hex() == script
    assert (address_of(bytes.fromhex(script), network) or "").lower() == address.lower()


@pytest.mark.parametrize("address", INVALID)
def test_what_is_no_address_is_an_input_error(address: str) -> None:
    with pytest.raises(InputError):
        script_of(address, MAIN)


def test_nothing_is_sent_to_a_kind_without_rules() -> None:
    with pytest.raises(InputError, match="no rules yet"):
        payable("BC1SW50QGDZ25J", MAIN)
    assert payable(VALID[2][0], MAIN) == script_of(VALID[2][0], MAIN)


def test_a_script_without_an_address_has_none() -> None:
    assert address_of(b"\x6a\x04abcd", REGTEST) is None
    assert address_of(b"", REGTEST) is None


def test_a_network_is_named_by_its_genesis_block() -> None:
    assert network_of(MAIN.chain) is MAIN
    with pytest.raises(InputError, match="no Bitcoin network"):
        network_of("eip155:1")


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_an_input_error(text: str) -> None:
    try:
        script = script_of(text, MAIN)
    except InputError:
        return
    assert script_of(address_of(script, MAIN) or "", MAIN) == script


@given(st.binary(max_size=60))
def test_any_script_has_an_address_that_leads_back_or_none(script: bytes) -> None:
    address = address_of(script, REGTEST)
    assert address is None or script_of(address, REGTEST) == script
