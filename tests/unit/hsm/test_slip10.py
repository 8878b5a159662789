"""SLIP-10 for Ed25519 against its own vectors; through the token they run in tests/integration/hsm/test_vault.py."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hsm import ed25519
from hsm.errors import DerivationError, SignatureMismatchError
from hsm.keypath import DerivationPath
from hsm.mnemonic import seed_of_words
from hsm.slip10 import Ed25519Node, solana_address
from tests.unit.hsm.slip10_vectors import VECTORS

WORDS = " ".join(["abandon"] * 11 + ["about"])


@pytest.mark.parametrize(("seed", "path", "chain", "private", "public"), VECTORS)
def test_every_node_has_the_published_keys(seed: bytes, path: str, chain: str, private: str, public: str) -> None:
    node = Ed25519Node.from_seed(seed).derive(DerivationPath.parse(path))
    assert (node.chain_code.hex(), node.secret.hex(), node.public_key.hex()) == (chain, private, public)
    assert private not in repr(node)


def test_a_level_that_is_not_hardened_is_an_error() -> None:
    with pytest.raises(DerivationError, match="not hardened"):
        Ed25519Node.from_seed(bytes(16)).derive(DerivationPath.parse("m/44h/501h/0h/0"))


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_seed_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(DerivationError, match="16 to 64"):
        Ed25519Node.from_seed(bytes(size))


def test_the_solana_address_is_that_of_other_wallets() -> None:
    node = Ed25519Node.from_seed(seed_of_words(WORDS)).derive(DerivationPath.parse("m/44h/501h/0h/0h"))
    assert solana_address(node.public_key) == "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk"
    with pytest.raises(DerivationError):
        solana_address(node.public_key[1:])


def test_a_signature_of_another_key_or_message_is_caught() -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    signature = key.sign(b"pay")
    assert ed25519.finish(signature, b"pay", public) == signature
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for raw, message, of in ((signature, b"pax", public), (signature, b"pay", other), (signature[1:], b"pay", public)):
        with pytest.raises(SignatureMismatchError):
            ed25519.finish(raw, message, of)
