"""PSBTs of sweeps by kind of wallet: what a signer's device is told, and signatures that are of no use."""

import pytest
from embit.psbt import PSBT

from service.domain.bitcoin.descriptor import Kind
from service.domain.bitcoin.psbt import Signature, Unsigned, read, write
from service.domain.bitcoin.sweep import draft
from service.domain.errors import InputError
from tests.unit.service.domain.bitcoin.wallets import coin, wallet

TAP_KEY_SIG = b"\x13"
"""PSBT_IN_TAP_KEY_SIG (BIP-371)."""


def sweep(kind: Kind) -> Unsigned:
    of = wallet(kind)
    made = draft(of, (coin(of, 10**6), coin(of, 10**6, 1)), of.place(0, 1).script_pubkey, 2_000)
    assert made is not None
    return Unsigned(of, made)


def point(unsigned: Unsigned) -> bytes:
    return next(iter(unsigned.draft.coins[0].place.keys))


def test_a_device_is_told_the_key_of_a_wallet_of_one_where_its_bip_puts_it() -> None:
    unsigned = sweep(Kind.WPKH)
    scope = PSBT.parse(write(unsigned)).inputs[0]
    ((key, path),) = scope.bip32_derivations.items()
    assert (bytes(key.sec()), scope.witness_script) == (point(unsigned), None)
    assert path.derivation[-2:] == [0, 0]
    unsigned = sweep(Kind.TR_KEY)
    scope = PSBT.parse(write(unsigned)).inputs[0]
    ((key, (leaves, path)),) = scope.taproot_bip32_derivations.items()
    internal = unsigned.draft.coins[0].place.internal
    assert bytes(key.xonly()) == bytes(scope.taproot_internal_key.xonly()) == internal
    assert (leaves, scope.taproot_merkle_root, dict(scope.taproot_scripts)) == ([], None, {})


@pytest.mark.parametrize("value", [bytes(63), bytes(65), b""])
def test_a_key_path_signature_of_another_type_is_refused(value: bytes) -> None:
    unsigned = sweep(Kind.TR_KEY)
    with pytest.raises(InputError, match="input 0: a signature of another script or type"):
        read(write(unsigned, [Signature(0, point(unsigned), value)]), unsigned)


def test_a_key_path_signature_that_does_not_verify_is_refused_by_the_key_s_owner() -> None:
    unsigned = sweep(Kind.TR_KEY)
    with pytest.raises(InputError, match=rf"the signature of key {unsigned.descriptor.keys[0].fingerprint} does not"):
        read(write(unsigned, [Signature(0, point(unsigned), bytes(64))]), unsigned)


@pytest.mark.parametrize("kind", [Kind.WSH, Kind.TR, Kind.WPKH])
def test_a_key_path_signature_for_a_wallet_without_one_is_refused(kind: Kind) -> None:
    unsigned = sweep(kind)
    found = PSBT.parse(write(unsigned))
    found.inputs[0].unknown = {TAP_KEY_SIG: bytes(64)}
    with pytest.raises(InputError, match="input 0: a signature of another script or type"):
        read(found.serialize(), unsigned)


@pytest.mark.parametrize("kind", list(Kind))
def test_what_one_psbt_says_no_other_does(kind: Kind) -> None:
    """The library shares one mapping among inputs that were given none: a signature must not show up elsewhere."""
    signed = sweep(Kind.TR_KEY)
    write(signed, [Signature(0, point(signed), bytes(64))])
    unsigned = sweep(kind)
    assert read(write(unsigned), unsigned) == ()
    assert TAP_KEY_SIG not in PSBT.parse(write(signed, [Signature(0, point(signed), bytes(64))])).inputs[1].unknown
