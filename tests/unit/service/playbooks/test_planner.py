"""Planning is pure: the same scene gives the same steps, digests, order and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from service.actions.base import actions_in
from service.domain.account import Account, AccountRef, Holder
from service.domain.compromise import Scope
from service.domain.ids import AccountId, ApprovalId, ConnectionId, IncidentId, PlanId
from service.domain.incident import Severity
from service.domain.plan import Effect, Lane, Step, StepState, Target
from service.playbooks.allowance import Allowance
from service.playbooks.model import Selector, StepTemplate
from service.playbooks.planner import OVER_LIMIT, Scene, document, planned, same, target_key, undoing

ACTIONS = actions_in("service.actions")
ONE, TWO = ConnectionId("con-a"), ConnectionId("con-b")
PLAN, LATER = PlanId("pln_1"), PlanId("pln_2")
THIEF = Target("destination", ONE, "eip155:1:0xthief", "hot-1")
CRITICAL = Severity.CRITICAL


def account(ref: str, connection: ConnectionId = ONE, holder: Holder = Holder.PLATFORM) -> Account:
    return Account(AccountId(f"acc-{ref}"), AccountRef(connection, ref), holder, (), "default", None)


def scene(*accounts: Account, **known: object) -> Scene:
    empty = Scene(
        incident_id=IncidentId("inc_1"),
        severity=CRITICAL,
        accounts=accounts,
        exposed=accounts,
        scopes={},
        destinations=(),
        actors=(),
        connections=(),
        behind={},
        balances={},
        safe={},
        addresses={},
        existing=(),
    )
    return replace(empty, **known)  # type: ignore[arg-type]  # each test names fields of a Scene


def template(action: str, targets: Selector, *after: str, severity: str = "high") -> StepTemplate:
    return StepTemplate(action=action, targets=targets, from_severity=severity, after=after)  # type: ignore[arg-type]  # a word


SUSPEND = template("suspend_withdrawals", Selector.ACCOUNTS)
FORBID = template("forbid_one_time_addresses", Selector.CONNECTIONS)
LOCK = template("lock_destination", Selector.DESTINATIONS)
PREPARE = template("prepare_rotation", Selector.EXPOSED_KEYS)
PUBLISH = template("publish_address", Selector.EXPOSED_KEYS)
SWEEP = template("sweep_to_safe", Selector.EXPOSED_KEYS)
RETIRE = template("retire_key", Selector.EXPOSED_KEYS, "sweep_to_safe")


def plan(found: Scene, *templates: StepTemplate, into: PlanId = PLAN) -> tuple[Step, ...]:
    return planned(templates, found, ACTIONS, into)


def ended(steps: Sequence[Step], state: StepState = StepState.DONE) -> tuple[Step, ...]:
    return tuple(replace(step, state=state) for step in steps)


def values(steps: Sequence[Step]) -> list[str]:
    return [step.target.value for step in steps]


# targets


@pytest.mark.parametrize(
    ("selector", "action", "expected"),
    [
        (Selector.ACCOUNTS, "suspend_withdrawals", [("account", "hot-1", None)]),
        (Selector.EXPOSED_ACCOUNTS, "suspend_withdrawals", [("account", "hot-1", None), ("account", "key-1", None)]),
        (Selector.EXPOSED_KEYS, "restrict_key", [("account", "key-1", None)]),
        (Selector.DESTINATIONS, "lock_destination", [("destination", "eip155:1:0xthief", "hot-1")]),
        (Selector.ACTORS, "revoke_credential", [("credential", "ops", "hot-1")]),
        (Selector.CONNECTIONS, "forbid_one_time_addresses", [("connection", "con-a", None)]),
    ],
)
def test_each_selector_yields_its_targets(
    selector: Selector, action: str, expected: list[tuple[str, str, str | None]]
) -> None:
    key = account("key-1", holder=Holder.VAULT_KEY)
    found = scene(
        account("hot-1"),
        exposed=(account("hot-1"), key),
        scopes={key.id: Scope.LEAF},
        destinations=(THIEF,),
        actors=(Target("credential", ONE, "ops", "hot-1"),),
        connections=(ONE,),
    )
    steps = plan(found, template(action, selector))
    assert [(s.target.kind, s.target.value, s.target.account) for s in steps] == expected


def test_a_vault_key_that_did_not_fall_is_not_a_target() -> None:
    assert plan(scene(account("key-1", holder=Holder.VAULT_KEY)), PREPARE) == ()


@pytest.mark.parametrize(
    ("severity", "count"), [(Severity.LOW, 0), (Severity.MEDIUM, 0), (Severity.HIGH, 1), (CRITICAL, 1)]
)
def test_a_step_is_planned_from_its_severity_on(severity: Severity, count: int) -> None:
    assert len(plan(scene(account("hot-1"), severity=severity), SUSPEND)) == count


def test_steps_stand_in_the_order_of_templates_and_then_of_targets() -> None:
    found = scene(account("b"), account("a"), destinations=(THIEF,))
    steps = plan(found, SUSPEND, LOCK)
    assert [(s.action, s.target.value) for s in steps] == [
        ("suspend_withdrawals", "b"),
        ("suspend_withdrawals", "a"),
        ("lock_destination", THIEF.value),
    ]
    assert [s.position for s in steps] == [0, 1, 2]


def test_the_same_target_seen_with_another_account_is_the_same() -> None:
    assert same(THIEF, replace(THIEF, account="hot-2"))
    assert not same(THIEF, replace(THIEF, connection=TWO))
    first = plan(scene(destinations=(THIEF,)), LOCK)
    assert plan(scene(destinations=(replace(THIEF, account="hot-2"),), existing=first), LOCK, into=LATER) == ()


# what is there already


@pytest.mark.parametrize("state", sorted(set(StepState) - {StepState.UNDONE}))
def test_what_the_incident_has_is_not_planned_again(state: StepState) -> None:
    first = ended(plan(scene(account("hot-1")), SUSPEND), state)
    assert plan(scene(account("hot-1"), existing=first), SUSPEND, into=LATER) == ()


def test_what_was_undone_is_planned_again() -> None:
    first = ended(plan(scene(account("hot-1")), SUSPEND), StepState.UNDONE)
    assert len(plan(scene(account("hot-1"), existing=first), SUSPEND, into=LATER)) == 1


@pytest.mark.parametrize(
    ("state", "count"),
    [
        (StepState.FAILED, 1),
        (StepState.REFUSED, 1),
        (StepState.EXPIRED, 1),
        (StepState.UNDONE, 1),
        (StepState.DONE, 0),
        (StepState.RUNNING, 0),
        (StepState.UNKNOWN, 0),
        (StepState.WAITING_APPROVAL, 0),
    ],
)
def test_asked_again_by_people_only_what_ended_without_effect_is_planned(state: StepState, count: int) -> None:
    first = ended(plan(scene(account("hot-1")), SUSPEND), state)
    assert len(plan(scene(account("hot-1"), existing=first, again=True), SUSPEND, into=LATER)) == count


def test_a_rotation_that_must_go_deeper_is_new() -> None:
    key = account("key-1", holder=Holder.VAULT_KEY)
    first = ended(plan(scene(key, scopes={key.id: Scope.LEAF}), PREPARE))
    assert first[0].params == {"scope": "leaf"}
    assert plan(scene(key, scopes={key.id: Scope.LEAF}, existing=first), PREPARE, into=LATER) == ()
    (deeper,) = plan(scene(key, scopes={key.id: Scope.SEED}, existing=first), PREPARE, into=LATER)
    assert deeper.params == {"scope": "seed"}
    assert deeper.idempotency_key != first[0].idempotency_key


# idempotency keys and digests


def test_the_same_step_planned_twice_at_once_has_the_same_key_and_another_id() -> None:
    one, two = (plan(scene(account("hot-1")), SUSPEND)[0] for _ in range(2))
    assert one.idempotency_key == two.idempotency_key
    assert one.id != two.id


def test_each_generation_has_a_key_of_its_own() -> None:
    """A repeat must not be answered with the receipt of what was undone."""
    keys = []
    existing: tuple[Step, ...] = ()
    for number in range(3):
        made = plan(scene(account("hot-1"), existing=existing), SUSPEND, into=PlanId(f"pln_{number}"))
        keys.append(made[0].idempotency_key)
        existing += ended(made, StepState.UNDONE)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "other",
    [
        scene(account("hot-2")),
        scene(account("hot-1", TWO)),
        scene(account("hot-1"), incident_id=IncidentId("inc_2")),
    ],
)
def test_the_key_covers_incident_connection_and_target(other: Scene) -> None:
    (mine,) = plan(scene(account("hot-1")), SUSPEND)
    (theirs,) = plan(other, SUSPEND)
    assert mine.idempotency_key != theirs.idempotency_key


def test_the_document_tells_every_step_s_action_target_and_params() -> None:
    key = account("key-1", holder=Holder.VAULT_KEY)
    steps = plan(scene(key, scopes={key.id: Scope.LEAF}), SUSPEND, PREPARE)
    body = document({"id": PLAN, "incident": "inc_1"}, steps)
    assert body["incident"] == "inc_1"
    told = body["steps"]
    assert isinstance(told, list)
    assert [(one["action"], one["effect"]) for one in told] == [
        ("suspend_withdrawals", "tightens"),
        ("prepare_rotation", "tightens"),
    ]
    assert told[1]["params"] == {"scope": "leaf"}
    assert told[0]["target"] == target_key(steps[0].target)
    assert {one["id"] for one in told} == {s.id for s in steps}


@pytest.mark.parametrize("state", list(StepState))
def test_what_a_step_goes_through_does_not_change_the_document(state: StepState) -> None:
    steps = plan(scene(account("hot-1")), SUSPEND)
    moved = tuple(replace(s, state=state, approval_id=ApprovalId("apv_1"), reason="any", attempt=3) for s in steps)
    assert document({}, moved) == document({}, steps)


# what goes at once and what waits


def test_tightening_is_ready_and_everything_else_waits_for_approval() -> None:
    key = account("key-1", holder=Holder.VAULT_KEY)
    safe = {key.id: [{"chain": "eip155:1", "descriptor": "0xsafe"}]}
    found = scene(key, scopes={key.id: Scope.LEAF}, safe=safe, addresses={key.id: "eip155:1:0xnew"})
    steps = {s.action: s for s in plan(found, SUSPEND, PREPARE, SWEEP, PUBLISH)}
    assert {a: s.state for a, s in steps.items()} == {
        "suspend_withdrawals": StepState.READY,
        "prepare_rotation": StepState.READY,
        "sweep_to_safe": StepState.WAITING_APPROVAL,
        "publish_address": StepState.WAITING_APPROVAL,
    }
    assert steps["sweep_to_safe"].params == {"destinations": safe[key.id]}
    assert steps["publish_address"].params == {"address": "eip155:1:0xnew"}
    assert (steps["sweep_to_safe"].lane, steps["publish_address"].lane) == (Lane.KEYS, Lane.CONTAINMENT)


@pytest.mark.parametrize(("step", "reason"), [(SWEEP, "safe destination"), (PUBLISH, "new address")])
def test_what_the_plan_cannot_tell_is_planned_as_refused_with_the_reason(step: StepTemplate, reason: str) -> None:
    key = account("key-1", holder=Holder.VAULT_KEY)
    (made,) = plan(scene(key, scopes={key.id: Scope.LEAF}), step)
    assert made.state is StepState.REFUSED
    assert reason in str(made.reason)


def test_a_step_waits_for_the_steps_of_its_own_target() -> None:
    keys = [account(ref, holder=Holder.VAULT_KEY) for ref in ("key-1", "key-2")]
    safe = {key.id: [{"chain": "eip155:1", "descriptor": "0xsafe"}] for key in keys}
    found = scene(*keys, scopes={key.id: Scope.LEAF for key in keys}, safe=safe)
    steps = {(s.action, s.target.value): s for s in plan(found, SWEEP, RETIRE)}
    for ref in ("key-1", "key-2"):
        waiting = steps["retire_key", ref]
        assert waiting.state is StepState.WAITING_STEP
        assert waiting.after == (steps["sweep_to_safe", ref].id,)


def test_a_step_waits_for_one_of_an_earlier_plan_too() -> None:
    key = account("key-1", holder=Holder.VAULT_KEY)
    safe = {key.id: [{"chain": "eip155:1", "descriptor": "0xsafe"}]}
    first = plan(scene(key, scopes={key.id: Scope.LEAF}, safe=safe), SWEEP)
    (made,) = plan(scene(key, scopes={key.id: Scope.LEAF}, safe=safe, existing=first), RETIRE, into=LATER)
    assert made.after == (first[0].id,)
    assert made.position == 0, "positions count within a plan"


# blast radius


def limited(
    accounts: int = 10, value: int = 10**9, touched: Sequence[str] = (), others: int = 10
) -> Mapping[ConnectionId, Allowance]:
    return {ONE: Allowance(accounts, Decimal(value), set(touched), others, set())}


def states(steps: Sequence[Step]) -> list[StepState]:
    return [s.state for s in steps]


def test_beyond_the_number_of_accounts_steps_wait_for_people() -> None:
    steps = plan(scene(account("a"), account("b"), account("c"), allowances=limited(accounts=2)), SUSPEND)
    assert states(steps) == [StepState.READY, StepState.READY, StepState.WAITING_APPROVAL]
    assert [s.reason for s in steps] == [None, None, OVER_LIMIT]


def test_an_account_counts_once_however_many_steps_it_gets() -> None:
    cancel = template("cancel_pending", Selector.ACCOUNTS)
    steps = plan(scene(account("a"), account("b"), allowances=limited(accounts=1)), SUSPEND, cancel)
    assert [(s.target.value, s.state is StepState.READY) for s in steps] == [
        ("a", True),
        ("b", False),
        ("a", True),
        ("b", False),
    ]


def test_an_account_that_this_hour_touched_costs_nothing() -> None:
    steps = plan(scene(account("a"), account("b"), allowances=limited(accounts=0, touched=["b"])), SUSPEND)
    assert states(steps) == [StepState.WAITING_APPROVAL, StepState.READY]


def test_too_much_value_waits_and_leaves_the_rest_for_who_comes_after() -> None:
    balances = {"account:con-a/rich": Decimal(100), "account:con-a/poor": Decimal(10)}
    found = scene(account("rich"), account("poor"), balances=balances, allowances=limited(value=50))
    assert states(plan(found, SUSPEND)) == [StepState.WAITING_APPROVAL, StepState.READY]


def test_a_limit_is_a_connection_s_own() -> None:
    found = scene(account("a"), account("b", TWO), allowances=limited(accounts=0))
    assert states(plan(found, SUSPEND)) == [StepState.WAITING_APPROVAL, StepState.READY]


def test_a_workspace_s_step_counts_every_account_behind_it() -> None:
    behind = {ONE: ["a", "b", "c"]}
    narrow = scene(connections=(ONE,), behind=behind, allowances=limited(accounts=2))
    wide = scene(connections=(ONE,), behind=behind, allowances=limited(accounts=3))
    assert states(plan(narrow, FORBID)) == [StepState.WAITING_APPROVAL]
    assert states(plan(wide, FORBID)) == [StepState.READY]


def test_locking_a_destination_touches_no_account() -> None:
    assert states(plan(scene(destinations=(THIEF,), allowances=limited(accounts=0)), LOCK)) == [StepState.READY]


def test_beyond_the_number_of_other_targets_steps_wait_for_people() -> None:
    actors = tuple(Target("credential", ONE, f"ops-{n}") for n in range(2))
    found = scene(account("a"), destinations=(THIEF,), actors=actors, allowances=limited(others=2))
    revoke = template("revoke_credential", Selector.ACTORS)
    steps = plan(found, LOCK, revoke, SUSPEND)
    assert states(steps) == [StepState.READY, StepState.READY, StepState.WAITING_APPROVAL, StepState.READY]
    assert steps[2].reason == OVER_LIMIT


def test_another_target_counts_once() -> None:
    left = Allowance(0, Decimal(0), set(), 1, set())
    assert left.aim(THIEF)
    assert left.aim(replace(THIEF, account="hot-2"))
    assert not left.aim(Target("credential", ONE, THIEF.value))
    assert (left.others, left.aimed) == (0, {("destination", THIEF.value)})


def test_an_allowance_takes_all_or_nothing() -> None:
    left = Allowance(2, Decimal(100), set(), 0, set())
    assert not left.take({"a": Decimal(1), "b": Decimal(1), "c": Decimal(1)})
    assert (left.accounts, left.value_usd, left.touched) == (2, Decimal(100), set())
    assert left.take({"a": Decimal(60)})
    assert not left.take({"b": Decimal(41)})
    assert left.take({"b": Decimal(40), "a": Decimal(60)})
    assert (left.accounts, left.value_usd) == (0, Decimal(0))


# undoing


def test_undoing_loosens_exactly_what_holds_and_waits_for_approval() -> None:
    found = scene(account("a"), account("b"), destinations=(THIEF,), connections=(ONE,))
    made = plan(found, SUSPEND, LOCK, FORBID)
    existing = [*ended(made[:1]), *ended(made[1:2], StepState.FAILED), *ended(made[2:])]
    back = undoing(existing, ACTIONS, LATER)
    assert [(s.action, s.target.value) for s in back] == [
        ("resume_withdrawals", "a"),
        ("unlock_destination", THIEF.value),
        ("allow_one_time_addresses", ONE),
    ]
    assert {(s.effect, s.state) for s in back} == {(Effect.LOOSENS, StepState.WAITING_APPROVAL)}
    assert [s.position for s in back] == [0, 1, 2]


def test_what_is_being_undone_is_not_asked_for_twice() -> None:
    held = ended(plan(scene(account("a")), SUSPEND))
    first = undoing(held, ACTIONS, LATER)
    assert undoing([*held, *first], ACTIONS, PlanId("pln_3")) == ()
    refused = ended(first, StepState.REFUSED)
    (again,) = undoing([*held, *refused], ACTIONS, PlanId("pln_3"))
    assert again.idempotency_key != first[0].idempotency_key


def test_two_steps_that_hold_the_same_target_are_undone_by_one() -> None:
    held = ended(plan(scene(account("a")), SUSPEND))
    again = ended(plan(scene(account("a")), SUSPEND, into=LATER))
    assert values(undoing([*held, *again], ACTIONS, PlanId("pln_3"))) == ["a"]


def test_what_cannot_be_undone_is_left_out() -> None:
    key = account("key-1", holder=Holder.VAULT_KEY)
    held = ended(plan(scene(key, scopes={key.id: Scope.LEAF}), PREPARE, template("cancel_pending", Selector.ACCOUNTS)))
    assert len(held) == 2
    assert undoing(held, ACTIONS, LATER) == ()
