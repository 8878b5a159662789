import asyncio
import json

import pytest
from sqlalchemy import create_engine, text

from service.store.database import driver_url
from tests.support.intake import (
    TOKEN,
    encoded,
    rescored,
    running,
    seed,
    signed,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers


def ask(url: str, kind: str, payload: object) -> None:
    seed(
        url,
        [
            (
                "INSERT INTO learning_requests (kind, subject, payload, created_at) VALUES (%s, 'inc_1', %s, now())",
                (kind, json.dumps(payload).encode()),
            )
        ],
    )


async def history(world_url: str, numbers: range) -> None:
    async with running(world_url) as world:
        lines = b"".join(encoded(withdrawal(i) | {"id": f"h-{i}"}) + b"\n" for i in numbers)
        answer = await world.client.post(
            "/v1/activities?mode=history", content=lines, headers={"authorization": f"Bearer {TOKEN}"}
        )
        assert [json.loads(line)["status"] for line in answer.text.splitlines()] == ["history"] * len(numbers)


def test_an_empty_sequence_is_equal_to_no_baselines(url: str) -> None:
    assert verified(url).differences == ()


def test_replay_is_equal_after_history_live_alerts_incidents_failures_and_a_restart(url: str) -> None:
    async def live(*numbers: int, **changes: object) -> None:
        async with running(url) as world:
            for i in numbers:
                kind = str(changes.get("type", "new")).replace(".", "-")
                body = encoded(withdrawal(i, **changes))
                answer = await world.client.post("/webhooks/std", content=body, headers=signed(f"m-{i}-{kind}", body))
                assert answer.status_code == 200, answer.text

    asyncio.run(history(url, range(300)))
    asyncio.run(live(*range(1000, 1040)))
    asyncio.run(
        live(2000, amount_usd="900000.00", amount_base_units=str(3 * 10**20), destination="eip155:1:0x" + "9" * 40)
    )
    ask(url, "incident_opened", {"incident": "inc_1", "entities": ["account:std/hot-1"]})
    ask(url, "verdict", {"verdict": "sideways"})
    asyncio.run(live(2001, 2002))
    ask(url, "incident_closed", {"incident": "inc_1", "entities": ["account:std/hot-1"]})
    asyncio.run(live(1001, type="withdrawal.failed"))
    report = verified(url)
    assert report.differences == ()
    again = rescored(url)
    assert (again.differing, again.sentences) == (0, [])
    assert again.compared >= 343
    assert again.silent == 1, "the failure, which took its amount out of the totals"
    engine = create_engine(driver_url(url))
    with engine.begin() as connection:
        operations: dict[str, int] = dict(
            connection.execute(
                text("SELECT operation, count(*) FROM learning WHERE kind = 'activity' GROUP BY 1")
            ).all()
        )
        assert operations["skip"] >= 4
        assert operations["learn"] >= 300
        refused = connection.execute(text("SELECT kind FROM learning_requests WHERE seq = 0")).scalars().all()
        assert refused == ["verdict"]
        assert connection.execute(text("SELECT count(*) FROM alerts WHERE decision = 'hold'")).scalar_one() >= 1
        spoiled = (
            connection.execute(
                text(
                    "UPDATE baselines SET state = set_byte(state, 100, get_byte(state, 100) # 1)"
                    " WHERE kind = 1 RETURNING entity"
                )
            )
            .scalars()
            .all()
        )
    engine.dispose()
    differences = verified(url).differences
    assert differences is not None
    assert len(spoiled) == len(differences) == 1
    assert f"record {spoiled[0]} of kind 1" in differences[0]


def test_two_processes_keep_one_order(url: str) -> None:
    async def play() -> None:
        async with running(url) as one, running(url) as other:
            for i in range(60):
                world = (one, other)[i % 2]
                body = encoded(withdrawal(i))
                answers = await asyncio.gather(
                    *(
                        w.client.post("/webhooks/std", content=b, headers=signed(e, b))
                        for w, b, e in ((world, body, f"a-{i}"), (other, encoded(withdrawal(500 + i)), f"b-{i}"))
                    )
                )
                assert {answer.status_code for answer in answers} == {200}

    asyncio.run(play())
    assert verified(url).differences == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("score = score + 1e-12", "score"),
        ("p_value = p_value * (1 + 1e-12)", "p-value"),
        ("reasons = replace(reasons, 'usual\":\"', 'usual\":\"about ')", "stored reasons"),
        ("reasons = '[]'", "stored reasons"),
        ("reasons = '{'", "cannot be read"),
    ],
)
def test_a_stored_score_or_reason_that_was_changed_is_found(url: str, change: str, told: str) -> None:
    async def play() -> None:
        await history(url, range(150))
        async with running(url) as world:
            body = encoded(withdrawal(1, amount_usd="700000.00", destination="eip155:1:0x" + "9" * 40))
            await world.client.post("/webhooks/std", content=body, headers=signed("large", body))

    asyncio.run(play())
    assert rescored(url).differing == 0
    seed(url, [(f"UPDATE activities SET {change} WHERE event_id = 'large'", ())])  # noqa: S608  test literals
    (sentence,) = rescored(url).sentences
    assert told in sentence
