"""Deposits in no block: swept apart from the others, and forgotten when their payer replaced them."""

from datetime import timedelta

import pytest
from embit.transaction import Transaction

from service.domain.bitcoin.descriptor import Descriptor
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from tests.integration.bitcoin.accounts import at_safe, bury, fund, registered, vaults, wallet
from tests.support.esplora import Esplora
from tests.support.regtest import COIN, txid_of
from tests.support.vault import VaultHouse

pytestmark = pytest.mark.servers


def deposit(server: Esplora, of: Descriptor, amount: int, index: int) -> str:
    """Pay the wallet; the payment stays in the pool."""
    made = server.chain.pay((of.place(0, index).script_pubkey, amount))
    assert server.submit(made) is None
    return txid_of(made)


def replace_by_payer(server: Esplora, txid: str) -> None:
    """Put another spend of the payer's coin in a block; what it replaces, and its descendants, are gone."""
    made = Transaction.parse(server.pool[txid])
    made.vout = made.vout[1:]
    for one in server._with_descendants({txid}):
        del server.pool[one]
    assert server.submit(made.serialize()) is None
    server.mine()


def kept(house: VaultHouse, account: AccountId) -> set[str]:
    with house.parts.db.begin() as uow:
        ready = uow.bitcoin.prepared(account)
    assert ready is not None
    return {coin.txid for coin in ready.coins}


def deny_unknown(server: Esplora, patch: pytest.MonkeyPatch) -> None:
    """Answer 404 for what spends an output of a transaction that nobody knows, as some servers do."""
    plain = server._outspend

    def outspend(name: str, vout: int) -> dict[str, object] | None:
        return plain(name, vout) if server.raw(name) is not None else None

    patch.setattr(server, "_outspend", outspend)


@pytest.mark.parametrize("then", ["sweep", "refresh first", "an endpoint that answers 404"])
def test_a_replaced_deposit_is_forgotten_and_stops_nothing(
    house: VaultHouse, server: Esplora, safe: Descriptor, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    account = registered(house, safe.text)
    of = wallet(house, account)
    fund(server, of, COIN, COIN)
    false, later = deposit(server, of, 3 * COIN, 1), deposit(server, of, 2 * COIN, 2)
    if then.startswith("an endpoint"):
        deny_unknown(server, monkeypatch)
    vaults(house).refresh()
    assert {false, later} <= kept(house, account)
    house.clock.pass_by(timedelta(seconds=200))
    replace_by_payer(server, false)
    if then == "refresh first":
        assert vaults(house).refresh() == 1
        assert false not in kept(house, account)
    vaults(house).sweep(account, key="s")
    bury(server)
    assert vaults(house).swept(account) is Verdict.HOLDS
    assert at_safe(server, safe) > 4 * COIN - 200_000


def test_a_deposit_that_is_replaced_after_we_spent_it_takes_only_its_own_transaction_along(
    house: VaultHouse, server: Esplora, safe: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = registered(house, safe.text)
    of = wallet(house, account)
    fund(server, of, COIN)
    deny_unknown(server, monkeypatch)
    false = deposit(server, of, 3 * COIN, 1)
    vaults(house).sweep(account, key="s")
    assert len(server.pool) == 3, "the deposit, its sweep, and the sweep of what is in a block"
    replace_by_payer(server, false)
    vaults(house).sweep(account, key="s")
    bury(server)
    assert vaults(house).swept(account) is Verdict.HOLDS
    assert sorted(row.state for row in house.sweeps(account)) == ["failed", "final"]
    assert COIN - 100_000 < at_safe(server, safe) < COIN


def test_a_deposit_that_nobody_relays_a_child_of_does_not_hold_up_the_rest(
    house: VaultHouse, server: Esplora, safe: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = registered(house, safe.text)
    of = wallet(house, account)
    fund(server, of, COIN)
    deep = deposit(server, of, 3 * COIN, 1)
    plain = server.submit

    def submit(raw: bytes) -> str | None:
        if any(one.txid.hex() == deep for one in Transaction.parse(raw).vin):
            return "too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]"
        return plain(raw)

    monkeypatch.setattr(server, "submit", submit)
    vaults(house).sweep(account, key="s")
    assert at_safe(server, safe) > COIN - 100_000, "what is in a block is on its way"
    bury(server)
    assert vaults(house).swept(account) is Verdict.DOES_NOT_HOLD, "the deposit is in a block now, and swept next"
    monkeypatch.undo()
    vaults(house).sweep(account, key="s")
    bury(server)
    assert vaults(house).swept(account) is Verdict.HOLDS
    assert at_safe(server, safe) > 4 * COIN - 200_000
