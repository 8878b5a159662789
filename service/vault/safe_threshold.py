"""One step's raising of the thresholds of an account's Safes.

Rules:

- First the Safes of which the chain says what people approved, and for which the vault has enough owners, are noted, and
  nothing is signed; that is the step's first receipt. What it raises is among them, so whoever repeats it, also after a
  worker that died behind a transaction, knows a raised Safe from one that asked for as many before.
- A Safe that says otherwise, or that the vault cannot raise, is left alone and named with the reason; where that is so of
  all, the step is refused. A Safe that cannot be asked is neither: the attempt is made again.
"""

from dataclasses import dataclass, field

from service.domain import safe, threshold
from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError
from service.domain.ids import AccountId
from service.domain.plan import Receipt
from service.domain.threshold import LEFT_ALONE, RAISES, TOO_FEW, Raise
from service.vault.everywhere import Outcome, require
from service.vault.safes import MANAGE, Safe


@dataclass(slots=True)
class Raising:
    """One attempt. `before` is the step's receipt so far."""

    wanted: Raise
    before: Receipt | None
    _raises: list[str] = field(default_factory=list)
    _too_few: dict[str, str] = field(default_factory=dict)
    _transactions: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, MissingCapabilityError | RefusedByOtherSideError] = field(default_factory=dict)

    @property
    def noted(self) -> frozenset[str]:
        """The Safes (CAIP-10) that the step raises; empty where it has to note them first."""
        return threshold.raises(self.before)

    def work(self, one: Safe) -> None:
        """Note a Safe, or raise one that is noted."""
        try:
            self._raise(one) if self.noted else self._look(one)
        except (MissingCapabilityError, RefusedByOtherSideError) as error:
            self._refused[one.at] = error
        else:
            self._raises.append(one.at)

    def receipt(self, account: AccountId) -> Receipt:
        """Return what came of it. Raises what was said where no Safe is left to raise."""
        if not self._raises:
            require(Outcome[None](errors=list(self._refused.values())))
        known = {} if self.before is None else self.before.facts.get(LEFT_ALONE)
        left = {**(known if isinstance(known, dict) else {}), **{at: str(why) for at, why in self._refused.items()}}
        facts: dict[str, object] = {"transactions": self._transactions, RAISES: self._raises}
        facts.update({name: told for name, told in ((LEFT_ALONE, left), (TOO_FEW, self._too_few)) if told})
        return Receipt(account, facts)

    def _look(self, one: Safe) -> None:
        state = one.read()
        if (why := self.wanted.differs(state)) is not None:
            raise RefusedByOtherSideError(why)
        one.require(state, one.owners(state, MANAGE))

    def _raise(self, one: Safe) -> None:
        state = one.read()
        if state.threshold != self.wanted.signatures:  # else an earlier attempt came as far as that
            if (why := self.wanted.differs(state)) is not None:
                raise RefusedByOtherSideError(why)
            data = safe.change_threshold(state, self.wanted.signatures)
            self._transactions[one.at] = one.manage(state, data).transaction_hash
        if (ours := len(one.owners(state, MANAGE))) < self.wanted.signatures:
            self._too_few[one.at] = f"{ours} of {self.wanted.signatures}"
