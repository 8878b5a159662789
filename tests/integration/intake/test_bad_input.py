"""Whatever a sender tells: a stored activity or a refusal that names the field, and never a poisoned baseline.

The same changes of a good withdrawal go through every way in: lines of a batch, webhooks by the server's parser and by the
short cut, and questions before signing.

Amounts that are none, negative or over 2^256; times that go backwards, come days late or an hour early; ids with NUL or of
a megabyte; a storm of new destinations. Afterwards the sequence must still replay, and every number in it be finite.
"""

import asyncio
import itertools
import json
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rules.baseline.layout import LAST_US, LEARNED, Kind
from service.api.plain import plain_request
from service.api.problems import problem_of
from service.domain.errors import PortcullisError
from service.domain.intake import Outcome
from tests.support.intake import (
    SECRET,
    TOKEN,
    World,
    add_account,
    add_connection,
    encoded,
    rescored,
    running,
    signed,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers
AHEAD: Final = timedelta(minutes=5)
STORM: Final = 6000
MOST: Final = 256 * 1024
Line = tuple[dict[str, object], str | None]
"""What is changed of a good withdrawal, and the field that the refusal names; None when it must be stored."""


class Megabyte(str):
    """A text that does not fill the screen when a test fails."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'x' * {len(self)}"


NO_AMOUNT = st.sampled_from(["-1", "NaN", "Infinity", "1e400", "0x10", "", "+1", " 1", "1.5.2", 7, 1.5, True, [], {}])
TOO_MUCH = st.integers(2**256, 10**90).map(str)
NO_ID = st.sampled_from(["a\0b", "\0", "", "x" * 201, Megabyte("x" * 2**20), 5, ["a"]])
NO_TIME: st.SearchStrategy[Any] = st.sampled_from(
    ["", "now", "1969-12-31T23:59:59Z", "2101-01-01T00:00:00Z", "2026-01-01T00:00:00", [], None]
)
SHIFT = st.one_of(st.integers(-30 * 86_400, 3600), st.sampled_from([3600, -86_400, 0]))
IDS = ("account", "actor", "transaction", "asset", "destination", "device", "session")


def named(field: str) -> str:
    return f"data.{field}"


def refused(fields: tuple[str, ...], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Line]:
    return st.tuples(st.sampled_from(fields), values).map(lambda told: ({told[0]: told[1]}, named(told[0])))


def moved(seconds: int) -> Line:
    return {"timestamp": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}, None


LINES: st.SearchStrategy[Line] = st.one_of(
    refused(("amount_base_units", "amount_usd", "balance_usd"), NO_AMOUNT),
    refused(("amount_base_units",), TOO_MUCH),
    st.sampled_from([math.nan, math.inf, -math.inf]).map(lambda value: ({"amount_usd": value}, "body")),
    refused(("account", "transaction", "asset", "destination"), NO_ID),
    NO_TIME.map(lambda stamp: ({"timestamp": stamp}, "timestamp")),
    SHIFT.map(moved),
    st.integers(0, 2**256 - 1).map(lambda units: ({"amount_base_units": str(units)}, None)),
    st.integers(0, 10**18 - 1).map(lambda usd: ({"amount_usd": str(usd)}, None)),
    st.just(({"balance_usd": "0", "amount_usd": "0"}, None)),
    st.tuples(
        st.sampled_from(IDS[:3]),
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=200),
    )
    .filter(lambda told: told[0] != "account")
    .map(lambda told: ({told[0]: told[1]}, None)),
)

ONE_OF_EACH: Final[list[Line]] = [
    ({"account": Megabyte("x" * 2**20)}, named("account")),
    ({"destination": "a\0b"}, named("destination")),
    ({"amount_base_units": str(2**256)}, named("amount_base_units")),
    ({"amount_usd": "-1"}, named("amount_usd")),
    ({"amount_usd": math.inf}, "body"),
    ({"timestamp": "2026-01-01T00:00:00"}, "timestamp"),
    ({"timestamp": "2020-01-01T00:00:00Z"}, None),
    ({"amount_base_units": str(2**256 - 1)}, None),
]
"""Drawn or not, what is named first among bad input goes every way."""


@pytest.fixture
def url(fresh_postgres_url: str) -> str:
    add_connection(fresh_postgres_url, "std", "standard", {"rate_per_s": "20000"}, {"webhook_secret": SECRET})
    for account in ("hot-1", "hot-2"):
        add_account(fresh_postgres_url, "std", account)
    return fresh_postgres_url


Answer = dict[str, Any]
Sender = Callable[[World, list[dict[str, object]]], Awaitable[list[Answer]]]


async def sent(world: World, documents: list[dict[str, object]], mode: str = "live") -> list[Answer]:
    """As lines of one batch."""
    body = b"".join(encoded(document) + b"\n" for document in documents)
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = await world.client.post(f"/v1/activities?mode={mode}", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert len(told) == len(documents)
    return told


def answered(status: int, told: Answer) -> Answer:
    """The answer to one request in the form of a batch's."""
    return told if status == 200 else {"status": "refused", "problem": told | {"status": status}}


async def webhooks(world: World, documents: list[dict[str, object]]) -> list[Answer]:
    """As webhooks, through the server's parser and the ASGI application."""

    async def one(document: dict[str, object]) -> Answer:
        body = encoded(document)
        answer = await world.client.post("/webhooks/std", content=body, headers=signed(str(document["id"]), body))
        return answered(answer.status_code, answer.json())

    return await asyncio.gather(*map(one, documents))


async def webhooks_at_once(world: World, documents: list[dict[str, object]]) -> list[Answer]:
    """As webhooks, by the short cut that reads plain requests itself; what it leaves to the parser goes there."""

    async def one(document: dict[str, object]) -> Answer:
        body = encoded(document)
        head = "".join(f"{name}: {value}\r\n" for name, value in signed(str(document["id"]), body).items())
        request = plain_request(
            b"POST /webhooks/std HTTP/1.1\r\n" + f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        )
        if request is None:
            assert len(body) > MOST, "only what is too long is left to the parser"
            return (await webhooks(world, [document]))[0]
        settled: asyncio.Future[Outcome | PortcullisError] = asyncio.get_running_loop().create_future()
        try:
            while not world.app.take_plain(request, "", "0" * 32, settled.set_result):
                await world.connections.get(request.name)
        except PortcullisError as error:
            return refusal(error)
        told = await settled
        return refusal(told) if isinstance(told, PortcullisError) else json.loads(world.app.answer_to(told))

    return await asyncio.gather(*map(one, documents))


def refusal(error: PortcullisError) -> Answer:
    problem = problem_of(error)
    return answered(problem.status, json.loads(problem.body))


async def decisions(world: World, documents: list[dict[str, object]]) -> list[Answer]:
    """As questions before signing."""
    headers = {"authorization": f"Bearer {TOKEN}"}

    async def one(document: dict[str, object]) -> Answer:
        asked = document | {"deadline_ms": 600_000}
        answer = await world.client.post("/v1/decisions", content=encoded(asked), headers=headers)
        told = answered(answer.status_code, answer.json())
        if "decision" in told:
            assert told["decision"] in {"approve", "hold", "reject"}
            assert told["score"] is None or math.isfinite(told["score"])
            return {"status": "scored"}
        return told

    return await asyncio.gather(*map(one, documents))


def baselines(world: World, kind: Kind) -> list[Any]:
    rows = world.rows("SELECT state FROM baselines WHERE kind = %s", int(kind))
    return [np.frombuffer(row["state"], "<f8") for row in rows]


def require(line: Line, answer: Answer, whole: str) -> None:
    """`whole`: the field that is named when it is all of it that is too long."""
    changes, field = line
    if field is None:
        assert answer["status"] in {"scored", "repeated"}, (changes, answer)
        return
    assert answer["status"] == "refused", (str(changes)[:200], answer)
    problem = answer["problem"]
    over = any(isinstance(value, str) and len(value) > MOST for value in changes.values())
    assert problem["status"] == (413 if over else 422)
    assert problem["field"] == (whole if over else field)
    assert len(json.dumps(answer)) < 2000, "a refusal does not echo what was sent"


@pytest.mark.hypothesis
@pytest.mark.parametrize(
    ("send", "examples", "whole"),
    [(sent, 40, "line"), (webhooks, 15, "body"), (webhooks_at_once, 15, "body"), (decisions, 15, "body")],
    ids=["lines of a batch", "webhooks", "webhooks at once", "questions"],
)
def test_all_is_stored_or_refused_by_its_field_and_nothing_is_poisoned(
    url: str, send: Sender, examples: int, whole: str
) -> None:
    numbers = itertools.count()

    async def poured(world: World, lines: list[Line]) -> None:
        documents = []
        for changes, _ in lines:
            number = next(numbers)
            told = {name: value for name, value in changes.items() if name != "timestamp"}
            document = withdrawal(number, **told) | {"id": f"e-{number}"}
            documents.append(document | ({"timestamp": changes["timestamp"]} if "timestamp" in changes else {}))
        for line, answer in zip(lines, await send(world, documents), strict=True):
            require(line, answer, whole)

    with asyncio.Runner() as runner:
        context = running(url)
        world = runner.run(context.__aenter__())

        @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(LINES, min_size=1, max_size=12))
        @example(ONE_OF_EACH)
        def any_lines(lines: list[Line]) -> None:
            runner.run(poured(world, lines))

        try:
            any_lines()
        finally:
            runner.run(context.__aexit__(None, None, None))
        latest = (datetime.now(UTC) + AHEAD).timestamp() * 1e6
        for kind in (Kind.ACCOUNT, Kind.DESTINATION, Kind.ACTOR, Kind.ASSET, Kind.POPULATION):
            for words in baselines(world, kind):
                assert np.isfinite(words).all(), kind
                assert words[LAST_US] <= latest, "a clock that is ahead moves nothing by more than five minutes"
    assert verified(url).differences == ()
    assert rescored(url).differing == 0


@pytest.mark.repeats
def test_a_storm_of_new_destinations_is_not_learned_and_others_are_served(url: str) -> None:
    began = datetime.now(UTC) - timedelta(days=14)

    def stranger(number: int) -> dict[str, object]:
        return withdrawal(10_000 + number, destination=f"eip155:1:0x{10**9 + number:040x}") | {"id": f"s-{number}"}

    def usual(number: int) -> dict[str, object]:
        stamp = (began + timedelta(minutes=33 * number)).isoformat()
        return withdrawal(number, account=f"hot-{1 + number % 2}", timestamp=stamp) | {"id": f"h-{number}"}

    def others(number: int) -> dict[str, object]:
        return withdrawal(90_000 + number, account="hot-2", destination=f"eip155:1:0x{1:040x}") | {"id": f"o-{number}"}

    async def play() -> None:
        async with running(url) as world:
            assert {a["status"] for a in await sent(world, [usual(n) for n in range(600)], "history")} == {"history"}
            storm, served = await asyncio.gather(
                sent(world, [stranger(n) for n in range(STORM)]), sent(world, [others(n) for n in range(3)])
            )
            assert {answer["status"] for answer in (*storm, *served)} == {"scored"}
            learned = world.count("learning", "operation = 'learn' AND seq > 602")
            assert learned < 50, "what alerts is remembered and not learned"
            assert world.count("activities", "account = 'hot-2' AND decision = 'hold'") == 0
        words = [found for found in baselines(world, Kind.ACCOUNT) if found[LEARNED] > 0]
        assert len(words) == 2
        assert max(found[LEARNED] for found in words) < 300 + 50

    asyncio.run(play())
    assert verified(url).differences == ()
    assert rescored(url).differing == 0
