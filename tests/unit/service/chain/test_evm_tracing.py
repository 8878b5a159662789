"""Which transactions of a block are looked into, and how many."""

from contextlib import closing
from typing import Any

import msgspec
import pytest

from service.chain import evm_tracing
from service.chain.evm_insides import Called, Inside, Insides
from service.chain.evm_tracing import TRANSFER, EvmTracing

VICTIM, THIEF, SPLITTER, TOKEN, STRANGER = ("0x" + f"{n:02x}" * 20 for n in range(1, 6))


Told = tuple[str, str | None, int, int, list[dict[str, Any]]]


class Canned(EvmTracing):
    """One block of transactions as (sender, to, value, gas used, logs)."""

    def __init__(self, *transactions: Told) -> None:
        super().__init__("http://127.0.0.1:1", "eip155:1")
        self.transactions = transactions

    def _ask(self, method: str, params: list[object], kind: Any) -> Any:

        told: Any
        if method == "eth_getBlockReceipts":
            told = [
                {"transactionHash": hex(n), "gasUsed": hex(gas), "logs": logs}
                for n, (*_, gas, logs) in enumerate(self.transactions)
            ]
        else:
            moved = [
                {"hash": hex(n), "from": giver, "to": to, "value": hex(wei)}
                for n, (giver, to, wei, *_) in enumerate(self.transactions)
            ]
            told = {"hash": "0xb", "parentHash": "0xa", "timestamp": "0x1", "transactions": moved}
        return msgspec.convert(told, kind)


def log(emitter: str, *topics: str, data: str = "0x") -> dict[str, Any]:
    return {"address": emitter, "topics": list(topics), "data": data, "logIndex": "0x0"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was looked into; inside of each the splitter pays one wei to the thief."""
    names: list[str] = []

    def of(_self: Insides, called: Called) -> Inside:
        names.append(called.hash)
        return Inside([(SPLITTER, THIEF, 1)])

    monkeypatch.setattr(Insides, "of", of)
    return names


def test_only_what_calls_or_is_logged_by_somebody_who_is_followed_is_looked_into(asked: list[str]) -> None:
    topics = [TRANSFER, *("0x" + address[2:].rjust(64, "0") for address in (THIEF, STRANGER))]
    tokens = log(TOKEN, *topics, data="0x" + "00" * 31 + "09")
    block: tuple[Told, ...] = (
        (STRANGER, VICTIM, 0, 90_000, []),  # 0: the victim is called
        (STRANGER, STRANGER, 0, 90_000, [log(VICTIM)]),  # 1: it says that it acted
        (VICTIM, THIEF, 5, 21_000, []),  # 2: a plain payment
        (THIEF, SPLITTER, 5, 90_000, []),  # 3: whoever was paid in this block is followed at once
        (STRANGER, SPLITTER, 0, 90_000, []),  # 4: and so is whoever that one pays
        (THIEF, TOKEN, 0, 90_000, [tokens]),
        (STRANGER, None, 0, 90_000, [log(VICTIM)]),  # 6: a contract is made, and the victim acts meanwhile
        (TOKEN, STRANGER, 7, 90_000, []),  # 7: paid with tokens, he is followed
    )  # fmt: skip
    with closing(Canned(*block)) as source:
        found = source.block(1, {VICTIM})
        assert asked == ["0x0", "0x1", "0x3", "0x4", "0x6", "0x7"]
        assert (found.looked.told, found.looked.untold, found.looked.asked) == (6, {}, 6)
        assert found.looked.asked_of == {VICTIM: 3}
        order = [m.id for m in sorted(found.movements, key=lambda m: m.order)]
        assert order == ["0x0/1", "0x1/1", "0x2", "0x3", "0x3/1", "0x4/1", "0x5#0", "0x6/1", "0x7", "0x7/1"]
        asked.clear()
        assert source.block(1).looked.told == 0
        assert asked == []


def test_what_is_over_a_block_s_limits_is_not_asked_for_and_said(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    block: list[Told] = [(STRANGER, VICTIM, 0, 90_000, []) for _ in range(4)]
    with closing(Canned(*block)) as source:
        monkeypatch.setattr(evm_tracing, "MOST_INSIDES", 3)
        found = source.block(1, {VICTIM})
        assert (len(asked), found.looked.told, list(found.looked.untold)) == (3, 3, ["0x3"])
        monkeypatch.setattr(evm_tracing, "INSIDES_S", -1.0)
        found = source.block(1, {VICTIM})
        assert (len(asked), found.looked.told, len(found.looked.untold)) == (3, 0, 4)
        assert "no more than 3 of a block" in found.looked.untold["0x0"]


def test_one_contract_cannot_use_up_what_is_asked_for_in_a_block(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evm_tracing, "MOST_EACH", 3)
    calls: list[Told] = [(STRANGER, TOKEN, 0, 90_000, []) for _ in range(8)]
    with closing(
        Canned(*calls, (STRANGER, VICTIM, 0, 90_000, []), (STRANGER, TOKEN, 0, 90_000, [log(VICTIM)]))
    ) as source:
        found = source.block(1, {VICTIM, TOKEN})
    assert asked == ["0x0", "0x1", "0x2", "0x8", "0x9"]
    assert list(found.looked.untold) == ["0x3", "0x4", "0x5", "0x6", "0x7"]
    assert (found.looked.asked, found.looked.asked_of) == (5, {TOKEN: 4, VICTIM: 2})
