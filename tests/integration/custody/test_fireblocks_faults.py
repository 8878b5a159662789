"""Lost, late, doubled and failed answers of a workspace: settled by asking, and every effect is there exactly once."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from service.actions.base import ActionContext, ContainmentAction, actions_in
from service.domain.errors import UnknownOutcomeError
from service.domain.ids import ConnectionId, IncidentId
from service.domain.plan import Lane, Receipt, Step, StepState, Target, Verdict
from service.flow import contain, respond
from service.flow.contain import Hands
from service.flow.respond import Desk
from service.playbooks.loader import load
from service.ports.custody import ContainmentCalls
from tests.integration.custody.conftest import HOT, Workspace
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident

pytestmark = pytest.mark.servers
ACTIONS = actions_in("service.actions")
PLAYBOOKS = load(ACTIONS)
NEW = "eip155:1:0x9e00000000000000000000000000000000000a9e"


@dataclass(frozen=True)
class Case:
    """One action, the request of it that is disturbed, and how often its effect is in the workspace."""

    action: str
    target: Target
    method: str
    path: str
    effects: Callable[[Workspace], int]


CASES = {
    "forbid": Case(
        "forbid_one_time_addresses",
        Target("connection", HOT.connection, CONNECTION),
        "PUT",
        "/v1/management/ota",
        lambda w: w.logged("OTA_DISABLED"),
    ),
    "freeze": Case(
        "freeze_workspace",
        Target("connection", HOT.connection, CONNECTION),
        "POST",
        "/v1/workspace/freeze",
        lambda w: w.logged("WORKSPACE_FROZEN"),
    ),
    "publish, the wallet": Case(
        "publish_address",
        Target("account", HOT.connection, HOT.ref),
        "POST",
        "/v1/internal_wallets",
        lambda w: len(w.world.internal_wallets),
    ),
    "publish, an address": Case(
        "publish_address",
        Target("account", HOT.connection, HOT.ref),
        "POST",
        "/v1/internal_wallets/",
        lambda w: w.logged("INTERNAL_WALLET_ASSET_ADDED") - 1,  # the other of its two assets is not disturbed
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


class Late(httpx.HTTPTransport):
    """Keeps the first request of a case under way until it is told to deliver it; its caller has given up waiting."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self._case = case
        self._kept: httpx.Request | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        disturbed = request.method == self._case.method and request.url.path.startswith(self._case.path)
        if disturbed and self._kept is None:
            self._kept = request
            raise httpx.ReadTimeout("nothing came", request=request)
        return super().handle_request(request)

    def deliver(self) -> None:
        assert self._kept is not None
        super().handle_request(self._kept).read()


def context(case: Case, calls: ContainmentCalls, workspace: Workspace) -> ActionContext:
    action = ACTIONS[case.action]
    params = dict.fromkeys(action.params, NEW)
    return ActionContext(case.target, params, "step-key", workspace.clock, None, custody=calls)


def attempted(action: ContainmentAction, ctx: ActionContext) -> Receipt | None:
    """The receipt, or None when the answer was lost."""
    try:
        return action.execute(ctx)
    except UnknownOutcomeError:
        return None


@every_case
@pytest.mark.parametrize("mode", ["drop", "error_before_effect", "error_after_effect"])
def test_a_lost_answer_is_told_as_lost_and_repeating_under_the_key_has_one_effect(
    workspace: Workspace, case: Case, mode: str
) -> None:
    action, calls = ACTIONS[case.action], workspace.calls()
    ctx = context(case, calls, workspace)
    workspace.arm(mode, case.path, case.method)
    assert attempted(action, ctx) is None
    if mode != "error_after_effect":
        assert action.verify(ctx, None) is not Verdict.HOLDS
    receipt = action.execute(ctx)
    workspace.until(lambda: action.verify(ctx, receipt) is Verdict.HOLDS)
    assert case.effects(workspace) == 1


@every_case
def test_a_request_that_arrives_twice_has_one_effect(workspace: Workspace, case: Case) -> None:
    action, calls = ACTIONS[case.action], workspace.calls()
    ctx = context(case, calls, workspace)
    workspace.arm("duplicate", case.path, case.method)
    receipt = action.execute(ctx)
    workspace.until(lambda: action.verify(ctx, receipt) is Verdict.HOLDS)
    assert case.effects(workspace) == 1


@every_case
def test_a_request_that_arrives_after_its_repeat_has_no_second_effect(workspace: Workspace, case: Case) -> None:
    action, late = ACTIONS[case.action], Late(case)
    assert attempted(action, context(case, workspace.calls(late), workspace)) is None
    ctx = context(case, workspace.calls(), workspace)
    receipt = action.execute(ctx)
    before = workspace.arrived(case.method, case.path)
    late.deliver()
    workspace.until(lambda: workspace.arrived(case.method, case.path) == before + 1)
    workspace.until(lambda: action.verify(ctx, receipt) is Verdict.HOLDS)
    assert case.effects(workspace) == 1


@dataclass
class Response:
    """A plan for one drained account of the workspace, worked on by one worker."""

    workspace: Workspace
    incident: IncidentId
    calls: ContainmentCalls

    @classmethod
    def planned(cls, workspace: Workspace, calls: ContainmentCalls) -> "Response":
        with workspace.db.begin() as uow:
            add_connection(uow.connection, platform="fireblocks")
            add_account(uow.connection, HOT.ref)
            incident = IncidentId(add_incident(uow.connection, (f"account:{HOT.entity}",)))
        respond.plan(Desk(workspace.db, ACTIONS, PLAYBOOKS, lambda: b"no key"), incident)
        return cls(workspace, incident, calls)

    def step(self, action: str) -> Step:
        with self.workspace.db.begin() as uow:
            return next(s for s in uow.plans.steps_of(self.incident) if s.action == action)

    def work(self, action: str) -> StepState:
        """Let the worker have one go at a step, a while after the last, and say where it is then."""

        def platform(_: ConnectionId) -> ContainmentCalls:
            return self.calls

        hands = Hands(
            db=self.workspace.db,
            clock=self.workspace.clock,
            owner="one",
            lane=Lane.CONTAINMENT,
            actions=ACTIONS,
            votes_key_pem=lambda: b"no key",
            keep=lambda _step, _fence: nullcontext(),
            platform=platform,
        )
        self.workspace.clock.pass_by(timedelta(seconds=20))
        contain.step(hands, self.step(action).id)
        return self.step(action).state


@pytest.mark.parametrize(
    ("mode", "states"),
    [
        ("error_after_effect", [StepState.DONE]),
        ("drop", [StepState.RUNNING, StepState.DONE]),
        ("error_before_effect", [StepState.RUNNING, StepState.DONE]),
        ("duplicate", [StepState.DONE]),
    ],
)
def test_a_step_whose_answer_was_lost_ends_done_with_one_effect(
    alone: Workspace, mode: str, states: list[StepState]
) -> None:
    found = Response.planned(alone, alone.calls())
    alone.arm(mode, "/v1/management/ota", "PUT")
    assert [found.work("forbid_one_time_addresses") for _ in states] == states
    assert alone.logged("OTA_DISABLED") == 1


def test_a_step_that_cannot_be_verified_is_unknown_and_not_repeated_until_it_can(alone: Workspace) -> None:
    found = Response.planned(alone, alone.calls())
    alone.arm("error_after_effect", "/v1/management/ota", "PUT")
    alone.arm("error_before_effect", "/v1/management/ota", "GET")
    assert found.work("forbid_one_time_addresses") is StepState.UNKNOWN
    assert found.work("forbid_one_time_addresses") is StepState.DONE
    assert alone.arrived("PUT", "/v1/management/ota") == 1
    assert alone.logged("OTA_DISABLED") == 1


@pytest.mark.parametrize("mode", ["drop", "error_before_effect", "error_after_effect", "duplicate"])
def test_pending_transfers_are_cancelled_whatever_becomes_of_the_answer(alone: Workspace, mode: str) -> None:
    transaction = alone.held_transfer()
    found = Response.planned(alone, alone.calls())
    alone.arm(mode, f"/v1/transactions/{transaction}/cancel", "POST")
    for _ in range(3):
        if found.work("cancel_pending") is StepState.DONE:
            break
    assert found.step("cancel_pending").state is StepState.DONE
    assert alone.drill.status(transaction)["status"] == "CANCELLED"


@pytest.mark.parametrize("mode", ["drop", "error_before_effect", "error_after_effect", "duplicate"])
def test_what_was_sent_is_dropped_whatever_becomes_of_the_answer(stuck: Workspace, mode: str) -> None:
    transaction = stuck.sent_transfer()
    found = Response.planned(stuck, stuck.calls())
    stuck.arm(mode, f"/v1/transactions/{transaction}/drop", "POST")
    for _ in range(3):
        if found.work("cancel_pending") is StepState.DONE:
            break
    assert found.step("cancel_pending").state is StepState.DONE
    stuck.drill.post("/mine")
    assert stuck.drill.wait_status(transaction, "FAILED")["subStatus"] == "DROPPED_BY_BLOCKCHAIN"
    assert stuck.drill.get("/figures")["paid_to_customers_usd"] == "0.00"


def test_a_list_of_transfers_that_cannot_be_read_is_not_an_empty_one(alone: Workspace) -> None:
    transaction = alone.held_transfer()
    found = Response.planned(alone, alone.calls())
    alone.arm("drop", "/v1/transactions", "GET")
    assert found.work("cancel_pending") is not StepState.DONE
    assert alone.drill.status(transaction)["status"] != "CANCELLED"
    assert found.work("cancel_pending") is StepState.DONE
    assert alone.drill.status(transaction)["status"] == "CANCELLED"


def test_suspending_needs_nothing_of_a_workspace_that_does_not_answer(alone: Workspace) -> None:
    found = Response.planned(alone, alone.calls())
    alone.drill.post("/faults", {"path_prefix": "/v1", "mode": "drop", "count": 1000}, expect=204)
    assert found.work("suspend_withdrawals") is StepState.DONE
    assert alone.calls().outgoing_held(HOT) is Verdict.HOLDS
