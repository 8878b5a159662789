"""What every `KeyCustodian` must do, run against the software one and against the real token."""

import os

import pytest

from hsm import ecdsa, ed25519
from hsm.custodian import MAX_BATCH, Curve, KeyCustodian, KeyRef, SealedSeed
from hsm.derivation import ExtendedKey
from hsm.errors import DerivationError, HsmInputError, KeyNotFoundError, KeyUseRefusedError, SealError
from hsm.keypath import DerivationPath

ACCOUNT = DerivationPath.account(84, 0, 0)


def check_contract(custodian: KeyCustodian, wallet: str) -> None:
    """Run the whole contract on a fresh wallet id."""
    sealed = custodian.create_wallet(wallet)
    _leaves_belong_to_their_account(custodian, sealed, wallet)
    _a_seal_is_bound_to_its_wallet(custodian, sealed, wallet)
    _disabled_and_destroyed_stay_so(custodian, sealed, wallet)
    _unknown_keys_are_not_found(custodian)
    _many_are_proved_and_none_is_kept(custodian, sealed, wallet)
    _what_was_retired_before_it_came_never_comes(custodian, sealed, wallet)
    _ed25519_leaves_are_keys_of_their_own(custodian, sealed, wallet)


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


def _many_are_proved_and_none_is_kept(custodian: KeyCustodian, sealed: SealedSeed, wallet: str) -> None:
    public = ExtendedKey.parse(custodian.open_account(sealed, wallet, ACCOUNT.next_account()).xpub)
    paths = [ACCOUNT.next_account().leaf(0, index) for index in range(7)]
    kept = custodian.leaf(sealed, wallet, paths[3])
    proved = custodian.prove(sealed, wallet, paths, os.urandom(32))
    below = [public.derive(DerivationPath().leaf(0, index)).public_key for index in range(7)]
    assert [(leaf.ref.path, leaf.public_key) for leaf in proved] == list(zip(paths, below, strict=True))
    assert [custodian.exists(leaf.ref) for leaf in proved] == [path == kept.ref.path for path in paths]
    for wrong in ([], paths * (MAX_BATCH // 7 + 1)):
        with pytest.raises(HsmInputError, match="at once"):
            custodian.prove(sealed, wallet, wrong, bytes(32))
    with pytest.raises(HsmInputError):
        custodian.prove(sealed, wallet, paths, b"not a digest")
    custodian.disable(*(leaf.ref for leaf in proved))
    with pytest.raises(KeyUseRefusedError):
        custodian.prove(sealed, wallet, [kept.ref.path], bytes(32))


def _what_was_retired_before_it_came_never_comes(custodian: KeyCustodian, sealed: SealedSeed, wallet: str) -> None:
    ref = KeyRef(wallet, ACCOUNT.leaf(1, 0))
    custodian.disable(ref)
    custodian.disable(ref)
    assert not custodian.exists(ref)
    for ask in (
        lambda: custodian.leaf(sealed, wallet, ref.path),
        lambda: custodian.prove(sealed, wallet, [ref.path], bytes(32)),
    ):
        with pytest.raises(KeyUseRefusedError, match="retired"):
            ask()
    with pytest.raises(KeyNotFoundError):
        custodian.sign(ref, bytes(32))
    custodian.destroy(ref, *(KeyRef(wallet, ACCOUNT.leaf(1, index)) for index in range(1, 8)))
    with pytest.raises(KeyUseRefusedError):
        custodian.leaf(sealed, wallet, ACCOUNT.leaf(1, 7))


def _ed25519_leaves_are_keys_of_their_own(custodian: KeyCustodian, sealed: SealedSeed, wallet: str) -> None:
    path = DerivationPath.parse("m/44h/501h/0h/0h")
    plain = custodian.leaf(sealed, wallet, path)
    leaf = custodian.leaf(sealed, wallet, path, Curve.ED25519)
    assert custodian.leaf(sealed, wallet, path, Curve.ED25519) == leaf
    assert (len(leaf.public_key), leaf.ref.label == plain.ref.label) == (32, False)
    assert custodian.public_key(leaf.ref) == leaf.public_key
    message = os.urandom(200)
    assert ed25519.verify(custodian.sign_message(leaf.ref, message), message, leaf.public_key)
    for wrong in (lambda: custodian.sign(leaf.ref, bytes(32)), lambda: custodian.sign_message(plain.ref, b"m")):
        with pytest.raises(HsmInputError):
            wrong()
    with pytest.raises(HsmInputError, match="message"):
        custodian.sign_message(leaf.ref, b"")
    with pytest.raises(DerivationError, match="hardened"):
        custodian.leaf(sealed, wallet, ACCOUNT.leaf(0, 0), Curve.ED25519)
    custodian.disable(leaf.ref)
    with pytest.raises(KeyUseRefusedError):
        custodian.sign_message(leaf.ref, message)
    custodian.sign(plain.ref, bytes(32))
