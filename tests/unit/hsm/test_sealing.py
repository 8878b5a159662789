import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hsm.errors import HsmInputError, SealError
from hsm.sealing import MAX_PLAINTEXT, Envelope, oaep_sha1, open_reply, open_with_key, seal, seal_reply

PRIVATE = rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def opened(sealed: bytes, aad: bytes) -> bytes:
    envelope = Envelope.parse(sealed)
    return open_with_key(envelope, PRIVATE.decrypt(envelope.wrapped, oaep_sha1()), aad)


@pytest.mark.parametrize("plaintext", [b"", b"secret", bytes(MAX_PLAINTEXT)])
def test_what_is_sealed_opens(plaintext: bytes) -> None:
    assert opened(seal(pem(PRIVATE), plaintext, b"use"), b"use") == plaintext


def test_two_seals_of_one_secret_share_nothing() -> None:
    first, second = (Envelope.parse(seal(pem(PRIVATE), b"secret", b"use")) for _ in range(2))
    assert (first.wrapped, first.nonce, first.ciphertext) != (second.wrapped, second.nonce, second.ciphertext)
    assert first.ciphertext != second.ciphertext


def test_another_use_does_not_open() -> None:
    with pytest.raises(SealError):
        opened(seal(pem(PRIVATE), b"secret", b"webhook/a"), b"webhook/b")


@pytest.mark.parametrize("position", [-1, -20, 270])
def test_an_altered_envelope_does_not_open(position: int) -> None:
    sealed = bytearray(seal(pem(PRIVATE), b"secret", b"use"))
    sealed[position] ^= 1
    with pytest.raises(SealError):
        opened(bytes(sealed), b"use")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not sealed"),
        (b"hello world", "not sealed"),
        (b"PCS2" + bytes(300), "newer"),
        (b"PCS1\x01\x00" + bytes(100), "cut short"),
        (b"PCS1\x00\x00" + bytes(100), "cut short"),
        (b"PCS1" + bytes(200_000), "larger"),
    ],
)
def test_what_is_no_envelope_says_so(data: bytes, why: str) -> None:
    with pytest.raises(SealError, match=why):
        Envelope.parse(data)


def test_a_reply_opens_for_who_asked_and_for_nothing_else() -> None:
    key, other = bytes(32), b"\x01" * 32
    reply = seal_reply(key, b"seed", b"use")
    assert open_reply(key, reply, b"use") == b"seed"
    assert seal_reply(key, b"seed", b"use") != reply
    flipped = reply[:-1] + bytes([reply[-1] ^ 1])
    for asked, told, use in (
        (other, reply, b"use"),
        (key, reply, b"other"),
        (key, flipped, b"use"),
        (key, b"", b"use"),
        (key, reply[:20], b"use"),
    ):
        with pytest.raises(SealError, match="another question"):
            open_reply(asked, told, use)
    with pytest.raises(SealError, match="32 bytes"):
        seal_reply(b"short", b"seed", b"use")


def test_lengths_and_keys_are_bounded() -> None:
    with pytest.raises(HsmInputError, match="at most"):
        seal(pem(PRIVATE), bytes(MAX_PLAINTEXT + 1), b"use")
    with pytest.raises(HsmInputError, match="what the secret is for"):
        seal(pem(PRIVATE), b"secret", b"")
    with pytest.raises(HsmInputError, match="RSA"):
        seal(pem(ec.generate_private_key(ec.SECP256R1())), b"secret", b"use")
    with pytest.raises(HsmInputError, match="PEM"):
        seal(b"nonsense", b"secret", b"use")
    with pytest.raises(SealError, match="AES-256"):
        open_with_key(Envelope.parse(seal(pem(PRIVATE), b"secret", b"use")), b"short", b"use")
