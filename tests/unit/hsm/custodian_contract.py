"""What every `KeyCustodian` must do, run against the software one and against the real token."""

import os

import pytest

from hsm import ecdsa
from hsm.custodian import KeyCustodian, KeyRef, SealedSeed
from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError, KeyNotFoundError, KeyUseRefusedError, SealError
from hsm.keypath import DerivationPath

ACCOUNT = DerivationPath.account(84, 0, 0)


def check_contract(custodian: KeyCustodian, wallet: str) -> None:
    """Run the whole contract on a fresh wallet id."""
    sealed = custodian.create_wallet(wallet)
    _leaves_belong_to_their_account(custodian, sealed, wallet)
    _a_seal_is_bound_to_its_wallet(custodian, sealed, wallet)
    _disabled_and_destroyed_stay_so(custodian, sealed, wallet)
    _unknown_keys_are_not_found(custodian)


def _leaves_belong_to_their_account(custodian: KeyCustodian, sealed: SealedSeed, wallet: str) -> None:
    account = custodian.open_account(sealed, wallet, ACCOUNT)
    leaf = custodian.leaf(sealed, wallet, ACCOUNT.leaf(0, 3))
    assert leaf.public_key == ExtendedKey.parse(account.xpub).derive(DerivationPath().leaf(0, 3)).public_key
    assert custodian.leaf(sealed, wallet, ACCOUNT.leaf(0, 3)) == leaf
    assert custodian.public_key(leaf.ref) == leaf.public_key
    digest = os.urandom(32)
    signature = custodian.sign(leaf.ref, digest)
    assert ecdsa.verify(signature, digest, leaf.public_key)
    with pytest.raises(HsmInputError):
        custodian.sign(leaf.ref, b"not a digest")


def _a_seal_is_bound_to_its_wallet(custodian: KeyCustodian, sealed: SealedSeed, wallet: str) -> None:
    with pytest.raises(SealError):
        custodian.open_account(sealed, wallet + "2", ACCOUNT)
    altered = bytearray(sealed.envelope)
    altered[-1] ^= 1
    for broken in (bytes(altered), sealed.envelope[:-1], sealed.envelope[:20], b""):
        with pytest.raises(SealError):
            custodian.open_account(SealedSeed(broken), wallet, ACCOUNT)
    with pytest.raises(KeyUseRefusedError, match="another seed"):
        custodian.leaf(custodian.create_wallet(wallet), wallet, ACCOUNT.leaf(0, 3))


def _disabled_and_destroyed_stay_so(custodian: KeyCustodian, sealed: SealedSeed, wallet: str) -> None:
    ref = custodian.leaf(sealed, wallet, ACCOUNT.leaf(0, 4)).ref
    custodian.sign(ref, bytes(32))
    assert custodian.may_sign(ref)
    custodian.disable(ref)
    custodian.disable(ref)
    custodian.leaf(sealed, wallet, ref.path)
    assert not custodian.may_sign(ref)
    with pytest.raises(KeyUseRefusedError):
        custodian.sign(ref, bytes(32))
    assert custodian.exists(ref)
    custodian.destroy(ref)
    custodian.destroy(ref)
    assert not custodian.exists(ref)
    with pytest.raises(KeyUseRefusedError, match="destroyed"):
        custodian.leaf(sealed, wallet, ref.path)


def _unknown_keys_are_not_found(custodian: KeyCustodian) -> None:
    nobody = KeyRef("nobody", ACCOUNT.leaf(0, 0))
    assert not custodian.exists(nobody)
    for ask in (lambda: custodian.sign(nobody, bytes(32)), lambda: custodian.public_key(nobody)):
        with pytest.raises(KeyNotFoundError):
            ask()
    with pytest.raises(KeyNotFoundError):
        custodian.disable(nobody)
