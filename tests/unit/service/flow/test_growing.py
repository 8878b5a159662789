"""A batch that grew by groups while another was written is the batch that would have been read and scored at once.

Whatever a look ahead saw of the batch before (all of it, or nothing yet), and however the items came in groups.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rules.engine import Engine
from rules.settings import EngineSettings
from service.domain.activity import Activity, Received
from service.domain.errors import ForbiddenError
from service.domain.ids import ActivityId, ConnectionId
from service.domain.intake import Item, KnownAccount, Mode, Outcome, StoredEvent, TransactionState
from service.flow.intake.ahead import Scored, asked_of, lay_over, score
from service.ports.store.intake import Asked, Facts, Writes
from tests.support.detectors import shipped

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STD = ConnectionId("std")
ACCOUNTS = {"std": {"hot-1": KnownAccount("", live=True)}}

Told = tuple[int, int, str, int]
"""An event's number, its transaction's, its kind, what is told of the amount."""

told = st.tuples(
    st.integers(0, 4),
    st.integers(0, 2),
    st.sampled_from(["withdrawal.requested", "withdrawal.confirmed", "withdrawal.failed"]),
    st.integers(1, 2),
)


def item(number: int, what: Told) -> Item:
    """One arrival: the same event may come twice, and with another body."""
    event, transaction, kind, amount = what
    body = repr(what).encode()
    activity = Activity(
        connection=STD,
        event_id=f"e-{event}",
        kind=kind,
        occurred_at=NOW,
        account="hot-1",
        transaction=f"t-{transaction}",
        asset="eip155:1/slip44:60",
        amount_base_units=amount,
        amount_usd=Decimal(amount * 100),
        destination="eip155:1:0x00",
    )
    return Item(
        Received(
            activity_id=ActivityId(f"act_{number:026}"),
            received_at=NOW,
            body_digest=hashlib.sha256(body).digest(),
            raw=body,
            activity=activity,
        )
    )


@dataclass
class Stored:
    """What a database has."""

    events: dict[tuple[str, str], StoredEvent] = field(default_factory=dict)
    transactions: dict[tuple[str, str], TransactionState] = field(default_factory=dict)
    last: int = 0

    def facts(self, asked: Asked) -> Facts:
        return Facts(
            {key: self.events[key] for key in asked.events if key in self.events},
            ACCOUNTS,
            {key: self.transactions[key] for key in asked.transactions if key in self.transactions},
            last=self.last,
        )

    def take(self, scored: Scored) -> None:
        self.events.update(scored.facts.events)
        self.transactions.update(scored.facts.transactions)
        self.last = scored.upto


def read_and_scored(engine: Engine, stored: Stored, items: Sequence[Item]) -> Scored:
    return score(engine, stored.facts(asked_of(items)), Writes(NOW), items)


def result(scored: Scored) -> object:
    """What is written and answered, but for the random ids of alerts."""
    scored.batch.finish({})
    writes = scored.writes
    alerts = [(alert.dedup_key, alert.activity_id, alert.score, title) for alert, title in writes.alerts]
    roots = [dict(entry.facts) for entry in writes.audited]
    answers = [repr(answer) for answer in scored.answers]
    return (
        writes.activities,
        writes.moved,
        writes.conflicts,
        alerts,
        roots,
        answers,
        scored.upto,
        scored.engine.sequence,
    )


@settings(max_examples=60)
@given(
    st.lists(told, max_size=5),
    st.lists(told, min_size=1, max_size=5),
    st.lists(st.tuples(st.lists(told, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=4),
)
@example(
    [],
    [(0, 0, "withdrawal.requested", 1)],
    [([(1, 0, "withdrawal.confirmed", 1)], False), ([(2, 0, "withdrawal.failed", 1)], True)],
)
@example(
    [(0, 0, "withdrawal.requested", 1)],
    [(1, 0, "withdrawal.failed", 1)],
    [([(2, 0, "withdrawal.requested", 2)], False), ([(2, 0, "withdrawal.requested", 2)], True)],
)
def test_a_batch_that_grew_is_the_batch_read_at_once(
    old: list[Told], before: list[Told], groups: list[tuple[list[Told], bool]]
) -> None:
    numbers = iter(range(1000))
    first = [item(next(numbers), what) for what in old]
    second = [item(next(numbers), what) for what in before]
    third = [([item(next(numbers), what) for what in group], saw) for group, saw in groups]

    engine, stored = Engine(EngineSettings(salt="s"), shipped()), Stored()
    for items in (first, second):
        stored.take(read_and_scored(engine, stored, items))
    at_once = read_and_scored(engine, stored, [one for group, _ in third for one in group])

    engine, earlier, later = Engine(EngineSettings(salt="s"), shipped()), Stored(), Stored()
    earlier.take(done := read_and_scored(engine, earlier, first))
    later.take(done)
    later.take(being_written := read_and_scored(engine, earlier, second))
    grown: Scored | None = None
    for items, saw in third:
        asked = asked_of(items)
        found = (later if saw else earlier).facts(asked)
        lay_over(found, asked, being_written)
        if grown is None:
            grown = score(engine, found, Writes(NOW), items)
        else:
            grown.grow(items, found, NOW)
    assert grown is not None
    assert result(grown) == result(at_once)


def test_an_account_that_goes_live_takes_no_history_from_then_on_in_the_same_batch_either() -> None:
    accounts = {"std": {"hot-1": KnownAccount("", live=False), "hot-2": KnownAccount("", live=False)}}
    live = item(1, (1, 1, "withdrawal.requested", 1))
    past = [msgspec.structs.replace(item(n, (n, n, "withdrawal.requested", 1)), mode=Mode.HISTORY) for n in (2, 3)]
    elsewhere = msgspec.structs.replace(past[1].received.activity, account="hot-2")
    past[1] = msgspec.structs.replace(past[1], received=msgspec.structs.replace(past[1].received, activity=elsewhere))
    scored = score(Engine(EngineSettings(), shipped()), Facts({}, accounts, {}), Writes(NOW), [live, *past])
    first, second, third = scored.answers
    assert isinstance(first, Outcome)
    assert isinstance(second, ForbiddenError)
    assert isinstance(third, Outcome), "another account of the connection is not live"
    assert scored.writes.went_live == {("std", "hot-1")}
