"""A rotation that goes deeper is planned on again, and what waits to publish given-up addresses is refused."""

from dataclasses import replace

import pytest

from service.domain.ids import ConnectionId, IncidentId, PlanId, StepId
from service.domain.plan import Effect, Lane, Step, StepState, Target
from service.playbooks.rotating import given_up, rotation_is_due

HERE = Target("account", ConnectionId("con"), "hot-1")
THERE = replace(HERE, value="hot-2")


def step(action: str, plan: int, state: StepState = StepState.DONE, address: str = "", target: Target = HERE) -> Step:
    return Step(
        id=StepId(f"stp-{action}-{plan}-{target.value}"), plan_id=PlanId(f"pln-{plan}"), incident_id=IncidentId("inc"),
        position=0, action=action, target=target, params={"address": address} if address else {}, effect=Effect.TIGHTENS,
        lane=Lane.KEYS, state=state, idempotency_key="k", attempt=0, fence=0, after=(), approval_id=None, receipt=None,
        reason=None, deadline_at=None,
    )  # fmt: skip


FIRST = step("prepare_rotation", 1)
PUBLISHED = step("publish_address", 2, StepState.WAITING_APPROVAL, "0xa")
RETIRING = step("retire_key", 2, StepState.WAITING_STEP)
DEEPER = step("prepare_rotation", 3)
ANEW = step("publish_address", 4, StepState.WAITING_APPROVAL, "0xb")


@pytest.mark.parametrize(
    ("steps", "due"),
    [
        ([], False),
        ([replace(FIRST, state=StepState.RUNNING)], False),
        ([replace(FIRST, state=StepState.FAILED)], False),
        ([FIRST], True),
        ([FIRST, PUBLISHED, RETIRING], False),
        ([FIRST, RETIRING], False),
        ([FIRST, PUBLISHED, RETIRING, replace(DEEPER, state=StepState.RUNNING)], False),
        ([FIRST, PUBLISHED, RETIRING, DEEPER], True),
        ([FIRST, PUBLISHED, RETIRING, DEEPER, ANEW], False),
        ([FIRST, step("prepare_rotation", 1, target=THERE), PUBLISHED], True),
    ],
)
def test_what_is_prepared_is_planned_on_once(steps: list[Step], *, due: bool) -> None:
    assert rotation_is_due(steps) is due


def test_what_waits_to_publish_given_up_addresses_is_refused_and_nothing_else() -> None:
    other = step("publish_address", 2, StepState.WAITING_APPROVAL, "0xc", target=THERE)
    assert given_up([FIRST, PUBLISHED, RETIRING, DEEPER]) == []
    assert given_up([FIRST, PUBLISHED, other, RETIRING, DEEPER, ANEW]) == [PUBLISHED]
    assert given_up([replace(PUBLISHED, state=StepState.RUNNING), ANEW]) == [], "what was begun is told, not taken back"
    assert given_up([replace(PUBLISHED, params=ANEW.params), ANEW]) == []
