"""Opens secrets that were sealed for this token (`hsm.sealing`): the RSA private key stays inside.

Rules held here: only the wrapped AES key goes into the token; a refusal says that it does not open, never which byte.
Where a former key is kept (`renewal.py`), it opens too; nothing is ever sealed for it again.
"""

import PyKCS11 as P

from hsm.errors import SealError, TokenOutcomeUnknownError
from hsm.pkcs11.keys import public_pem
from hsm.pkcs11.layout import FORMER_UNSEAL_KEY, UNSEAL_KEY
from hsm.pkcs11.session import Token
from hsm.sealing import Envelope, open_with_key


class SecretsUnsealer:
    """The `secrets-unseal` key (RSA-3072, decrypt only) of an open token."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def public_key_pem(self) -> bytes:
        """Return the key to seal for (PEM). Whoever has it can seal, not open."""
        with self._token.session() as session:
            return public_pem(session, UNSEAL_KEY)

    def unseal(self, envelope: bytes, aad: bytes) -> bytes:
        """Return the secret sealed for `aad`. Raises SealError when altered, of another use or of another token."""
        parsed = Envelope.parse(envelope)
        mechanism = P.RSAOAEPMechanism(P.CKM_SHA_1, P.CKG_MGF1_SHA1)
        with self._token.session() as session:
            handles = [session.one(UNSEAL_KEY, P.CKO_PRIVATE_KEY)]
            handles += session.find(FORMER_UNSEAL_KEY, P.CKO_PRIVATE_KEY)
            for handle in handles:
                try:
                    key = session.decrypt(handle, mechanism, parsed.wrapped)
                except (TokenOutcomeUnknownError, SealError):
                    # Opening has no effect to be unsure of; SoftHSM answers CKR_GENERAL_ERROR for a value of another key.
                    continue
                return open_with_key(parsed, key, aad)
        raise SealError("the sealed value does not open with this token")
