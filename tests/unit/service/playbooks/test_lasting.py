"""A step that ends by itself: people may ask for another before it is over."""

import pytest

from service.domain.ids import PlanId
from service.domain.plan import StepState
from service.playbooks.model import Selector
from tests.unit.service.playbooks.test_planner import account, ended, plan, scene, template


@pytest.mark.parametrize(("state", "count"), [(StepState.DONE, 1), (StepState.RUNNING, 0), (StepState.FAILED, 1)])
def test_what_ends_by_itself_can_be_asked_for_again_while_it_holds(state: StepState, count: int) -> None:
    """A platform's freeze of a day: people want another before it is over, and not two at once."""
    frozen, hot = template("freeze_account", Selector.ACCOUNTS), account("hot-1")
    first = ended(plan(scene(hot), frozen), state)
    found = plan(scene(hot, existing=first, again=True), frozen, into=PlanId("pln_2"))
    assert len(found) == count
    assert not count or found[0].idempotency_key != first[0].idempotency_key
    assert plan(scene(hot, existing=ended(first)), frozen, into=PlanId("pln_2")) == (), "nobody asked"
