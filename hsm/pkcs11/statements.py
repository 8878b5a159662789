"""Statements signed inside the vault token, such as safe destinations (design D4).

Rules held here: ECDSA P-256 over SHA-256, r ‖ s (64 bytes); verification uses the public half that the token itself
holds.
"""

import hashlib

import PyKCS11 as P

from hsm import p256
from hsm.pkcs11.keys import public_pem
from hsm.pkcs11.layout import STATEMENT_KEY
from hsm.pkcs11.session import Token


class TokenStatements:
    """`StatementSigner` on the open vault token."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def sign_statement(self, statement: bytes) -> bytes:
        """Return the signature (64 bytes r ‖ s) over SHA-256 of `statement`."""
        digest = hashlib.sha256(statement).digest()
        with self._token.session() as session:
            return session.sign(session.one(STATEMENT_KEY, P.CKO_PRIVATE_KEY), P.CKM_ECDSA, digest)

    def verify_statement(self, statement: bytes, signature: bytes) -> None:
        """Raise StatementError unless the token's statement key made `signature` over exactly `statement`."""
        p256.verify(self.statement_public_key_pem(), statement, signature)

    def statement_public_key_pem(self) -> bytes:
        """Return the statement key's public half (PEM)."""
        with self._token.session() as session:
            return public_pem(session, STATEMENT_KEY)
