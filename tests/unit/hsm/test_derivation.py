"""BIP-32 vectors 1-5 and addresses, in memory; through the token they run in tests/integration/hsm/test_vault.py."""

from collections.abc import Callable

import pytest
from eth_account import Account

from hsm.derivation import ExtendedKey, evm_address, p2pkh_address, p2tr_address, p2wpkh_address
from hsm.errors import DerivationError
from hsm.keypath import COIN_ETHEREUM, PURPOSE_BIP44, PURPOSE_BIP84, PURPOSE_BIP86, DerivationPath
from hsm.mnemonic import seed_of_words
from tests.unit.hsm.bip32_vectors import INVALID, VALID, Chain

HARDHAT_FIRST_PRIVATE = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")


@pytest.mark.parametrize("chain", VALID, ids=lambda chain: f"vector {chain.name}")
def test_every_link_has_the_published_keys(chain: Chain) -> None:
    master = ExtendedKey.from_seed(chain.seed)
    for link in chain.links:
        key = master.derive(DerivationPath.parse(link.path))
        assert (key.xpub(), key.xprv()) == (link.xpub, link.xprv)


@pytest.mark.parametrize("chain", VALID, ids=lambda chain: f"vector {chain.name}")
def test_text_forms_read_back(chain: Chain) -> None:
    for link in chain.links:
        public, private = ExtendedKey.parse(link.xpub), ExtendedKey.parse(link.xprv)
        assert public.xpub() == link.xpub
        assert private.xprv() == link.xprv
        assert private.xpub() == public.xpub()
        assert not public.is_private


@pytest.mark.parametrize("why", INVALID)
def test_invalid_extended_keys_are_refused(why: str) -> None:
    with pytest.raises(DerivationError) as refused:
        ExtendedKey.parse(INVALID[why])
    assert INVALID[why] not in str(refused.value)


@pytest.mark.parametrize("text", ["", "x", "x" * 111, "xpub" * 100, "0OIl"])
def test_text_that_is_no_extended_key_is_refused(text: str) -> None:
    with pytest.raises(DerivationError):
        ExtendedKey.parse(text)


def test_public_and_private_derivation_agree() -> None:
    account = ExtendedKey.from_seed(VALID[1].seed).derive(DerivationPath.account(84, 0, 0))
    for index in (0, 1, 2**31 - 1):
        below = DerivationPath().leaf(0, index)
        assert account.neutered().derive(below).xpub() == account.derive(below).xpub()


def test_a_hardened_child_of_a_public_key_is_an_error() -> None:
    public = ExtendedKey.from_seed(VALID[0].seed).neutered()
    with pytest.raises(DerivationError, match="hardened"):
        public.derive(DerivationPath.parse("m/0h"))
    with pytest.raises(DerivationError):
        public.xprv()
    with pytest.raises(DerivationError):
        _ = public.secret


@pytest.mark.parametrize("size", [0, 15, 65])
def test_seeds_of_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(DerivationError, match="16 to 64"):
        ExtendedKey.from_seed(bytes(size))


def test_no_repr_shows_a_private_key() -> None:
    key = ExtendedKey.from_seed(VALID[0].seed)
    shown = f"{key!r} {key}"
    assert "xprv" not in shown
    assert key.secret.hex() not in shown


def test_evm_address_is_that_of_an_independent_implementation() -> None:
    account = Account.from_key(HARDHAT_FIRST_PRIVATE)
    compressed = account._key_obj.public_key.to_compressed_bytes()
    assert evm_address(compressed) == account.address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_p2wpkh_address_is_that_of_bip84() -> None:
    public_key = bytes.fromhex("0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c")
    assert p2wpkh_address(public_key) == "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"
    assert p2wpkh_address(public_key, "regtest").startswith("bcrt1q")
    with pytest.raises(DerivationError, match="network"):
        p2wpkh_address(public_key, "moon")


@pytest.mark.parametrize("key", [b"", b"\x02" + bytes(31) + b"\x07", b"\x05" + bytes(32), bytes(65)])
def test_addresses_of_what_is_no_public_key_are_refused(key: bytes) -> None:
    with pytest.raises(DerivationError):
        evm_address(key)


@pytest.mark.parametrize(
    ("purpose", "index", "address"),
    [
        (PURPOSE_BIP44, 0, "1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA"),
        (PURPOSE_BIP84, 0, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
        (PURPOSE_BIP86, 0, "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"),
        (PURPOSE_BIP86, 1, "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh"),
    ],
)
def test_addresses_of_bip44_bip84_and_bip86(purpose: int, index: int, address: str) -> None:
    """The test vectors of BIP-84 and BIP-86; BIP-44 has none, its address is what other wallets show."""
    master = ExtendedKey.from_seed(seed_of_words(" ".join(["abandon"] * 11 + ["about"])))
    key = master.derive(DerivationPath.account(purpose, 0, 0).leaf(0, index)).public_key
    kinds = {PURPOSE_BIP44: p2pkh_address, PURPOSE_BIP84: p2wpkh_address, PURPOSE_BIP86: p2tr_address}
    assert kinds[purpose](key) == address
    evm = master.derive(DerivationPath.account(PURPOSE_BIP44, COIN_ETHEREUM, 0).leaf(0, 0)).public_key
    assert evm_address(evm) == "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"


@pytest.mark.parametrize("address", [p2pkh_address, p2wpkh_address, p2tr_address])
def test_an_unknown_network_is_refused(address: Callable[[bytes, str], str]) -> None:
    key = ExtendedKey.from_seed(bytes(16)).public_key
    assert len({address(key, network) for network in ("main", "test")}) == 2
    with pytest.raises(DerivationError, match="network"):
        address(key, "signet")
