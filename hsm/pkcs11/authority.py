"""The authority's token: TOTP seeds, the keys that open ballots and sign votes, the audit-checkpoint key (design D7).

Rules held here:
- A TOTP seed goes in once and never comes out: codes are computed from an HMAC made in the token (RFC 4226 section 5.3,
  RFC 6238 section 5.1 "key store MUST be in a secure area").
- A seed is never overwritten: replacing a person's factor is a loosening act, so the old one is deleted first, by name.
- A ballot opens here and nowhere else: the code inside it is in no other process of the service.
- Votes and checkpoints are ECDSA P-256 over SHA-256, r ‖ s (64 bytes); `hsm.p256.verify` checks them without a token.
"""

import hashlib
import re
from typing import Final

import PyKCS11 as P

from hsm.errors import HsmInputError
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.keys import public_pem
from hsm.pkcs11.layout import CHECKPOINT_KEY, VOTE_KEY, require_layout
from hsm.pkcs11.module import TokenInfo
from hsm.pkcs11.session import Token
from hsm.pkcs11.unsealer import SecretsUnsealer
from hsm.pkcs11.witnesses import CeremonyWitnesses
from hsm.power import Power

OBJECT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", re.ASCII)
MIN_SEED_BYTES: Final = 20
MAX_SEED_BYTES: Final = 64
MAX_MESSAGE: Final = 1024 * 1024


class AuthorityToken:
    """The open authority token."""

    def __init__(self, token: Token) -> None:
        with token.session() as session:
            require_layout(session, Power.AUTHORITY)
        self._token = token
        self.secrets = SecretsUnsealer(token)
        self.witnesses = CeremonyWitnesses(token, self)

    @classmethod
    def open(cls, config: TokenConfig) -> "AuthorityToken":
        """Log in to the authority's token.

        Raises as `Token.open`, and TokenLayoutError for a token of another power.
        """
        return cls(Token.open(config))

    def store_totp_seed(self, object_id: str, seed: bytes) -> None:
        """Put a TOTP seed of 20-64 bytes (RFC 4226 R6) into the token under `object_id`.

        Raises HsmInputError when the id is malformed or taken, or the length is wrong.
        """
        if not MIN_SEED_BYTES <= len(seed) <= MAX_SEED_BYTES:
            raise HsmInputError(f"a TOTP seed has {MIN_SEED_BYTES} to {MAX_SEED_BYTES} bytes", field="seed")
        label = _seed_label(object_id)
        with self._token.exclusive() as session:
            if session.find(label, P.CKO_SECRET_KEY):
                raise HsmInputError("this object id already has a seed: delete it first", field="object_id")
            session.create(
                [
                    (P.CKA_CLASS, P.CKO_SECRET_KEY),
                    (P.CKA_KEY_TYPE, P.CKK_GENERIC_SECRET),
                    (P.CKA_TOKEN, True),
                    (P.CKA_PRIVATE, True),
                    (P.CKA_SENSITIVE, True),
                    (P.CKA_EXTRACTABLE, False),
                    (P.CKA_SIGN, True),
                    (P.CKA_LABEL, label),
                    (P.CKA_VALUE, seed),
                ]
            )

    def hmac_sha1(self, object_id: str, message: bytes) -> bytes:
        """Return HMAC-SHA-1 (20 bytes) of `message`, 8 bytes for a TOTP counter.

        Raises KeyNotFoundError without a seed.
        """
        with self._token.session() as session:
            return session.sign(
                session.one(_seed_label(object_id), P.CKO_SECRET_KEY), P.CKM_SHA_1_HMAC, _bounded(message)
            )

    def has_seed(self, object_id: str) -> bool:
        """Whether the token holds a seed for `object_id`."""
        with self._token.session() as session:
            return bool(session.find(_seed_label(object_id), P.CKO_SECRET_KEY))

    def delete_seed(self, object_id: str) -> None:
        """Remove a seed for good. Repeating it changes nothing."""
        with self._token.exclusive() as session:
            for handle in session.find(_seed_label(object_id), P.CKO_SECRET_KEY):
                session.destroy(handle)

    def sign_vote(self, document: bytes) -> bytes:
        """Return the vote key's signature (64 bytes r ‖ s) over SHA-256 of `document` (at most 1 MiB)."""
        return self._sign(VOTE_KEY, document)

    def vote_public_key_pem(self) -> bytes:
        """Return the vote key's public half (PEM), to be pinned by the executing workers."""
        return self._public(VOTE_KEY)

    def sign_checkpoint(self, document: bytes) -> bytes:
        """Return the audit-checkpoint key's signature (64 bytes r ‖ s) over SHA-256 of `document` (at most 1 MiB)."""
        return self._sign(CHECKPOINT_KEY, document)

    def checkpoint_public_key_pem(self) -> bytes:
        """Return the audit-checkpoint key's public half (PEM)."""
        return self._public(CHECKPOINT_KEY)

    def info(self) -> TokenInfo:
        """Return what the token says of itself."""
        return self._token.info

    def close(self) -> None:
        """Log out and close."""
        self._token.close()

    def _sign(self, label: str, document: bytes) -> bytes:
        digest = hashlib.sha256(_bounded(document)).digest()
        with self._token.session() as session:
            return session.sign(session.one(label, P.CKO_PRIVATE_KEY), P.CKM_ECDSA, digest)

    def _public(self, label: str) -> bytes:
        with self._token.session() as session:
            return public_pem(session, label)


def _seed_label(object_id: str) -> str:
    if OBJECT_ID.fullmatch(object_id) is None:
        raise HsmInputError(
            "an object id is 1-64 characters A-Z, a-z, 0-9, _ . : -, alphanumeric first", field="object_id"
        )
    return f"totp/{object_id}"


def _bounded(message: bytes) -> bytes:
    if not 0 < len(message) <= MAX_MESSAGE:
        raise HsmInputError(f"a message has 1 to {MAX_MESSAGE} bytes", field="message")
    return message
