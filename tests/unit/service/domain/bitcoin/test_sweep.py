"""Plans of sweeps: sizes, limits, dust, rivals."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.bitcoin.coins import Coin, Outpoint, parsed, proven
from service.domain.bitcoin.descriptor import Kind
from service.domain.bitcoin.network import MAX_SATS, REGTEST
from service.domain.bitcoin.sweep import (
    MAX_INPUTS,
    MAX_RATE,
    MAX_SHARE,
    MAX_TRANSACTIONS,
    MIN_RATE,
    WORTH,
    Rival,
    child,
    destination,
    draft,
    plan,
    vsize,
)
from service.domain.errors import InputError
from tests.unit.service.domain.bitcoin.wallets import coin, wallet

TO = wallet(keys=2).place(0, 0).script_pubkey
RATE = 10_000


def renamed(of: Coin, number: int, amount: int) -> Coin:
    return Coin(Outpoint(f"{number:064x}", 0), amount, of.place, of.made_by)


@settings(max_examples=60, deadline=None)
@given(
    amounts=st.lists(st.integers(1, 10**9), max_size=450),
    rate=st.integers(0, MAX_RATE),
    kind=st.sampled_from(list(Kind)),
)
def test_a_plan_keeps_every_coin_once_and_every_limit(amounts: list[int], rate: int, kind: Kind) -> None:
    one = coin(wallet(kind), 1)
    coins = [renamed(one, number, amount) for number, amount in enumerate(amounts)]
    found = plan(wallet(kind), coins, TO, rate)
    swept = [c for d in found.drafts for c in d.coins]
    assert sorted(c.at for c in (*swept, *found.dust, *found.later)) == [c.at for c in coins]
    for made in found.drafts:
        total = sum(c.amount for c in made.coins)
        assert made.amount + made.fee == total
        assert made.fee * MAX_SHARE <= total
        assert len(made.coins) <= MAX_INPUTS
        assert max(rate, MIN_RATE) <= made.fee * 1000 / made.vsize <= MAX_RATE + 1000


def test_a_dust_storm_costs_nothing_and_hides_nothing() -> None:
    one = coin(wallet(), 1)
    storm = [renamed(one, number, 600) for number in range(99_999)] + [renamed(one, 10**6, 10**8)]
    found = plan(wallet(), storm, TO, RATE)
    assert [len(d.coins) for d in found.drafts] == [1]
    assert len(found.dust) == 99_999
    with pytest.raises(InputError, match="at most 100000"):
        plan(wallet(), [*storm, one], TO, RATE)


def test_more_coins_than_one_plan_takes_are_left_for_the_next_the_largest_first() -> None:
    one, most = coin(wallet(), 1), MAX_INPUTS * MAX_TRANSACTIONS
    found = plan(wallet(), [renamed(one, n, 10**6 + n) for n in range(most + 5)], TO, RATE)
    assert len(found.drafts) == MAX_TRANSACTIONS
    assert [c.amount for c in found.later] == [10**6 + n for n in (4, 3, 2, 1, 0)]


def test_what_is_left_is_worth_less_than_twice_its_fee() -> None:
    made = wallet()
    two = [coin(made, 10**6, number) for number in (0, 1)]
    fee = -(-RATE * (vsize(made, two, TO) - vsize(made, two[:1], TO)) // 1000)
    found = plan(made, [coin(made, WORTH * fee - 100), coin(made, 10**8, 1)], TO, RATE)
    assert len(found.dust) == 1
    found = plan(made, [coin(made, WORTH * fee + 100), coin(made, 10**8, 1)], TO, RATE)
    assert not found.dust


def test_a_lying_fee_rate_is_refused_and_a_bid_has_an_end() -> None:
    made = wallet()
    with pytest.raises(InputError, match="over the limit of 1000"):
        plan(made, [coin(made, 10**8)], TO, MAX_RATE + 1)
    rich = draft(made, (coin(made, 10**8),), TO, RATE, Rival(fees=10**5, rate=500_000))
    assert rich is not None
    assert rich.fee >= 10**5 + rich.vsize
    assert draft(made, (coin(made, 10**8),), TO, RATE, Rival(fees=10**8 // 4, rate=0)) is None
    assert draft(made, (coin(made, 700),), TO, MIN_RATE) is None


def test_a_child_that_need_not_pay_for_its_parent_still_pays_for_itself() -> None:
    made = wallet()
    parent = draft(made, (coin(made, 10**8),), TO, 100_000)
    assert parent is not None
    bump = child(made, parent, coin(made, parent.amount, 1), TO, 2_000)
    assert bump is not None
    assert bump.rate >= 2_000


def test_a_safe_destination_is_an_address_or_the_first_address_of_a_wallet() -> None:
    safe = wallet(Kind.TR)
    assert destination(safe.text, REGTEST) == destination(safe.address(0, 0), REGTEST) == safe.place(0, 0).script_pubkey
    with pytest.raises(InputError):
        destination("0x5afe000000000000000000000000000000000001", REGTEST)


def test_a_coin_is_what_its_transaction_says() -> None:
    made = wallet()
    good = coin(made, 5000)
    assert good.amount == 5000
    raw = good.made_by
    with pytest.raises(InputError, match="another hash: somebody lies"):
        proven(good.at, raw.replace((5000).to_bytes(8, "little"), (6000).to_bytes(8, "little")), made, 0, 0)
    with pytest.raises(InputError, match="a foreign coin"):
        proven(good.at, raw, made, 0, 1)
    with pytest.raises(InputError, match="does not exist"):
        proven(Outpoint(good.at.txid, 1), raw, made, 0, 0)
    over = raw.replace((5000).to_bytes(8, "little"), (MAX_SATS + 1).to_bytes(8, "little"))
    with pytest.raises(InputError, match="more than there is"):
        parsed(over)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_transaction_or_an_input_error(raw: bytes) -> None:
    try:
        found = parsed(raw)
    except InputError:
        return
    assert found.serialize() == raw


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_a_transaction_with_bytes_changed_is_another_or_none(at: int, put: bytes) -> None:
    good = coin(wallet(), 5000)
    changed = good.made_by[:at] + put + good.made_by[at + len(put) :]
    if changed == good.made_by:
        return
    with pytest.raises(InputError):
        proven(good.at, changed, wallet(), 0, 0)


def test_coins_in_no_block_go_last_and_apart_by_what_made_them() -> None:
    one = coin(wallet(), 1)
    firm = [renamed(one, n, 10**6) for n in (1, 2)]
    loose = [replace(renamed(one, n, 10**9), is_confirmed=False) for n in (3, 4)]
    twin = replace(loose[0], at=Outpoint(loose[0].at.txid, 1))
    found = plan(wallet(), [*loose, twin, *firm], TO, RATE)
    assert [{c.at for c in d.coins} for d in found.drafts] == [
        {c.at for c in firm},
        {loose[0].at, twin.at},
        {loose[1].at},
    ]
    many = [replace(renamed(one, n, 10**9), is_confirmed=False) for n in range(10, 10 + MAX_TRANSACTIONS)]
    found = plan(wallet(), [*many, *firm], TO, RATE)
    assert {c.at for c in found.drafts[0].coins} == {c.at for c in firm}
    assert len(found.drafts) == MAX_TRANSACTIONS
    assert [c.at for c in found.later] == [many[-1].at]
