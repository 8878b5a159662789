"""Release, end and expire, against stores in memory that say what was asked of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from service.domain.approval import ApprovalState, Subject
from service.domain.events import ApprovalEnded, Event, StepReady
from service.domain.ids import ApprovalId
from service.domain.plan import Step, StepState
from service.domain.timeline import Entry
from service.flow import approve
from service.ports.store.approvals import ApprovalRow
from service.ports.store.unit import Database
from tests.support.authority import a_step

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ID = ApprovalId("apr_1")
ROW = ApprovalRow(
    id=ID,
    incident_id=None,
    subject=Subject.STEPS,
    document="{}",
    digest="d",
    requester="portcullis",
    state=ApprovalState.APPROVED,
    reason=None,
    created_at=NOW,
    approve_by=NOW,
    execute_by=NOW,
    decided_at=None,
)


@dataclass
class Fake:
    """Everything `flow.approve` asks of a unit of work."""

    row_now: ApprovalRow
    step: Step = field(default_factory=a_step)
    events: list[Event] = field(default_factory=list)
    given_up: list[StepState] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    now: datetime = NOW

    @contextmanager
    def begin(self) -> Iterator[object]:
        approvals = SimpleNamespace(row=lambda _id: self.row_now, overdue=lambda _limit: [ID], end=self.end)
        one = (self.step,)
        plans = SimpleNamespace(release=lambda _id: one, give_up=self.give_up, steps_of_approval=lambda _id: one)
        attention = SimpleNamespace(drop_messages=self.drop)
        yield SimpleNamespace(now=NOW, approvals=approvals, plans=plans, attention=attention, record=self.record)

    def end(self, _id: str, state: ApprovalState, reason: str | None = None) -> bool:
        changed = self.row_now.state is not state
        self.row_now = replace(self.row_now, state=state, reason=reason)
        return changed

    def give_up(self, _id: str, state: StepState, _reason: str) -> tuple[Step, ...]:
        self.given_up.append(state)
        return (self.step,)

    def drop(self, _id: str, reason: str) -> list[str]:
        self.dropped.append(reason)
        return ["msg_1"]

    def record(self, _entry: Entry, *events: Event) -> None:
        self.events.extend(events)

    @property
    def database(self) -> Database:
        return cast("Database", self)


def test_an_approved_request_readies_its_steps_in_their_lane() -> None:
    fake = Fake(ROW)
    approve.release(fake.database, ID)
    assert fake.events == [StepReady(fake.step.id, "keys")]


@pytest.mark.parametrize("state", [s for s in ApprovalState if s is not ApprovalState.APPROVED])
def test_nothing_is_released_in_any_other_state(state: ApprovalState) -> None:
    fake = Fake(replace(ROW, state=state))
    approve.release(fake.database, ID)
    assert fake.events == []


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        (ApprovalState.REFUSED, [StepState.REFUSED]),
        (ApprovalState.VOID, [StepState.REFUSED]),
        (ApprovalState.EXPIRED, [StepState.EXPIRED]),
        (ApprovalState.WAITING, []),
        (ApprovalState.APPROVED, []),
        (ApprovalState.EXECUTED, []),
    ],
)
def test_what_waited_for_an_ended_request_is_given_up(state: ApprovalState, becomes: list[StepState]) -> None:
    fake = Fake(replace(ROW, state=state))
    approve.ended(fake.database, ID)
    assert fake.given_up == becomes


def test_held_messages_of_a_refused_request_are_dropped() -> None:
    fake = Fake(replace(ROW, subject=Subject.MESSAGE, state=ApprovalState.REFUSED, reason="denied by per_1"))
    approve.ended(fake.database, ID)
    assert fake.dropped == ["denied by per_1"]


@pytest.mark.parametrize("state", [ApprovalState.WAITING, ApprovalState.APPROVED])
def test_silence_expires_and_never_approves(state: ApprovalState) -> None:
    fake = Fake(replace(ROW, state=state))
    assert approve.expire(fake.database) == 1
    assert fake.row_now.state is ApprovalState.EXPIRED
    assert fake.events == [ApprovalEnded(ID)]
    assert approve.expire(fake.database) == 0


def test_what_was_carried_out_does_not_expire() -> None:
    fake = Fake(ROW, step=replace(a_step(), state=StepState.DONE))
    assert approve.expire(fake.database) == 1
    assert fake.row_now.state is ApprovalState.EXECUTED
    assert fake.events == []
