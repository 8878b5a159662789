"""The guardian's gas of an hour: what stops is told each time, and a wrong clock stops nothing."""

from datetime import timedelta

import pytest
from sqlalchemy import insert

from service.domain.attention import Spent
from service.domain.errors import HourSpentError
from service.store.tables.keys import guardian_gas
from service.store.tables.proof import outbox
from service.vault.purse import MOST_GAS_PER_HOUR, Purse
from tests.support.authority import House
from tests.support.response import rows, superuser_do

CHAIN = "eip155:1"
TENTH = MOST_GAS_PER_HOUR // 10


def told(house: House) -> list[str]:
    return sorted(row.payload["what"] for row in rows(house, outbox) if row.event == "guardian_spent")


def test_that_locks_stop_is_told_though_rejections_stopped_before(ready: House) -> None:
    purse = Purse(ready.database("portcullis_keys"), CHAIN)
    purse.take(0, 5 * TENTH, rejects=True)
    for _ in range(2):
        with pytest.raises(HourSpentError, match="for rejections"):
            purse.take(1, TENTH, rejects=True)
    purse.take(1, 5 * TENTH, rejects=False)
    assert told(ready) == [Spent.REJECTIONS]
    for _ in range(2):
        with pytest.raises(HourSpentError, match="for everything"):
            purse.take(2, TENTH, rejects=False)
    assert told(ready) == [Spent.EVERYTHING, Spent.REJECTIONS]


def test_what_a_clock_wrote_that_was_wrong_keeps_no_lock_back(ready: House) -> None:
    ahead = ready.clock.now() + timedelta(days=300)
    superuser_do(ready, insert(guardian_gas).values(chain=CHAIN, nonce=1, gas=MOST_GAS_PER_HOUR, at=ahead))
    ready.clock.pass_by(timedelta(days=2))
    Purse(ready.database("portcullis_keys"), CHAIN).take(5, TENTH, rejects=False)
    assert {row.nonce for row in rows(ready, guardian_gas)} == {1, 5}
