"""What every part of the authority works with: its database role, its token, its clock, its public key.

Rules: what is signed is a canonical text with a tag; the private key and every TOTP seed stay in the token.
"""

from dataclasses import dataclass
from typing import Protocol

from hsm.errors import SealError
from service.domain.ballot import from_text
from service.domain.errors import InputError
from service.domain.signed import Signed
from service.ports.clock import Clock
from service.store.database import SqlDatabase


class Unsealer(Protocol):
    """The token's key that opens what people sealed; as `hsm.pkcs11.unsealer.SecretsUnsealer` provides it."""

    def public_key_pem(self) -> bytes: ...

    def unseal(self, envelope: bytes, aad: bytes) -> bytes: ...


class VoteToken(Protocol):
    """The authority's token, as `hsm.pkcs11.authority.AuthorityToken` provides it."""

    @property
    def secrets(self) -> Unsealer: ...

    def store_totp_seed(self, object_id: str, seed: bytes) -> None: ...

    def hmac_sha1(self, object_id: str, message: bytes) -> bytes: ...

    def delete_seed(self, object_id: str) -> None: ...

    def sign_vote(self, document: bytes) -> bytes: ...

    def vote_public_key_pem(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Office:
    """The authority at work. `public_key_pem` is the token's own vote key: what the others have pinned."""

    db: SqlDatabase
    token: VoteToken
    clock: Clock
    public_key_pem: bytes

    def sign(self, text: str) -> Signed:
        """Sign a canonical text. Raises what the token raises."""
        return Signed(text, self.token.sign_vote(text.encode()))

    def unsealed(self, text: str, aad: bytes) -> bytes:
        """Open what a person's client sealed for exactly this use. Raises InputError, the same for every cause."""
        try:
            return self.token.secrets.unseal(from_text(text), aad)
        except SealError as error:
            raise InputError(
                "this does not open: it was sealed for another document, person or installation, or altered on its way; "
                "read the request again, with the authority-ballots.pem of this installation",
                field="sealed",
            ) from error
