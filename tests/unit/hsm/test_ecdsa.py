import os

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from eth_keys import datatypes as eth_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm import ecdsa
from hsm.custodian import Signature
from hsm.ecdsa import HALF_ORDER, ORDER
from hsm.errors import HsmInputError, SignatureMismatchError

SECRETS = st.integers(1, ORDER - 1)
DIGESTS = st.binary(min_size=32, max_size=32)


def raw_signature(secret: int, digest: bytes, *, high: bool) -> tuple[bytes, bytes]:
    private = ec.derive_private_key(secret, ec.SECP256K1())
    r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    if (s > HALF_ORDER) is not high:
        s = ORDER - s
    public = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big"), public


@given(SECRETS, DIGESTS, st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_finished_signature_is_low_s_and_recovers_the_key_elsewhere(secret: int, digest: bytes, high: bool) -> None:  # noqa: FBT001  a hypothesis argument
    raw, public = raw_signature(secret, digest, high=high)
    signature = ecdsa.finish(raw, digest, public)
    assert signature.s <= HALF_ORDER
    assert ecdsa.verify(signature, digest, public)
    other = eth_keys.Signature(vrs=(signature.v, signature.r, signature.s))
    assert other.recover_public_key_from_msg_hash(digest).to_compressed_bytes() == public


@given(st.integers(1, ORDER - 1), st.integers(1, HALF_ORDER))
def test_der_is_that_of_an_independent_encoder(r: int, s: int) -> None:
    assert Signature(r, s, 0).der() == encode_dss_signature(r, s)


def test_a_signature_of_another_key_is_a_mismatch() -> None:
    digest = os.urandom(32)
    raw, _ = raw_signature(1, digest, high=False)
    _, other = raw_signature(2, digest, high=False)
    with pytest.raises(SignatureMismatchError):
        ecdsa.finish(raw, digest, other)


@pytest.mark.parametrize("raw", [b"", bytes(64), bytes(63) + b"\x01", b"\xff" * 64, bytes(65)])
def test_what_is_no_signature_is_a_mismatch(raw: bytes) -> None:
    _, public = raw_signature(1, bytes(32), high=False)
    with pytest.raises(SignatureMismatchError):
        ecdsa.finish(raw, bytes(32), public)


def test_high_s_does_not_verify() -> None:
    digest = os.urandom(32)
    raw, public = raw_signature(7, digest, high=False)
    low = ecdsa.finish(raw, digest, public)
    assert not ecdsa.verify(Signature(low.r, ORDER - low.s, 1 - low.v), digest, public)


def test_a_digest_has_32_bytes() -> None:
    with pytest.raises(HsmInputError):
        ecdsa.recover(Signature(1, 1, 0), b"short")
