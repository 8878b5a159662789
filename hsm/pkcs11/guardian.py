"""The guardian's token: one secp256k1 key that lifts or sets a multisig guard, generated inside and never outside.

Rules held here: signatures are low-S with recovery id and checked before they are returned, as the vault's are.
"""

import PyKCS11 as P

from hsm import ecdsa
from hsm.custodian import Signature, require_digest
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.keys import ec_point
from hsm.pkcs11.layout import GUARDIAN_KEY, require_layout
from hsm.pkcs11.session import Token
from hsm.power import Power


class GuardianToken:
    """The open guardian token."""

    def __init__(self, token: Token) -> None:
        with token.session() as session:
            require_layout(session, Power.GUARDIAN)
        self._token = token

    @classmethod
    def open(cls, config: TokenConfig) -> "GuardianToken":
        """Log in to the guardian's token. Raises as `Token.open`, and TokenLayoutError for a token of another power."""
        return cls(Token.open(config))

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte digest."""
        require_digest(digest)
        with self._token.session() as session:
            raw = session.sign(session.one(GUARDIAN_KEY, P.CKO_PRIVATE_KEY), P.CKM_ECDSA, digest)
        return ecdsa.finish(raw, digest, self.public_key())

    def public_key(self) -> bytes:
        """Return the compressed public key, 33 bytes."""
        with self._token.session() as session:
            return ecdsa.compressed(ec_point(session, GUARDIAN_KEY))

    def close(self) -> None:
        """Log out and close."""
        self._token.close()
