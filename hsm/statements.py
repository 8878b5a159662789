"""The statement that makes an address a safe destination (design D4), as bytes to sign and as a value to check.

Rules held here:
- What is signed is the tag `portcullis/safe-destination/v1`, a zero byte, and RFC 8785 JSON of all five fields, so the
  same registration always gives the same bytes and a signature for one use is worthless in another.
- A destination is usable from `active_from` on, not before: the delay gives people time to notice a wrong one.
- `SafeDestination` is only what was said. `VerifiedDestination` is what a signature was checked for; only that may be
  swept to, and only `verified` makes one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import rfc8785

from hsm.custodian import StatementVerifier
from hsm.errors import HsmInputError, StatementError

TAG: Final = b"portcullis/safe-destination/v1\x00"
MAX_FIELD: Final = 2048


@dataclass(frozen=True, slots=True)
class SafeDestination:
    """Where an account's funds may be swept to.

    `account` is our account id, `chain` a CAIP-2 id, `asset` a CAIP-19 id or `*` for every asset of the chain,
    `descriptor` an address or a BIP-380 descriptor, `active_from` an aware UTC time.
    """

    account: str
    chain: str
    asset: str
    descriptor: str
    active_from: datetime

    def __post_init__(self) -> None:
        for name in ("account", "chain", "asset", "descriptor"):
            value = getattr(self, name)
            if not 0 < len(value) <= MAX_FIELD or not value.isprintable():
                raise HsmInputError(f"{name} must be 1 to {MAX_FIELD} printable characters", field=name)
        if self.active_from.tzinfo is None:
            raise HsmInputError("active_from must carry its time zone", field="active_from")

    def to_bytes(self) -> bytes:
        """Return what is signed."""
        fields = {
            "account": self.account,
            "active_from": self.active_from.astimezone(UTC).isoformat(timespec="microseconds"),
            "asset": self.asset,
            "chain": self.chain,
            "descriptor": self.descriptor,
        }
        return TAG + rfc8785.dumps(fields)


@dataclass(frozen=True, slots=True)
class VerifiedDestination:
    """A safe destination whose signature was checked and whose delay has passed, as of the time of the check."""

    destination: SafeDestination


def verified(
    destination: SafeDestination, signature: bytes, verifier: StatementVerifier, now: datetime
) -> VerifiedDestination:
    """Return the destination as verified. Raises StatementError if the signature is wrong or it is not active yet."""
    verifier.verify_statement(destination.to_bytes(), signature)
    if now < destination.active_from:
        raise StatementError(f"the destination is active from {destination.active_from.astimezone(UTC).isoformat()} on")
    return VerifiedDestination(destination)
