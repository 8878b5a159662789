"""Imported lists count at the gate, from one number of the sequence on for every process, until a quorum withdraws one."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.clock import SystemClock
from service.domain.approval import ActionDocument
from service.domain.blinding import warranted
from service.domain.errors import ApprovalError, ConfigurationError
from service.domain.ids import ApprovalId
from service.domain.listed import ListChange, unlist_item
from service.domain.quorum import Role
from service.flow.intake import batcher, lists
from service.store.intake import PostgresTurn
from tests.support.api import ApiWorld, api_on
from tests.support.intake import TOKEN, World, encoded, rescored, running, seed, signed, verified, withdrawal

pytestmark = pytest.mark.servers
AUTH = {"authorization": f"Bearer {TOKEN}"}
LISTED = "0x5a0b54d5dc17e0aadc383d2db43b0a0d3e029c4c"
SHOWN = "eip155:1:0x5A0b54D5dc17e0AadC383d2db43B0a0D3E029c4c"
MIXER = f"eip155:1:0x{'77' * 20}"
TABLE = f"address,name,kind\n{LISTED},The Group,sanctioned\n0x{'77' * 20},Blender,mixer\n0x{'78' * 20},A bank,service\n"
LIST = {"source": "A sanctions list", "listed_on": "2026-11-01", "text": TABLE}
SAYS = "sanctioned by A sanctions list, list of 2026-11-01, as The Group"
ASK = "INSERT INTO learning_requests (kind, subject, payload, created_at) VALUES ('lists', %s, %s, now())"


@pytest.fixture
def api(url: str, tmp_path: Path) -> Iterator[ApiWorld]:
    found = api_on(url, SystemClock(), tmp_path)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def unfollowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle process learns of nothing: what it knows, it found out with its next batch."""
    monkeypatch.setattr(batcher, "FOLLOW_S", 1e9)


async def imported(api: ApiWorld, **changes: object) -> str:
    answer = await asyncio.to_thread(api.call, "POST", "/v1/address-lists", Role.ADMIN, json=LIST | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def told(world: World, number: int, **changes: object) -> dict[str, Any]:
    """Send one webhook; returns what is stored of it."""
    body = encoded(withdrawal(number, **changes))
    name = f"{changes.get('type', 'requested')}-{number}".replace(".", "-")
    answer = await world.client.post("/webhooks/std", content=body, headers=signed(name, body))
    assert answer.status_code == 200, answer.text
    (found,) = world.rows("SELECT decision, detectors, reasons, seq FROM activities WHERE event_id = %s", name)
    return found


async def asked(world: World, number: int, destination: str) -> str:
    body = encoded(withdrawal(number, destination=destination) | {"id": f"q-{number}", "deadline_ms": 20_000})
    answer = await world.client.post("/v1/decisions", content=body, headers=AUTH)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["decision"])


def features(world: World) -> list[int | None]:
    """What each activity of the sequence tells of its destination."""
    rows = world.rows("SELECT payload FROM learning WHERE kind = 'activity' ORDER BY seq")
    return [json.loads(bytes(row["payload"])).get("destination_listed") for row in rows]


def words(found: dict[str, Any]) -> list[str]:
    return [one["observed"] for one in json.loads(found["reasons"]) if one["feature"] == "listed_as"]


def played(play: Callable[[], Awaitable[None]], url: str) -> None:
    async def whole() -> None:
        await play()

    asyncio.run(whole())
    assert verified(url).differences == ()
    assert rescored(url).sentences == []


def test_a_list_counts_from_its_import_on_in_every_process_and_after_a_restart(url: str, api: ApiWorld) -> None:
    async def play() -> None:
        async with running(url) as world, running(url) as other:
            before = await told(world, 1, destination=SHOWN)
            assert (before["decision"], words(before)) == ("allow", [])
            await told(other, 2)
            await imported(api)
            held = await told(world, 3, destination=SHOWN)
            assert (held["decision"], words(held)) == ("hold", [SAYS])
            assert "paid-to-sanctioned-destination" in held["detectors"]
            assert await asked(other, 4, SHOWN) == "hold"
            mixed = await told(other, 5, destination=MIXER)
            assert (mixed["decision"], mixed["detectors"]) == ("alert", ["paid-to-listed-mixer"])
            plain = await told(world, 6)
            assert (plain["decision"], words(plain)) == ("allow", [])
            kinds = world.rows("SELECT kind FROM alerts ORDER BY raised_at")
            assert {row["kind"] for row in kinds} == {"listed_destination"}
        async with running(url) as world:
            assert await asked(world, 7, SHOWN) == "hold"
            assert features(world) == [None, None, 4, 4, 1, 0, 4]
            assert world.count("learning", "kind = 'lists'") == 1

    played(play, url)


def test_what_was_let_go_before_the_import_is_scored_again_when_it_moves(url: str, api: ApiWorld) -> None:
    async def play() -> None:
        async with running(url) as world:
            await told(world, 1, destination=SHOWN)
            await told(world, 1, destination=SHOWN, type="withdrawal.approved")
            await imported(api)
            again = await told(world, 1, destination=SHOWN, type="withdrawal.signed")
            assert (again["decision"], words(again)) == ("hold", [SAYS])
            last = await told(world, 1, destination=SHOWN, type="withdrawal.broadcast")
            assert last["decision"] is None, "it is held already"

    played(play, url)


def test_withdrawing_takes_votes_and_a_newer_list_undoes_nothing(url: str, api: ApiWorld) -> None:
    approved: dict[str, Any] = {}

    def authorised(approval: ApprovalId) -> ActionDocument:
        if approval not in approved:
            raise ApprovalError("no votes")
        return cast("ActionDocument", SimpleNamespace(what=[approved[approval]]))

    def ask(name: str, approval: str | None) -> None:
        seed(url, [(ASK, (name, warranted(ListChange(remove=name).row(), approval)))])

    async def play() -> None:
        async with running(url, authorised=authorised) as world, running(url) as other:
            old = await imported(api)
            new = await imported(api, listed_on="2026-12-01", text=f"0x{'78' * 20},\n".replace(",", ""), kind="scam")
            assert await asked(world, 1, SHOWN) == "hold"
            with api.parts.database.begin() as uow:
                approved["apr_old"] = unlist_item(uow.forensics.address_list(old))
            ask(old, None)
            ask(old, "apr_unheard_of")
            ask(new, "apr_old")
            assert await asked(world, 2, SHOWN) == "hold"
            refused = world.rows("SELECT seq FROM learning_requests WHERE kind = 'lists' ORDER BY id OFFSET 2")
            assert [row["seq"] for row in refused] == [0, 0, 0]
            ask(old, "apr_old")
            assert await asked(world, 3, SHOWN) == "approve"
            assert await asked(other, 4, SHOWN) == "approve"
            scam = await told(other, 5, destination=f"eip155:1:0x{'78' * 20}")
            assert words(scam) == ["scam by A sanctions list, list of 2026-12-01, as Listed"]
            states = {one["id"]: one["in_force"] for one in api_lists(api)}
            assert states == {old: False, new: True}
            assert await imported(api) not in {old, new}, "what was withdrawn may be imported again"
            assert await asked(other, 6, SHOWN) == "hold"

    played(play, url)


def api_lists(api: ApiWorld) -> list[dict[str, Any]]:
    with api.parts.database.begin() as uow:
        return [{"id": one.id, "in_force": one.in_force} for one in uow.forensics.address_lists()]


def test_an_import_whose_batch_is_not_stored_counts_all_the_same(
    url: str, api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = PostgresTurn.write

    async def broken(self: PostgresTurn, writes: Any) -> None:
        monkeypatch.setattr(PostgresTurn, "write", genuine)
        raise RuntimeError("a disk")

    async def play() -> None:
        async with running(url) as world:
            await told(world, 1, destination=SHOWN)
            await imported(api)
            monkeypatch.setattr(PostgresTurn, "write", broken)
            body = encoded(withdrawal(2, destination=SHOWN))
            answer = await world.client.post("/webhooks/std", content=body, headers=signed("lost", body))
            assert answer.status_code == 200, "it is tried again, first with fewer requests"
            assert await asked(world, 3, SHOWN) == "hold"
            assert world.count("learning", "kind = 'lists'") == 1

    played(play, url)


def test_more_than_can_be_kept_at_hand_stops_intake_until_a_list_is_gone(
    url: str, api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        async with running(url) as world:
            await imported(api)
            with monkeypatch.context() as patched:
                patched.setattr(lists, "MAX_WATCHED", 1)
                body = encoded(withdrawal(1, destination=SHOWN))
                answer = await world.client.post("/webhooks/std", content=body, headers=signed("m", body))
                assert answer.status_code == 503
                with pytest.raises(ConfigurationError, match="more than"):
                    await lists.KeptLists(world.store.baselines).fetched(["lst_none", *_names(api)])
            assert await asked(world, 2, SHOWN) == "hold"

    played(play, url)


def _names(api: ApiWorld) -> list[str]:
    return [one["id"] for one in api_lists(api)]


def test_lists_are_read_once_and_only_what_came_in_since(url: str, api: ApiWorld) -> None:
    read: list[list[str]] = []

    class Counted:
        def __init__(self, world: World) -> None:
            self._genuine = world.store.baselines

        def labelled(self, names: Any) -> Any:
            read.append(list(names))
            return self._genuine.labelled(names)

    async def play() -> None:
        async with running(url) as world:
            kept = lists.KeptLists(cast("Any", Counted(world)))
            assert await kept.fetched(()) is None
            one = await imported(api)
            two = await imported(api, text=f"0x{'79' * 20}\n", kind="thief")
            first = await kept.fetched([one])
            assert first is kept.at_hand([one])
            with pytest.raises(LookupError):
                kept.at_hand([one, two])
            assert await kept.fetched([one, two]) is first
            assert await kept.fetched([one, two]) is first
            alone = await kept.fetched([two])
            assert alone is not None
            assert alone.level(SHOWN) == 0
            assert read == [[one], [two], [two]]
            await asked(world, 1, SHOWN)

    played(play, url)
