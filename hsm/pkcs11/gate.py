"""The gate's token: signs callback responses and opens the API process's own secrets (design D7).

Rules held here: the callback key signs only; what it signs is a JWT that a platform's co-signer checks (RS256, RFC 7518
section 3.3: CKM_SHA256_RSA_PKCS, hashed in the token).
"""

from typing import Final

import PyKCS11 as P

from hsm.errors import HsmInputError
from hsm.pkcs11.callback import signing_handle
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.keys import public_pem
from hsm.pkcs11.layout import CALLBACK_KEY, require_layout
from hsm.pkcs11.session import Token
from hsm.pkcs11.unsealer import SecretsUnsealer
from hsm.power import Power

MAX_MESSAGE: Final = 1024 * 1024


class GateSigner:
    """The open gate token."""

    def __init__(self, token: Token) -> None:
        with token.session() as session:
            require_layout(session, Power.GATE)
        self._token = token
        self.secrets = SecretsUnsealer(token)

    @classmethod
    def open(cls, config: TokenConfig) -> "GateSigner":
        """Log in to the gate's token. Raises as `Token.open`, and TokenLayoutError for a token of another power."""
        return cls(Token.open(config))

    def sign(self, message: bytes, key: str = "") -> bytes:
        """Return the RS256 signature over `message` (at most 1 MiB), for example a JWT's signing input.

        `key` names a callback key, the empty one is that of set-up. Raises KeyNotFoundError for one that is not there or
        retired.
        """
        if len(message) > MAX_MESSAGE:
            raise HsmInputError(f"a message has at most {MAX_MESSAGE} bytes", field="message")
        with self._token.session() as session:
            return session.sign(signing_handle(session, key), P.CKM_SHA256_RSA_PKCS, message)

    def public_key_pem(self) -> bytes:
        """Return the callback key's public half (PEM), to be registered at the platform's co-signer."""
        with self._token.session() as session:
            return public_pem(session, CALLBACK_KEY)

    def close(self) -> None:
        """Log out and close."""
        self._token.close()
