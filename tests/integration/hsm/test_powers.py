"""The gate's, authority's, platform's and guardian's tokens, checked by independent libraries."""

import hashlib
import os

import jwt
import PyKCS11
import pyotp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.utils import base64url_encode

from hsm import ecdsa, p256
from hsm.errors import HsmInputError, KeyNotFoundError, SealError, StatementError
from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.gate import GateSigner
from hsm.pkcs11.guardian import GuardianToken
from hsm.pkcs11.layout import UNSEAL_KEY
from hsm.pkcs11.platform import PlatformToken
from hsm.power import Power
from hsm.sealing import seal
from tests.integration.hsm.conftest import MakeToken

SEED = b"12345678901234567890"
RFC_6238_SHA1 = {59: "94287082", 1111111109: "07081804", 1234567890: "89005924", 20000000000: "65353130"}


def rs256_verifies(public_key_pem: bytes, message: bytes, signature: bytes) -> None:
    key = serialization.load_pem_public_key(public_key_pem)
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())


def test_the_gate_signs_a_jwt_that_pyjwt_accepts(gate: GateSigner) -> None:
    header, body = (base64url_encode(part).decode() for part in (b'{"alg":"RS256"}', b'{"action":"RETRY"}'))
    signing_input = f"{header}.{body}".encode()
    token = f"{header}.{body}.{base64url_encode(gate.sign(signing_input)).decode()}"
    assert jwt.decode(token, gate.public_key_pem(), algorithms=["RS256"]) == {"action": "RETRY"}


def test_the_gate_opens_what_is_sealed_for_it_and_nothing_else(gate: GateSigner, platform: PlatformToken) -> None:
    sealed = seal(gate.secrets.public_key_pem(), b"webhook secret", b"webhook/a")
    assert gate.secrets.unseal(sealed, b"webhook/a") == b"webhook secret"
    with pytest.raises(SealError):
        gate.secrets.unseal(sealed, b"webhook/b")
    with pytest.raises(SealError):
        platform.secrets.unseal(sealed, b"webhook/a")
    with pytest.raises(SealError):
        gate.secrets.unseal(sealed[:-1], b"webhook/a")


def test_ballots_open_in_the_authority_alone_with_a_key_that_cannot_leave(
    authority: AuthorityToken, gate: GateSigner
) -> None:
    sealed = seal(authority.secrets.public_key_pem(), b"code", b"ballot")
    assert authority.secrets.unseal(sealed, b"ballot") == b"code"
    for wrong in (sealed[:-1], sealed[:20] + b"\x00" + sealed[21:], b"PCS1\x00\x10" + bytes(60)):
        with pytest.raises(SealError):
            authority.secrets.unseal(wrong, b"ballot")
    with pytest.raises(SealError):
        gate.secrets.unseal(sealed, b"ballot")
    with authority._token.session() as session:
        handle = session.one(UNSEAL_KEY, PyKCS11.CKO_PRIVATE_KEY)
        assert session.read(handle, PyKCS11.CKA_PRIVATE_EXPONENT) is None
        flags = {
            name: session.flag(handle, getattr(PyKCS11, name)) for name in ("CKA_DECRYPT", "CKA_SIGN", "CKA_UNWRAP")
        }
        assert flags == {"CKA_DECRYPT": True, "CKA_SIGN": False, "CKA_UNWRAP": False}
        assert session.flag(handle, PyKCS11.CKA_SENSITIVE)
        assert not session.flag(handle, PyKCS11.CKA_EXTRACTABLE)


def test_totp_codes_are_those_of_rfc_6238(authority: AuthorityToken) -> None:
    authority.store_totp_seed("rfc6238", SEED)
    for at, code in RFC_6238_SHA1.items():
        mac = authority.hmac_sha1("rfc6238", (at // 30).to_bytes(8, "big"))
        offset = mac[-1] & 15
        number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
        assert f"{number % 10**8:08d}" == code
        assert pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", digits=8).at(at) == code


def test_a_totp_seed_stays_and_is_not_replaced(authority: AuthorityToken) -> None:
    authority.store_totp_seed("person-1", SEED)
    with pytest.raises(HsmInputError, match="delete it first"):
        authority.store_totp_seed("person-1", b"another seed of twenty")
    with authority._token.session() as session:
        handle = session.one("totp/person-1", PyKCS11.CKO_SECRET_KEY)
        assert session.read(handle, PyKCS11.CKA_VALUE) is None
    assert authority.has_seed("person-1")
    authority.delete_seed("person-1")
    authority.delete_seed("person-1")
    assert not authority.has_seed("person-1")
    with pytest.raises(KeyNotFoundError):
        authority.hmac_sha1("person-1", bytes(8))


@pytest.mark.parametrize(("object_id", "seed"), [("", SEED), ("a/b", SEED), ("x" * 65, SEED), ("ok", b"short")])
def test_malformed_seeds_are_refused(authority: AuthorityToken, object_id: str, seed: bytes) -> None:
    with pytest.raises(HsmInputError):
        authority.store_totp_seed(object_id, seed)


def test_votes_and_checkpoints_verify_under_their_own_key_only(authority: AuthorityToken) -> None:
    vote, checkpoint = authority.sign_vote(b"vote"), authority.sign_checkpoint(b"vote")
    p256.verify(authority.vote_public_key_pem(), b"vote", vote)
    p256.verify(authority.checkpoint_public_key_pem(), b"vote", checkpoint)
    with pytest.raises(StatementError):
        p256.verify(authority.vote_public_key_pem(), b"vote", checkpoint)
    with pytest.raises(StatementError):
        p256.verify(authority.vote_public_key_pem(), b"votf", vote)


def test_a_generated_api_key_signs_and_is_not_replaced(platform: PlatformToken) -> None:
    pem = platform.generate_api_key("generated", 2048)
    rs256_verifies(pem, b"request", platform.sign("generated", b"request"))
    with pytest.raises(HsmInputError, match="delete it first"):
        platform.generate_api_key("generated", 2048)
    platform.delete_api_key("generated")
    assert not platform.has_api_key("generated")
    with pytest.raises(KeyNotFoundError):
        platform.sign("generated", b"request")


def test_an_imported_api_key_signs_and_cannot_leave(platform: PlatformToken) -> None:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = platform.import_api_key("imported", pem)
    assert public == platform.public_key_pem("imported")
    rs256_verifies(public, b"request", platform.sign("imported", b"request"))
    private.public_key().verify(platform.sign("imported", b"x"), b"x", padding.PKCS1v15(), hashes.SHA256())
    with platform._token.session() as session:
        handle = session.one("api/imported", PyKCS11.CKO_PRIVATE_KEY)
        assert session.read(handle, PyKCS11.CKA_PRIVATE_EXPONENT) is None
        assert not session.flag(handle, PyKCS11.CKA_EXTRACTABLE)
    platform.delete_api_key("imported")


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"x" * 20_000])
def test_what_is_no_private_key_is_not_imported(platform: PlatformToken, pem: bytes) -> None:
    with pytest.raises(HsmInputError):
        platform.import_api_key("bad", pem)
    with pytest.raises(HsmInputError, match="bits"):
        platform.generate_api_key("bad", 1024)
    assert not platform.has_api_key("bad")


def test_the_guardian_signs_with_a_key_of_its_own(make_token: MakeToken) -> None:
    guardian = GuardianToken.open(make_token(Power.GUARDIAN, "test-guardian"))
    digest = hashlib.sha256(os.urandom(8)).digest()
    assert ecdsa.verify(guardian.sign(digest), digest, guardian.public_key())
    guardian.close()
