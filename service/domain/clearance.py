"""What people are asked to clear: one held activity of one transaction, with everything that was told of it.

Rule: `body_digest` is of the very bytes that were asked or delivered, so a clearance is for these facts and no others.
"""

from dataclasses import dataclass
from decimal import Decimal

from service.domain.ids import ActivityId


@dataclass(frozen=True, slots=True)
class HeldActivity:
    """One activity that was alerted or held, as it is stored; rows of activities are never changed."""

    id: ActivityId
    connection: str
    transaction: str
    kind: str
    account: str | None
    destination: str | None
    asset: str | None
    amount_base_units: int | None
    amount_usd: Decimal | None
    body_digest: bytes
    """SHA-256 of what was asked or delivered."""
    signs: str | None = None
    """What the bytes would do, decoded; None where none were told."""
    doubt: str | None = None
    """Why what is shown could not be held against the bytes."""

    @property
    def facts(self) -> dict[str, object]:
        """What an approver reads and what is compared when it is cleared; what was not told is left out."""
        told = {
            "transaction": self.transaction,
            "kind": self.kind,
            "account": self.account,
            "destination": self.destination,
            "asset": self.asset,
            "amount_base_units": None if self.amount_base_units is None else str(self.amount_base_units),
            "amount_usd": None if self.amount_usd is None else str(self.amount_usd),
            "body_digest": self.body_digest.hex(),
            "what_is_signed": self.signs,
            "doubt": self.doubt,
        }
        return {name: value for name, value in told.items() if value is not None}

    @property
    def sentence(self) -> str:
        """What is asked for, in one sentence."""
        usd = "an unknown value" if self.amount_usd is None else f"{self.amount_usd} USD"
        signs = f" What would be signed: {self.signs}." if self.signs else ""
        doubt = f" It is doubted: {self.doubt}." if self.doubt else ""
        way = f"from {self.account or 'an unknown account'} to {self.destination or 'an unknown destination'}"
        return (
            f"Clear held transaction {self.transaction} of {self.connection}, {usd} {way}: it may be signed, and the "
            f"engine learns from it.{signs}{doubt}"
        )
