"""What every part of the authority works with: its database role, its token, its clock, its public key.

Rules: what is signed is a canonical text with a tag; the private key and every TOTP seed stay in the token.
"""

from dataclasses import dataclass
from typing import Protocol

from service.domain.canonical import canonical
from service.domain.signed import Signed
from service.ports.clock import Clock
from service.store.database import SqlDatabase


class VoteToken(Protocol):
    """The authority's token, as `hsm.pkcs11.authority.AuthorityToken` provides it."""

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

    def sign_fields(self, fields: dict[str, object]) -> Signed:
        """Sign the canonical form of `fields`, which carry their tag."""
        return self.sign(canonical(fields).decode())
