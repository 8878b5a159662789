"""Looks at a chain come quickly at first, then rarely, and each is one timer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.domain.ids import ConnectionId, IncidentId, PlanId, StepId
from service.domain.looks import FIRST, GIVEN_UP, LONGEST, LOOK, next_look
from service.domain.plan import Effect, Lane, Step, StepState, Target

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DONE = Step(
    id=StepId("stp_1"), plan_id=PlanId("pln_1"), incident_id=IncidentId("inc_1"), position=0, action="lock_multisig",
    target=Target("account", ConnectionId("con-a"), "safe-1"), params={}, effect=Effect.TIGHTENS, lane=Lane.KEYS,
    state=StepState.DONE, idempotency_key="k", attempt=1, fence=7, after=(), approval_id=None, receipt=None, reason=None,
    deadline_at=None,
)  # fmt: skip


def test_pauses_grow_from_the_first_to_the_longest_and_a_day_takes_about_a_hundred() -> None:
    since, pauses = timedelta(0), []
    while since < GIVEN_UP:
        kind, subject, due, told = next_look(DONE, NOW, since)
        assert (kind.startswith(LOOK), subject) == (True, "stp_1")
        pauses.append(due - NOW)
        since = timedelta(seconds=int(told["since_s"]))
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (FIRST, LONGEST)
    assert 90 < len(pauses) < 110


def test_a_step_that_was_done_again_has_looks_of_its_own() -> None:
    kinds = {next_look(replace(DONE, fence=fence), NOW)[0] for fence in (7, 7, 8)}
    assert len(kinds) == 2
