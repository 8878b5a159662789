"""What the co-signer gives the key to sign, and what comparing it with what is shown found."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from service.domain.activity import SigningFacts

Hex = Annotated[str, msgspec.Meta(max_length=250_000)]


class RawTx(msgspec.Struct, frozen=True, rename="camel"):
    """One message to sign: the transaction's bytes and the digest that the key gets."""

    raw_tx: Hex = ""
    payload: Hex = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the comparison found."""

    facts: SigningFacts | None
    recipient: str | None
    """The decoded recipient as 0x hex, where it differs from the one shown; of a message, who may act by it."""
    payload_digest: bytes | None
    doubt: str | None
