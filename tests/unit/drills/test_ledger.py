"""Funds are never created or lost, whatever happens on the ledger and the chain."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drills.emulator.chain import Chain
from drills.emulator.errors import AmountError, EmulatorError, FundsError
from drills.emulator.evm import EvmTransaction, from_caip10, transfer_call
from drills.emulator.figures import Figures
from drills.emulator.ledger import Ledger
from drills.emulator.money import full_text, short_text, to_base_units, usd
from drills.emulator.records import Account, Asset, Destination

ETHER = 10**18
ADDRESSES = [f"eip155:1:0x{n:040x}" for n in range(1, 6)]
TOKEN = "0x" + "70" * 20
START = 3 * ETHER


def world() -> tuple[Ledger, Figures, Chain]:
    ledger = Ledger()
    ledger.assets["ETH"] = Asset("ETH", "eip155:1/slip44:60", 18, Decimal(350), None)
    ledger.assets["TKN"] = Asset("TKN", f"eip155:1/erc20:{TOKEN}", 6, Decimal("0.5"), TOKEN)
    for number, address in enumerate(ADDRESSES[:3]):
        ledger.add_account(Account(str(number), f"a{number}", "fireblocks", [address], ["ETH", "TKN"], key_stolen=True))
        ledger.mint(address, "ETH", START)
        ledger.mint(address, "TKN", 10**9)
    ledger.destinations[ADDRESSES[3]] = Destination(ADDRESSES[3], "attacker", "thief")
    ledger.destinations[ADDRESSES[4]] = Destination(ADDRESSES[4], "safe", "safe")
    figures = Figures(ledger)
    chain = Chain(ledger, figures)
    chain.native_asset_id = "ETH"
    return ledger, figures, chain


MOVE = st.tuples(
    st.sampled_from(["move", "steal", "send"]),
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from(["ETH", "TKN"]),
    st.integers(-5, 4 * ETHER),
)


def play(chain: Chain, move: tuple[str, int, int, str, int]) -> None:
    kind, source, target, asset, amount = move
    sender, recipient = ADDRESSES[source], ADDRESSES[target]
    if kind == "move":
        chain.ledger.move(sender, recipient, asset, amount)
    elif kind == "steal":
        chain.steal(sender, recipient, asset, amount)
    else:
        call = transfer_call(chain.ledger.assets[asset].contract, from_caip10(recipient), abs(amount))
        address = from_caip10(sender)
        chain.submit_platform(EvmTransaction(1, chain.nonce(address), chain.fees(call), call), address)


@given(st.lists(MOVE, max_size=30))
def test_conservation(moves: list[tuple[str, int, int, str, int]]) -> None:
    async def run() -> None:
        ledger, figures, chain = world()
        for move in moves:
            before = ledger.holdings()
            try:
                play(chain, move)
            except EmulatorError:
                assert ledger.holdings() == before
            assert ledger.is_conserved()
            assert all(amount > 0 for _, _, amount in ledger.holdings())
        values = [usd(n, ledger.asset(s).decimals, ledger.asset(s).price_usd) for _, s, n in ledger.holdings()]
        total = sum(values, Decimal(0))
        assert abs(total - (3 * 3 * Decimal(350) + 3 * Decimal(500))) < Decimal("0.5")
        assert figures.report()["conserved"] is True

    asyncio.run(run())


def test_conservation_notices_a_lost_unit() -> None:
    ledger, _, _ = world()
    ledger._balances[ADDRESSES[0], "ETH"] -= 1
    assert not ledger.is_conserved()


def test_lost_is_what_reached_attackers_only() -> None:
    ledger, figures, _ = world()
    ledger.move(ADDRESSES[0], ADDRESSES[4], "ETH", ETHER)
    figures.note_harm("first")
    ledger.move(ADDRESSES[0], ADDRESSES[3], "ETH", ETHER)
    figures.note_harm("second")
    ledger.move(ADDRESSES[1], ADDRESSES[4], "TKN", 10**9)
    report = figures.report()
    assert report["value_at_risk_usd"] == str(Decimal("8.00") * 350 + 1500)
    assert (report["value_lost_usd"], report["value_swept_usd"]) == ("350.00", "500.00")
    assert (report["first_harm"], report["losses"]) == ("first", 1)


def test_reserved_funds_are_not_spent_twice() -> None:
    ledger, _, _ = world()
    ledger.reserve("t-1", "0", "ETH", 2 * ETHER)
    with pytest.raises(FundsError):
        ledger.reserve("t-2", "0", "ETH", 2 * ETHER)
    ledger.release("t-1")
    ledger.reserve("t-2", "0", "ETH", 2 * ETHER)


@given(st.integers(0, 10**30), st.integers(0, 36))
def test_amount_texts_round_trip(units: int, decimals: int) -> None:
    assert to_base_units(full_text(units, decimals), decimals) == units
    assert to_base_units(short_text(units, decimals), decimals) == units


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "0.0000001", "one", "", "1e400", "1" * 200])
def test_bad_amounts_are_refused(text: str) -> None:
    with pytest.raises(AmountError):
        to_base_units(text, 6)
