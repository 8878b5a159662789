"""TOTP with the seed inside the token: RFC 6238 on HMAC-SHA-1, 30 seconds, 6 digits.

Rules: the HMAC is computed by the token (PKCS#11 CKM_SHA_1_HMAC), so that no seed is in memory after enrolment; one step
of clock difference either way is allowed (RFC 6238 section 5.2); the matching time-code is returned, because only whoever
keeps the last one durably can see to it that it counts once.
"""

import base64
import hmac
import secrets
from typing import Final, Protocol

import pyotp

SEED_BYTES: Final = 20
DIGITS: Final = 6
WINDOW: Final = 1
ISSUER: Final = "Portcullis"


class SeedToken(Protocol):
    """A token that holds seeds and computes their HMAC-SHA-1."""

    def hmac_sha1(self, object_id: str, message: bytes) -> bytes:
        """Return the HMAC (20 bytes) of `message` under the seed `object_id`."""
        ...


class TokenTotp(pyotp.TOTP):
    """A `pyotp.TOTP` that has no secret: the token computes what the secret would."""

    def __init__(self, token: SeedToken, factor_id: str) -> None:
        self._token = token
        self._factor_id = factor_id
        super().__init__("", digits=DIGITS)

    def byte_secret(self) -> bytes:
        """There is none here; pyotp asks once, to check its length."""
        return b""

    def generate_otp(self, input: int) -> str:  # noqa: A002  the name is pyotp's
        """Return the code of one time-code (RFC 4226 section 5.3, dynamic truncation)."""
        mac = self._token.hmac_sha1(self._factor_id, input.to_bytes(8, "big"))
        offset = mac[-1] & 0x0F
        number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
        return str(number % 10**DIGITS).zfill(DIGITS)


def matching_timecode(token: SeedToken, factor_id: str, code: str, at_s: float) -> int | None:
    """Return the time-code whose code this is, at `at_s` seconds since the epoch; None when it is none's."""
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    totp = TokenTotp(token, factor_id)
    now = int(at_s) // totp.interval
    # All are computed before any is compared: at which of them the token fails says nothing about the code.
    codes = {timecode: totp.generate_otp(timecode) for timecode in range(now - WINDOW, now + WINDOW + 1)}
    return next((timecode for timecode, right in codes.items() if hmac.compare_digest(right, code)), None)


def new_seed() -> bytes:
    """Return a fresh seed of 160 bits (RFC 4226 R6)."""
    return secrets.token_bytes(SEED_BYTES)


def enrolment_uri(seed: bytes, name: str) -> str:
    """Return the otpauth URI that an authenticator reads; shown once, kept nowhere."""
    text = base64.b32encode(seed).decode("ascii")
    return pyotp.TOTP(text, digits=DIGITS).provisioning_uri(name=name, issuer_name=ISSUER)
