"""The key that signs letters to outsiders: RSA in the platform token, made there at its first use, never outside it.

Its name has a colon, which no connection's id has, so it signs no call to a platform and no connection's key signs a letter.
"""

from typing import Final, Protocol

from hsm.errors import HsmInputError
from service.vault.parts import token_calls

KEY: Final = "letters:outside"


class LetterToken(Protocol):
    """What of the platform's token is asked for here."""

    def has_api_key(self, key: str) -> bool:
        """Say whether the token holds a key of that name."""

    def generate_api_key(self, key: str) -> bytes:
        """Make one. Raises HsmInputError when the name is taken."""

    def sign(self, key: str, message: bytes) -> bytes:
        """Sign with it."""

    def public_key_pem(self, key: str) -> bytes:
        """Return its public half."""


def signed(token: LetterToken, text: bytes) -> tuple[bytes, bytes]:
    """Return the signature of a letter and the public key. Raises UnavailableError while the token is busy."""
    with token_calls():
        if not token.has_api_key(KEY):
            try:
                token.generate_api_key(KEY)
            except HsmInputError:
                if not token.has_api_key(KEY):  # another child was not quicker
                    raise
        return token.sign(KEY, text), token.public_key_pem(KEY)
