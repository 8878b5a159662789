"""What is read for the next batch while one is written is never older than reading it in its turn would give."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from service.domain.errors import UnavailableError
from service.domain.ids import ConnectionId
from service.domain.secrets import Secret
from service.ports.store.intake import Ahead, Asked, Facts, Writes
from service.store.grants import API
from service.store.intake import PostgresTurn, connect
from service.store.intake_facts import FactReader
from tests.support.intake import (
    World,
    add_account,
    encoded,
    running,
    seed,
    signed,
    verified,
    withdrawal,
)
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each batch that was looked up ahead, whether that was used."""
    found: list[bool] = []
    looked_up = PostgresTurn.looked_up

    async def noting(self: PostgresTurn, ahead: Ahead) -> Facts | None:
        facts = await looked_up(self, ahead)
        found.append(facts is not None)
        return facts

    monkeypatch.setattr(PostgresTurn, "looked_up", noting)
    return found


async def tell(world: World, event: str, number: int, kind: str) -> httpx.Response:
    body = encoded(withdrawal(number, timestamp="2026-01-01T00:00:00Z", type=kind))
    return await world.client.post("/webhooks/std", content=body, headers=signed(event, body))


async def told_often(world: World) -> Sequence[httpx.Response]:
    """Nine transactions, each told by two events, forty times: more than one batch takes."""
    kinds = ("withdrawal.requested", "withdrawal.confirmed")
    return await asyncio.gather(
        *(tell(world, f"{kind[11:]}-{at % 9}", at % 9, kind) for at in range(360) for kind in kinds)
    )


def test_what_a_batch_stored_is_known_to_the_next(url: str, used: list[bool]) -> None:
    async def play() -> None:
        async with running(url) as world:
            answers = await told_often(world)
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.json()["activity_id"] for answer in answers}) == 18
            assert (world.count("activities"), world.count("transactions")) == (18, 9)
            assert world.count("learning", "kind = 'activity'") == 9
            assert world.count("transactions", "state = 'confirmed'") == 9
            assert world.count("accounts", "live_since IS NOT NULL") == 1

    asyncio.run(play())
    assert True in used
    assert verified(url).differences == ()


@pytest.mark.parametrize("broken", ["look_ahead", "write"])
def test_whatever_breaks_nobody_is_forgotten(
    url: str, used: list[bool], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    genuine: Any = getattr(PostgresTurn, broken)
    calls: list[None] = []

    async def breaking(self: PostgresTurn, told: Asked | Writes) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise UnavailableError("the database did not take it: nothing was stored, send it again")
        return await genuine(self, told)

    monkeypatch.setattr(PostgresTurn, broken, breaking)

    async def play() -> None:
        async with running(url) as world:
            statuses = {answer.status_code for answer in await told_often(world)}
            assert statuses == ({200} if broken == "look_ahead" else {200, 503})
            assert {answer.status_code for answer in await told_often(world)} == {200}
            assert (world.count("activities"), world.count("transactions")) == (18, 9)

    asyncio.run(play())
    assert used
    assert verified(url).differences == ()


def test_what_was_read_before_others_could_have_the_turn_is_not_used(url: str) -> None:
    name = ConnectionId("std")

    async def play() -> None:
        store = await connect(Secret(url_of_role(url, API)))
        asked = Asked(events=[(name, "e")], accounts={(name, "hot-1")})
        async with store.turn() as turn:
            ahead = await turn.look_ahead(asked)
            assert ahead is not None
            asking = (
                "INSERT INTO learning_requests (kind, subject, payload, created_at) SELECT 'peer_group', 's', '', now()"
            )
            seed(url, [(asking, ())])
            facts = await turn.looked_up(ahead)
            assert facts is not None
            assert (facts.accounts["std"]["hot-1"].live, facts.requests) == (False, ())
            later = await turn.look_ahead(asked)
            assert later is not None
            facts = await turn.looked_up(later)
            assert facts is not None
            assert [one.kind for one in facts.requests] == ["peer_group"]
        await store.rest(idle=True)
        async with store.turn() as turn:
            assert await turn.looked_up(later) is None
        await store.close()

    asyncio.run(play())


def test_the_small_question_never_passes_over_what_is_known(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[Asked] = []
    look_at_all = FactReader._look_at_all

    async def noting(self: FactReader, connection: Any, asked: Asked) -> tuple[Facts, bool]:
        whole.append(asked)
        return await look_at_all(self, connection, asked)

    def asking(event: str, ref: str, connection: str = "std") -> Asked:
        return Asked(
            events=[(connection, event), ("std", "new")],
            accounts={("std", "hot-1")},
            transactions=[("std", ref), ("std", "new")],
        )

    async def play() -> None:
        async with running(url) as world:
            for number in range(3):
                assert (await tell(world, f"e-{number}", number, "withdrawal.requested")).status_code == 200
        store = await connect(Secret(url_of_role(url, API)))
        monkeypatch.setattr(FactReader, "_look_at_all", noting)
        async with store.turn() as turn:
            await turn.look_ahead(asking("a", "b"))  # remembers the account
            for asked, small in (
                (asking("a", "b"), True),
                (asking("a", "b", "other"), True),
                (asking("e-1", "b"), False),
                (asking("a", "tx-1"), False),
                (asking("e-1", "b", "other"), False),  # once too often: std has an event of that name
                (asking("a", "tx-1\x1ftx-2"), False),
                (asking("", "b"), False),
            ):
                whole.clear()
                ahead = await turn.look_ahead(asked)
                assert ahead is not None
                assert (not whole) == small, asked
                facts, _ = await look_at_all(FactReader(), turn.connection, asked)
                assert (ahead.facts.events, ahead.facts.transactions) == (facts.events, facts.transactions)
                assert (ahead.facts.last, ahead.facts.saved) == (facts.last, facts.saved)
            seed(url, [("UPDATE accounts SET peer_group = 'changed'", ())])
            ahead = await turn.look_ahead(asking("a", "b"))
            assert ahead is not None
            assert ahead.facts.accounts["std"]["hot-1"].peer_group == "changed"
            many = [(f"c-{at}", "new") for at in range(9)]
            whole.clear()
            await turn.look_ahead(Asked(events=many))
            assert whole, "it would probe every connection for every key"
        await store.close()

    asyncio.run(play())


def test_accounts_that_are_not_remembered_are_looked_up_beside_the_small_question(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[Asked] = []
    look_at_all = FactReader._look_at_all

    async def noting(self: FactReader, connection: Any, asked: Asked) -> tuple[Facts, bool]:
        whole.append(asked)
        return await look_at_all(self, connection, asked)

    def asking(*refs: str) -> Asked:
        return Asked(events=[("std", "new")], accounts={("std", ref) for ref in refs})

    async def play() -> None:
        add_account(url, "std", "hot-7")
        store = await connect(Secret(url_of_role(url, API)))
        monkeypatch.setattr(FactReader, "_look_at_all", noting)
        async with store.turn() as turn:
            await turn.look_ahead(asking("hot-1"))
            for asked, small in (
                (asking("hot-1", "hot-7", "nobody's"), True),
                (asking("hot-7", "nobody's"), True),
                (asking("hot-7\x1fhot-1"), False),
                (Asked(events=[("std", "new")], accounts={("std", "hot-7")}, history={"std"}), False),
            ):
                whole.clear()
                ahead = await turn.look_ahead(asked)
                assert ahead is not None
                assert (not whole) == small, asked
                facts, _ = await look_at_all(FactReader(), turn.connection, asked)
                told = ahead.facts.accounts.get("std", {})
                assert {ref: told.get(ref) for _, ref in asked.accounts} == {
                    ref: facts.accounts.get("std", {}).get(ref) for _, ref in asked.accounts
                }
            assert set(told) == {"hot-1", "hot-7"}
            seed(url, [("UPDATE accounts SET peer_group = 'changed' WHERE ref = 'hot-7'", ())])
            add_account(url, "std", "hot-8")
            whole.clear()
            ahead = await turn.look_ahead(asking("hot-7", "hot-8"))
            assert ahead is not None
            assert whole, "the registry has changed: all that was remembered goes"
            assert ahead.facts.accounts["std"]["hot-7"].peer_group == "changed"
            assert "hot-8" in ahead.facts.accounts["std"]
        await store.close()

    asyncio.run(play())
