"""What a drill reports, computed from the ledger alone: at risk, lost, swept, left.

Rules: lost is what arrived at attacker addresses from anywhere else, at seed prices, less nothing that came back
later; value at risk is what the compromised keys could reach when the first harmful move was asked for, recorded
once. Fees are named apart, so that lost + swept + left + paid + fees explains every unit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from drills.emulator.clock import now_ms
from drills.emulator.ledger import Ledger
from drills.emulator.money import usd
from drills.emulator.records import FEE_SINK

ZERO = Decimal("0.00")


@dataclass(frozen=True, slots=True)
class FirstHarm:
    """The moment of the first harmful move: time, what it was, value at risk in USD, movements before it."""

    at_ms: int
    what: str
    value_at_risk_usd: Decimal
    movements_before: int


class Figures:
    """Watches for the first harmful move and sums up the movements."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.first_harm: FirstHarm | None = None

    def note_harm(self, what: str) -> None:
        """Record the first harmful move, before it has an effect; later calls change nothing."""
        if self.first_harm is None:
            at_risk = [a.id for a in self._ledger.accounts.values() if a.at_risk or a.key_stolen]
            self.first_harm = FirstHarm(now_ms(), what, self._held_usd(at_risk), len(self._ledger.movements))

    def _value(self, asset_id: str, amount: int) -> Decimal:
        asset = self._ledger.asset(asset_id)
        return usd(amount, asset.decimals, asset.price_usd)

    def _held_usd(self, account_ids: Iterable[str]) -> Decimal:
        pairs = [(a, asset) for a in account_ids for asset in self._ledger.assets]
        return sum((self._value(asset, self._ledger.account_balance(a, asset)) for a, asset in pairs), ZERO)

    def _kind(self, address: str) -> str:
        if address == FEE_SINK:
            return "fees"
        if self._ledger.owner(address) is not None:
            return "account"
        found = self._ledger.destinations.get(address)
        return "unknown" if found is None else found.kind

    def arrived_usd(self, kind: str) -> Decimal:
        """Value that reached addresses of one kind from addresses of any other since the first harmful move."""
        start = 0 if self.first_harm is None else self.first_harm.movements_before
        total = ZERO
        for m in self._ledger.movements[start:]:
            if self._kind(m.recipient) == kind and self._kind(m.sender) != kind:
                total += self._value(m.asset_id, m.amount)
        return total

    def report(self) -> dict[str, object]:
        """The figures as JSON values; USD as decimal strings, times in Unix milliseconds."""
        reach = [a.id for a in self._ledger.accounts.values() if a.at_risk or a.key_stolen]
        lost, swept, left = self.arrived_usd("attacker"), self.arrived_usd("safe"), self._held_usd(reach)
        losses = [m for m in self._ledger.movements if self._kind(m.recipient) == "attacker"]
        harm = self.first_harm
        return {
            "value_at_risk_usd": None if harm is None else str(harm.value_at_risk_usd),
            "value_lost_usd": str(lost),
            "value_saved_usd": str(swept + left),
            "value_swept_usd": str(swept),
            "value_left_usd": str(left),
            "paid_to_customers_usd": str(self.arrived_usd("customer")),
            "moved_internally_usd": str(self.arrived_usd("internal")),
            "moved_to_unknown_usd": str(self.arrived_usd("unknown")),
            "fees_usd": str(self.arrived_usd("fees")),
            "first_harm_at_ms": None if harm is None else harm.at_ms,
            "first_harm": None if harm is None else harm.what,
            "first_loss_at_ms": losses[0].at_ms if losses else None,
            "last_loss_at_ms": losses[-1].at_ms if losses else None,
            "losses": len(losses),
            "conserved": self._ledger.is_conserved(),
        }
