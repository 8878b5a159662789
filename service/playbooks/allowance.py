"""How far tightening may still go by itself behind one connection: what the hour's blast radius leaves (design D4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from service.domain.plan import Target


@dataclass(slots=True)
class Allowance:
    """How much tightening may still begin by itself behind one connection this hour."""

    accounts: int
    value_usd: Decimal
    touched: set[str]
    """Accounts' refs that count already; touching them again costs nothing."""
    others: int
    """How many more destinations, credentials and transactions may be aimed at."""
    aimed: set[tuple[str, str]]
    """(kind, value) of those that count already."""
    nearby: "Allowance | None" = None
    """What may be locked beside that because it is near, named by no alert (ADR 0049); None: it counts as the others."""

    def take(self, refs: Mapping[str, Decimal]) -> bool:
        """Take what these accounts (ref → value in USD) need and say so, or take nothing and say no."""
        new = {ref: value for ref, value in refs.items() if ref not in self.touched}
        value = sum(new.values(), Decimal(0))
        if len(new) > self.accounts or value > self.value_usd:
            return False
        self.accounts -= len(new)
        self.value_usd -= value
        self.touched |= set(new)
        return True

    def aim(self, target: Target) -> bool:
        """Take what a target that is no account needs and say so, or take nothing and say no."""
        named = (target.kind, target.value)
        if named in self.aimed:
            return True
        if self.others < 1:
            return False
        self.others -= 1
        self.aimed.add(named)
        return True
