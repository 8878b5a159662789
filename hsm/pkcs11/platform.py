"""The platform token: the keys that sign our calls to custody platforms, and their other secrets' seal (D7).

Rules held here:
- One API signing key per connection, RSA of 2048 bits or more, sign only (RS256). A key is never replaced in place:
  the old one is deleted by name first, so two processes cannot sign with different keys under one connection.
- An imported key enters by unwrapping (`hsm.pkcs11.keys`); generating it in the token is better, because then it was
  never anywhere else.
"""

import re
from typing import Final

import PyKCS11 as P
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hsm.errors import HsmInputError
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.keys import generate_rsa, import_private, public_pem
from hsm.pkcs11.layout import IMPORT_KEY, require_layout
from hsm.pkcs11.session import Token, TokenSession
from hsm.pkcs11.unsealer import SecretsUnsealer
from hsm.power import Power

CONNECTION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", re.ASCII)
RSA_BITS: Final = (2048, 3072, 4096)
MAX_PEM_BYTES: Final = 16 * 1024
MAX_MESSAGE: Final = 1024 * 1024


class PlatformToken:
    """The open platform token."""

    def __init__(self, token: Token) -> None:
        with token.session() as session:
            require_layout(session, Power.PLATFORM)
        self._token = token
        self.secrets = SecretsUnsealer(token)

    @classmethod
    def open(cls, config: TokenConfig) -> "PlatformToken":
        """Log in to the platform token. Raises as `Token.open`, and TokenLayoutError for a token of another power."""
        return cls(Token.open(config))

    def generate_api_key(self, connection: str, bits: int = 3072) -> bytes:
        """Generate the connection's signing key (2048, 3072 or 4096 bits) in the token; returns its public half (PEM).

        Raises HsmInputError when the connection already has a key.
        """
        if bits not in RSA_BITS:
            raise HsmInputError("an API key has 2048, 3072 or 4096 bits", field="bits")
        label = _label(connection)
        with self._token.exclusive() as session:
            _require_none(session, label)
            generate_rsa(session, label, bits, P.CKA_SIGN)
            return public_pem(session, label)

    def import_api_key(self, connection: str, private_key_pem: bytes) -> bytes:
        """Put an existing RSA private key (PEM, unencrypted, at most 16 KiB) into the token; returns its public half.

        Raises HsmInputError when the connection already has a key or the PEM is not an RSA key of 2048 bits or more.
        """
        label, key = _label(connection), _rsa_private(private_key_pem)
        with self._token.exclusive() as session:
            _require_none(session, label)
            import_private(session, IMPORT_KEY, label, key)
            return public_pem(session, label)

    def sign(self, connection: str, message: bytes) -> bytes:
        """Return the RS256 signature over `message` (at most 1 MiB). Raises KeyNotFoundError without a key."""
        if len(message) > MAX_MESSAGE:
            raise HsmInputError(f"a message has at most {MAX_MESSAGE} bytes", field="message")
        with self._token.session() as session:
            return session.sign(session.one(_label(connection), P.CKO_PRIVATE_KEY), P.CKM_SHA256_RSA_PKCS, message)

    def public_key_pem(self, connection: str) -> bytes:
        """Return the public half of the connection's key (PEM). Raises KeyNotFoundError."""
        with self._token.session() as session:
            return public_pem(session, _label(connection))

    def has_api_key(self, connection: str) -> bool:
        """Whether the connection has a signing key."""
        with self._token.session() as session:
            return bool(session.find(_label(connection), P.CKO_PRIVATE_KEY))

    def delete_api_key(self, connection: str) -> None:
        """Remove the connection's key for good. Repeating it changes nothing."""
        label = _label(connection)
        with self._token.exclusive() as session:
            for object_class in (P.CKO_PRIVATE_KEY, P.CKO_PUBLIC_KEY):
                for handle in session.find(label, object_class):
                    session.destroy(handle)

    def close(self) -> None:
        """Log out and close."""
        self._token.close()


def _label(connection: str) -> str:
    if CONNECTION_ID.fullmatch(connection) is None:
        raise HsmInputError(
            "a connection is 1-64 characters A-Z, a-z, 0-9, _ . : -, alphanumeric first", field="connection"
        )
    return f"api/{connection}"


def _require_none(session: TokenSession, label: str) -> None:
    if session.find(label, P.CKO_PRIVATE_KEY):
        raise HsmInputError("the connection already has a signing key: delete it first", field="connection")


def _rsa_private(pem: bytes) -> rsa.RSAPrivateKey:
    if len(pem) > MAX_PEM_BYTES:
        raise HsmInputError(f"a private key file has at most {MAX_PEM_BYTES} bytes", field="private_key_pem")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise HsmInputError("not an unencrypted PEM private key", field="private_key_pem") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < RSA_BITS[0]:
        raise HsmInputError("the key must be RSA of at least 2048 bits", field="private_key_pem")
    return key
