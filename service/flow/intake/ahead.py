"""One batch on its way to its commit, and what is done for the next one while it is written (D3, ADR 0041).

Rules: what was read or scored ahead counts on the batch before it. It is laid over by all that one left, and thrown away
whole when that one was not stored, or when others may have added to the sequence in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from rules.engine import Engine
from service.domain.errors import PortcullisError
from service.domain.intake import Item, Mode, Outcome
from service.domain.listed import Listings
from service.flow.intake.scoring import Batch
from service.flow.intake.waiting import Waiting
from service.ports.store.intake import Ahead, Asked, Facts, Writes

_NOT_IN_FORCE: Final = "what people decided is not in force yet"


@dataclass(slots=True)
class Scored:
    """A batch that was scored and is not stored yet."""

    engine: Engine
    facts: Facts
    writes: Writes
    batch: Batch
    answers: list[Outcome | PortcullisError]
    upto: int
    """The engine's sequence number after it."""
    refused: Sequence[int] = ()
    """Requests to the sequence that could not be applied."""

    @property
    def may_be_built_on(self) -> bool:
        """Say whether the next batch may be scored before this one is stored.

        Not when it takes an account live: what is remembered of accounts learns of that after the commit.
        """
        return not self.writes.went_live

    @property
    def head(self) -> bytes | None:
        """The payload of the last row that it adds to the sequence; None when it adds none."""
        for activity in reversed(self.writes.activities):
            if activity.learned is not None:
                return activity.learned.observation
        return self.writes.learning[-1][0].payload if self.writes.learning else None

    def grow(self, items: Sequence[Item], facts: Facts, now: datetime) -> None:
        """Score more items on top of it; `facts`: of them, as the batch before it left them.

        What this batch itself did to the same event or transaction is newer than either.
        """
        mine = self.facts
        mine.accounts, mine.saved, self.writes.now = facts.accounts, facts.saved, now
        for event, stored in facts.events.items():
            mine.events.setdefault(event, stored)
        for transaction, state in facts.transactions.items():
            mine.transactions.setdefault(transaction, state)
        for question, decision in facts.decisions.items():
            mine.decisions.setdefault(question, decision)
        self.answers = self.batch.take(items)
        self.upto = self.engine.sequence


def score(
    engine: Engine, facts: Facts, writes: Writes, items: Sequence[Item], listings: Listings | None = None
) -> Scored:
    """Score a batch with an engine that stands at `facts.last`, or ahead of it by the rows in `writes`."""
    batch = Batch(engine, facts, writes, listings)
    answers = batch.take(items)
    return Scored(engine, facts, writes, batch, answers, engine.sequence)


@dataclass(slots=True)
class Following:
    """The batch that was taken out of the queues while the one before it was written, and what was done for it."""

    batch: list[Waiting]
    ahead: Ahead | None = None
    scored: Scored | None = None

    def drop(self) -> None:
        """Give up what was done for it: the batch before it was not stored."""
        self.ahead = self.scored = None


def lay_over(found: Facts, asked: Asked, before: Scored) -> None:
    """Lay over what was read what the batch before leaves: its facts, and the last sequence number."""
    facts = before.facts
    found.last, found.head = before.upto, b""
    found.events.update({key: facts.events[key] for key in asked.events if key in facts.events})
    found.transactions.update({key: facts.transactions[key] for key in asked.transactions if key in facts.transactions})
    for key in asked.questions:
        if key in facts.decisions:  # people may have decided since: what is stored counts
            found.decisions.setdefault(key, facts.decisions[key])


def doubted(items: Sequence[Item]) -> Sequence[Item]:
    """Return them with a doubt about every question: something that people decided is not in force yet."""
    return [
        item if item.question is None else msgspec.structs.replace(item, doubt=item.doubt or _NOT_IN_FORCE)
        for item in items
    ]


def asked_of(items: Sequence[Item]) -> Asked:
    """Return what has to be known of these items before they are scored."""
    asked = Asked()
    for item in items:
        activity = item.received.activity
        connection = activity.connection
        asked.events.append((connection, activity.event_id))
        if activity.account is not None:
            asked.accounts.add((connection, activity.account))
        if activity.transaction is not None:
            asked.transactions.append((connection, activity.transaction))
        if item.question is not None:
            asked.questions.append((connection, item.question))
        if item.mode is Mode.HISTORY:
            asked.history.add(connection)
    return asked
