"""The gate looks at whom the bytes pay or give rights, not only at what is called the destination; first bytes are news."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rlp

from service.clock import SystemClock
from service.domain.decode.call import selector
from service.domain.quorum import Role
from tests.support.api import ApiWorld, api_on
from tests.support.intake import (
    ETH,
    TOKEN,
    World,
    clear_by_hand,
    encoded,
    hold_by_hand,
    running,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers
AUTH = {"authorization": f"Bearer {TOKEN}"}
COIN = "0x" + "c0" * 20
THIEF = "0x" + "66" * 20
PAYEE = "0x" + "11" * 20
BITCOIN = "bip122:000000000019d6689c085ae165831e93"
SEGWIT = "bc1qyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zc6v074"
STAMP = "2026-01-01T00:00:00Z"


def words(*values: str | int) -> bytes:
    return b"".join(
        bytes.fromhex(value[2:]).rjust(32, b"\0") if isinstance(value, str) else value.to_bytes(32) for value in values
    )


def transfer(to: str, amount: int = 10**6) -> bytes:
    return selector("transfer(address,uint256)") + words(to, amount)


def transfer_from(to: str) -> bytes:
    return selector("transferFrom(address,address,uint256)") + words(PAYEE, to, 10**6)


def bytes_of(data: bytes, to: str = COIN) -> dict[str, object]:
    """An EIP-1559 transaction on chain 1, as it would be signed."""
    raw = b"\x02" + rlp.encode([1, 4, 1, 1, 210_000, bytes.fromhex(to[2:]), 0, data, []])
    return {"raw_transaction": raw.hex()}


def signing(number: int, **changes: object) -> dict[str, object]:
    told = {"asset": None, "amount_base_units": None, "amount_usd": None, "destination": None, "destination_kind": None}
    return withdrawal(number, type="signing.requested", timestamp=STAMP, **(told | changes))


async def decided(world: World, request: str, document: dict[str, object]) -> str:
    body = encoded(document | {"id": request, "deadline_ms": 20_000})
    answer = await world.client.post("/v1/decisions", content=body, headers=AUTH)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["decision"])


async def weighed(world: World, event: str, document: dict[str, object]) -> dict[str, Any]:
    answer = await world.tell(event, document)
    assert answer.status_code == 200, answer.text
    (found,) = world.rows("SELECT id, decision FROM activities WHERE event_id = %s", event)
    return found


def stored(world: World, request: str) -> dict[str, Any]:
    query = "SELECT id, status, detectors, reasons FROM activities WHERE event_id = %s"
    (found,) = world.rows(query, f"gate:{request}")
    return found


def play(url: str, script: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with running(url) as world:
            await script(world)

    asyncio.run(whole())
    assert verified(url).differences == ()


@pytest.fixture
def api(url: str, tmp_path: Path) -> Iterator[ApiWorld]:
    found = api_on(url, SystemClock(), tmp_path)
    yield found
    found.close()


def test_whom_a_call_pays_may_be_held_whatever_contract_it_is_sent_to(url: str) -> None:
    async def script(world: World) -> None:
        assert await decided(world, "free", signing(1, **bytes_of(transfer(PAYEE)))) == "approve"
        hold_by_hand(url, "std", "destination", f"eip155:137:{THIEF}")
        assert await decided(world, "bytes", signing(2, **bytes_of(transfer(THIEF)))) == "hold"
        assert await decided(world, "from", signing(3, **bytes_of(transfer_from(THIEF)))) == "hold"
        told = {"contract_call": {"to": COIN, "data": transfer(THIEF).hex()}}
        assert await decided(world, "call", signing(4, **told)) == "hold"
        assert await decided(world, "to it", signing(5, **bytes_of(b"", to=THIEF))) == "hold"
        assert await decided(world, "other", signing(6, **bytes_of(transfer(PAYEE)))) == "approve"

    play(url, script)


def test_a_held_destination_is_held_in_every_spelling_and_on_every_evm_chain(url: str) -> None:
    async def script(world: World) -> None:
        for place in (f"eip155:1:{THIEF}", f"{BITCOIN}:{SEGWIT}"):
            hold_by_hand(url, "std", "destination", place)
        coin, thief = f"{BITCOIN}/slip44:0", THIEF.upper().replace("X", "x")
        for number, (asset, place) in enumerate(
            [
                (ETH, f"eip155:1:{thief}"),
                (ETH, thief),
                ("eip155:137/slip44:966", f"eip155:137:{THIEF}"),
                (coin, f"{BITCOIN}:{SEGWIT}"),
                (coin, f"{BITCOIN}:{SEGWIT.upper()}"),
                (coin, SEGWIT.upper()),
            ]
        ):
            told = withdrawal(number, asset=asset, destination=place, timestamp=STAMP)
            assert await decided(world, f"q-{number}", told) == "hold", place
        assert await decided(world, "q-other", withdrawal(10, timestamp=STAMP)) == "approve"
        kept = {row["destination"] for row in world.rows("SELECT destination FROM activities")}
        assert {f"{BITCOIN}:{SEGWIT}", SEGWIT, THIEF} <= kept
        assert SEGWIT.upper() not in kept

    play(url, script)


def test_lists_are_asked_of_everybody_whom_the_bytes_pay(url: str, api: ApiWorld) -> None:
    async def script(world: World) -> None:
        table = f"address,name,kind\n{THIEF},The Group,sanctioned\n"
        named = {"source": "A list", "listed_on": "2026-11-01", "text": table}
        answer = await asyncio.to_thread(api.call, "POST", "/v1/address-lists", Role.ADMIN, json=named)
        assert answer.status_code == 201, answer.text
        assert (
            await decided(world, "q-1", signing(1, destination=f"eip155:1:{COIN}", **bytes_of(transfer(THIEF))))
            == "hold"
        )
        found = stored(world, "q-1")
        assert "paid-to-sanctioned-destination" in found["detectors"]
        assert "sanctioned by A list" in found["reasons"]
        (alert,) = world.rows("SELECT entities FROM alerts")
        assert f"destination:eip155:1:{THIEF}" in alert["entities"]
        assert await decided(world, "q-2", signing(2, **bytes_of(transfer(PAYEE)))) == "approve"

    play(url, script)


def test_what_people_cleared_clears_no_bytes_that_came_later(url: str) -> None:
    async def script(world: World) -> None:
        data = selector("approve(address,uint256)") + words(PAYEE, 2**256 - 1)
        shown = signing(1, destination=f"eip155:1:{COIN}", contract_call={"to": COIN, "data": data.hex()})
        assert await decided(world, "shown", shown) == "hold"
        clear_by_hand(url, stored(world, "shown")["id"])
        assert await decided(world, "shown", shown) == "approve"
        assert await decided(world, "same", shown) == "approve", "a repetition passes by the clearance"
        for name, told in (
            ("bytes", bytes_of(transfer(THIEF))),
            ("call", {"contract_call": {"to": COIN, "data": transfer(THIEF).hex()}}),
        ):
            assert await decided(world, name, signing(1, destination=f"eip155:1:{COIN}", **told)) == "hold"
            found = stored(world, name)
            assert found["status"] == "scored"
            assert THIEF in found["reasons"], "people read what it does"

    play(url, script)


def test_a_webhook_that_people_cleared_clears_no_first_bytes(url: str) -> None:
    async def script(world: World) -> None:
        assert (await weighed(world, "first", withdrawal(1, timestamp=STAMP)))["decision"] == "allow"
        changed = await weighed(world, "changed", withdrawal(1, destination=f"eip155:1:{COIN}", timestamp=STAMP))
        assert changed["decision"] == "hold"
        clear_by_hand(url, changed["id"])
        asked = signing(1, **bytes_of(transfer(THIEF)))
        assert await decided(world, "bytes", asked) == "hold"
        assert stored(world, "bytes")["status"] == "scored"
        clear_by_hand(url, stored(world, "bytes")["id"])
        assert await decided(world, "bytes", asked) == "approve"

    play(url, script)


def test_a_question_that_tells_more_of_a_held_transaction_is_held_too(url: str) -> None:
    async def script(world: World) -> None:
        told = withdrawal(1, timestamp=STAMP, amount_usd=None)
        assert (await weighed(world, "first", told))["decision"] == "allow"
        moved = withdrawal(1, timestamp=STAMP, amount_usd=None, destination=f"eip155:1:{PAYEE}")
        assert (await weighed(world, "changed", moved))["decision"] == "hold"
        assert await decided(world, "more", withdrawal(1, timestamp=STAMP, amount_usd="5.00")) == "hold"
        assert stored(world, "more")["status"] == "scored"

    play(url, script)


def test_what_failed_asks_for_no_decision(url: str) -> None:
    async def script(world: World) -> None:
        for kind in ("withdrawal.failed", "withdrawal.cancelled"):
            body = encoded(withdrawal(1, type=kind, timestamp=STAMP) | {"id": kind, "deadline_ms": 20_000})
            answer = await world.client.post("/v1/decisions", content=body, headers=AUTH)
            assert (answer.status_code, answer.json()["field"]) == (422, "type")
        assert world.count("activities") == 0

    play(url, script)
