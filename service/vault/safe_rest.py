"""What a sweep of a Safe leaves: what came in after the step had moved of that asset already, and is worth no transaction.

Rules: whoever makes us pay for another transaction shall pay more, else dust keeps a step busy until its attempts end; but
a thousandth of a hundred million is much. So a step moves whatever came in AGAIN times more. From then on it leaves what is
less than a FOLLOWING-th of what it moved of that asset, where the account's own activities price it only if it is less than
DUST_USD, too. A price makes it move more and never less, because who sends events can name one. What was left is told, with
the reason, in the step's receipt and in its last entry on the timeline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from service.domain import safe
from service.domain.errors import PortcullisError, UnavailableError
from service.domain.plan import Receipt
from service.ports.chain import ContractChain

FOLLOWING: Final = 1_000
"""What came in after a transfer of the same step is moved once it is at least 1/FOLLOWING of that."""
DUST_USD: Final = Decimal(100)
"""From so many US dollars on it is moved in any case."""
AGAIN: Final = 3
"""So often more a step moves whatever came in."""
MOVED: Final = "moved"
"""In a sweep's receipt: by Safe and asset, base units as text, what the step carried so far."""
TRANSACTIONS: Final = "transactions"
"""In a sweep's receipt: by Safe, the hashes of what the step carried so far, or names of what it proposed."""
TIMES: Final = "times"
"""In a sweep's receipt: how many attempts of the step carried or proposed something."""
_COIN_DECIMALS: Final = 18
_MOST_DECIMALS: Final = 36


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a step had done at one Safe before this attempt, and what assets are worth."""

    moved: Mapping[str, int] = field(default_factory=dict)
    """By asset, in base units."""
    times: int = 0
    """Attempts that carried or proposed something, at any Safe of the account."""
    usd: Mapping[str, Decimal] = field(default_factory=dict)
    """US dollars of one base unit, by asset in lower case, where they are known."""

    def usd_of(self, asset: str, amount: int) -> Decimal | None:
        """Return what an amount in base units is worth in US dollars; None where nothing prices the asset."""
        price = self.usd.get(asset.lower())
        return None if price is None else price * amount

    def why_dust(self, asset: str, amount: int) -> str | None:
        """Return why this much, come in since, is left; None where it is moved."""
        if self.times <= AGAIN or amount * FOLLOWING >= self.moved.get(asset, 0):
            return None
        share, worth = f"a thousandth of what {self.times} attempts moved", self.usd_of(asset, amount)
        if worth is None:
            return f"less than {share}"
        return f"less than {DUST_USD} USD and {share}" if worth < DUST_USD else None


@dataclass(frozen=True, slots=True)
class Rest:
    """What stays at a Safe of one asset."""

    safe: str
    asset: str
    base_units: int
    amount: str
    """As people read it."""
    usd: Decimal | None
    because: str

    @property
    def told(self) -> Mapping[str, str]:
        """Return it as a receipt keeps it."""
        usd = {} if self.usd is None else {"usd": f"{self.usd:.2f}"}
        own = {"safe": self.safe, "asset": self.asset, "base_units": str(self.base_units), "amount": self.amount}
        return {**own, **usd, "because": self.because}


def earlier(before: Receipt | None, address: str, usd: Mapping[str, Decimal]) -> Earlier:
    """Return what a step's receipt so far tells of one Safe."""
    facts = {} if before is None else before.facts
    moved, times = facts.get(MOVED), facts.get(TIMES)
    mine = moved.get(address) if isinstance(moved, Mapping) else None
    return Earlier(
        {asset: int(amount) for asset, amount in mine.items()} if isinstance(mine, Mapping) else {},
        times if isinstance(times, int) else 0,
        usd,
    )


def following(
    before: Receipt | None, made: Mapping[str, Sequence[str]], moved: Mapping[str, Mapping[str, str]]
) -> dict[str, object]:
    """Return a receipt's facts after an attempt: what it made at each Safe beside what the step had made before."""
    facts = {} if before is None else before.facts
    told = facts.get(TRANSACTIONS)
    known = told if isinstance(told, Mapping) else {}
    names = {address: list(dict.fromkeys((*known.get(address, ()), *new))) for address, new in made.items()}
    times = facts.get(TIMES)
    return {
        TRANSACTIONS: names,
        MOVED: moved,
        TIMES: (times if isinstance(times, int) else 0) + any(made.values()),
    }


def shown(chain: ContractChain, token: str, amount: int) -> str:
    """Return an amount as people read it; in base units where a token (empty: the coin) does not tell its decimals."""
    try:
        decimals = _decimals(chain, token) if token else _COIN_DECIMALS
    except PortcullisError:
        return f"{amount} base units"
    whole, part = divmod(amount, 10**decimals)
    return f"{whole}.{part:0{decimals}d}".rstrip("0").rstrip(".") if part else str(whole)


def _decimals(chain: ContractChain, token: str) -> int:
    told = int(str(safe.answered("uint256", chain.call(token, safe.call("decimals()")), "decimals()")))
    if told > _MOST_DECIMALS:
        raise UnavailableError(f"{token} tells {told} decimals")
    return told
