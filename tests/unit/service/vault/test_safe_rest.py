"""What a sweep leaves: never what is a thousandth of what it moved, never what a price says is worth moving."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import UnavailableError
from service.domain.plan import Receipt
from service.vault.safe_rest import AGAIN, Earlier, earlier, following, shown
from tests.support.chain import MemoryChain

USDC = "eip155:1/erc20:0x" + "a0" * 20
SAFE = "0x" + "5a" * 20
CENT = Decimal("0.01")
amounts = st.integers(0, 2**256 - 1)


@given(amounts, amounts, st.integers(0, 12), st.one_of(st.none(), st.decimals(0, 10**6, places=6)))
def test_a_price_makes_a_step_move_more_and_never_less(
    amount: int, moved: int, times: int, price: Decimal | None
) -> None:
    told = Earlier({USDC: moved}, times, {} if price is None else {USDC: price})
    bare = replace(told, usd={})
    if told.why_dust(USDC, amount) is not None:
        assert bare.why_dust(USDC, amount) is not None
        assert amount * 1_000 < moved
        assert times > AGAIN
        assert price is None or price * amount < 100


@pytest.mark.parametrize(
    ("usd", "left"),
    [
        ({}, "less than a thousandth of what 4 attempts moved"),
        ({USDC: CENT}, None),
        ({USDC: CENT / 1_000}, "less than 100 USD and a thousandth of what 4 attempts moved"),
    ],
)
def test_after_a_hundred_million_a_price_decides(usd: dict[str, Decimal], left: str | None) -> None:
    told = Earlier({USDC.upper(): 100_000_000 * 100}, AGAIN + 1, usd)
    assert told.why_dust(USDC.upper(), 99_999 * 100) == left
    assert replace(told, times=AGAIN).why_dust(USDC.upper(), 1) is None, "so often whatever came in is moved"


def test_a_receipt_keeps_what_every_attempt_moved() -> None:
    moved = {SAFE: {USDC: "12"}}
    first = following(None, {SAFE: ["0x1", "0x2"]}, {SAFE: {}})
    second = following(Receipt("one", {**first, "in_blocks": {}}), {SAFE: ["0x2", "0x3"], "other": []}, moved)
    third = following(Receipt("one", second), {SAFE: [], "other": []}, moved)
    assert second == {"transactions": {SAFE: ["0x1", "0x2", "0x3"], "other": []}, "moved": moved, "times": 2}
    assert third["times"] == 2, "an attempt that found nothing to move is none"
    prices = {USDC: CENT}
    assert earlier(Receipt("one", third), SAFE, prices) == Earlier({USDC: 12}, 2, prices)
    assert earlier(None, SAFE, {}) == earlier(Receipt("one", {"moved": [], "times": "2"}), SAFE, {}) == Earlier()


class Token(MemoryChain):
    """Answers every question with the same bytes; None: the endpoint is away."""

    answer: bytes | None = None

    def call(self, to: str, data: bytes) -> bytes:
        if self.answer is None:
            raise UnavailableError("away")
        return self.answer


@pytest.mark.parametrize(
    ("answer", "amount", "text"),
    [
        ((6).to_bytes(32, "big"), 12_500_000, "12.5"),
        ((6).to_bytes(32, "big"), 1, "0.000001"),
        ((6).to_bytes(32, "big"), 30 * 10**6, "30"),
        ((0).to_bytes(32, "big"), 7, "7"),
        ((36).to_bytes(32, "big"), 2**256 - 1, f"{(2**256 - 1) // 10**36}.{(2**256 - 1) % 10**36:036d}"),
        ((37).to_bytes(32, "big"), 7, "7 base units"),
        (b"", 7, "7 base units"),
        (None, 7, "7 base units"),
    ],
)
def test_an_amount_is_told_as_people_read_it(answer: bytes | None, amount: int, text: str) -> None:
    token = Token()
    token.answer = answer
    assert shown(token, USDC, amount) == text


def test_the_coin_has_eighteen_decimals() -> None:
    assert shown(Token(), "", 5 * 10**17) == "0.5"
