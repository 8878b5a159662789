"""How much gas the guardian may use in an hour, on each chain, all workers and steps together.

Rules: what is reserved is the gas that a transaction is given, before it is signed; one that takes the place of another at
the same nonce counts once. Rejections follow the word of others about what waits, and get half of the hour: locks, owner
changes and sweeps always have the other half. A limit that is reached puts steps off and pages people, each of the two by
itself: that locks stop is told though it was told before that rejections do.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from service.domain.attention import Spent, guardian_note, hour_of
from service.domain.errors import HourSpentError
from service.domain.events import GuardianSpent
from service.domain.timeline import Entry
from service.ports.store.unit import Database

HOUR: Final = timedelta(hours=1)
MOST_GAS_PER_HOUR: Final = 12_000_000
"""Some thirty locks with their guards' installation, or a hundred and fifty without."""


@dataclass(frozen=True, slots=True)
class Purse:
    """The guardian's gas on one CAIP-2 chain."""

    db: Database
    chain: str

    def take(self, nonce: int, gas: int, *, rejects: bool) -> None:
        """Reserve gas for the guardian's transaction at a nonce. Raises HourSpentError when the hour has no more."""
        what = Spent.REJECTIONS if rejects else Spent.EVERYTHING
        most = MOST_GAS_PER_HOUR // 2 if rejects else MOST_GAS_PER_HOUR
        with self.db.begin() as uow:
            uow.lock(f"guardian_gas:{self.chain}")
            used = uow.keys.guardian_gas(self.chain, uow.now - HOUR, besides=nonce)
            if used + gas <= most:
                uow.keys.use_guardian_gas(self.chain, nonce, gas)
                return
            told = f"The guardian used {used} gas on {self.chain} within an hour; {most} are the limit for {what}"
            hour = hour_of(uow.now)
            if uow.once(guardian_note(self.chain, hour, what)):
                facts = {"chain": self.chain, "gas": used, "limit": most, "for": what.value}
                entry = Entry(kind="guardian.spent", at=uow.now, subject=self.chain, sentence=told, facts=facts)
                uow.record(entry, GuardianSpent(self.chain, hour, what))
        raise HourSpentError(f"{told}: what needs more goes on by itself when that is an hour ago", retry_after_s=60)
