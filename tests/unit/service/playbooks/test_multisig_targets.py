"""Which multisigs and owners a plan is for, and what of it waits for people."""

from dataclasses import replace
from decimal import Decimal

from service.domain.account import Holder
from service.domain.ids import AccountId
from service.domain.plan import Effect, Lane, Receipt, Step, StepState, Target
from service.playbooks.allowance import Allowance
from service.playbooks.model import Selector
from service.playbooks.planner import OVER_LIMIT, Scene, undoing
from service.playbooks.wording import step_sentence
from tests.unit.service.playbooks.test_planner import ACTIONS, LATER, ONE, TWO, account, plan, scene, template

OWNER = "0x" + "0a" * 20
LOCK_SAFE = template("lock_multisig", Selector.MULTISIGS)
REPLACE = template("replace_owner", Selector.SIGNERS)


def safe_scene(**known: object) -> Scene:
    multisig = account("safe-1", holder=Holder.MULTISIG)
    actors = tuple(Target("credential", at, who, "hot-1") for at, who in ((ONE, OWNER), (ONE, "ben"), (TWO, OWNER)))
    found = scene(multisig, account("hot-1"), account("other", TWO), actors=actors)
    return replace(found, **known)  # type: ignore[arg-type]  # as scene


def test_only_multisigs_are_locked_and_at_once() -> None:
    (step,) = plan(safe_scene(), LOCK_SAFE)
    assert (step.target.value, step.state, step.lane) == ("safe-1", StepState.READY, Lane.KEYS)


def test_an_owner_s_place_is_given_to_the_vault_s_key_by_a_quorum() -> None:
    successor = "0x" + "0b" * 20
    (step,) = plan(safe_scene(successors={AccountId("acc-safe-1"): successor}), REPLACE)
    assert (step.target.kind, step.target.value, step.target.account) == ("credential", OWNER, "safe-1")
    assert step.params == {"successor": successor}
    assert step.state is StepState.WAITING_APPROVAL


def test_without_a_key_of_the_vault_no_owner_is_replaced_and_the_plan_says_so() -> None:
    (step,) = plan(safe_scene(), REPLACE)
    assert step.state is StepState.REFUSED
    assert "holds no key for this multisig" in str(step.reason)


RAISE = template("raise_threshold", Selector.MULTISIGS)
NUMBERS = {"before": 2, "signatures": 3, "owners": 5}


def test_a_threshold_is_raised_by_a_quorum_to_what_people_told() -> None:
    (step,) = plan(safe_scene(told=NUMBERS, again=True), RAISE)
    assert (step.target.value, step.params) == ("safe-1", NUMBERS)
    assert (step.effect, step.state) == (Effect.TIGHTENS, StepState.WAITING_APPROVAL)
    (untold,) = plan(safe_scene(again=True), RAISE)
    assert (untold.state, untold.reason) == (StepState.REFUSED, ACTIONS["raise_threshold"].params["before"])


def test_with_other_numbers_it_is_asked_for_anew_and_with_the_same_it_is_not() -> None:
    (step,) = plan(safe_scene(told=NUMBERS, again=True), RAISE)
    done = replace(step, state=StepState.DONE)
    assert plan(safe_scene(told=NUMBERS, again=True, existing=(done,)), RAISE) == ()
    more = {"before": 3, "signatures": 4, "owners": 5}
    (second,) = plan(safe_scene(told=more, again=True, existing=(done,)), RAISE)
    assert (second.params, second.idempotency_key != step.idempotency_key) == (more, True)


def raised(existing: tuple[Step, ...], numbers: dict[str, int], *safes: str) -> Step:
    """Return a step that raised these Safes to what people told."""
    (step,) = plan(safe_scene(told=numbers, again=True, existing=existing), RAISE)
    return replace(step, state=StepState.DONE, receipt=Receipt("", {"raises": list(safes)}))


def test_recover_lowers_what_was_raised_and_only_that_back_to_where_it_began() -> None:
    first = raised((), NUMBERS, "eip155:1:0xa", "eip155:1:0xb")
    second = raised((first,), {"before": 3, "signatures": 4, "owners": 5}, "eip155:1:0xa")
    third = raised((first, second), {"before": 1, "signatures": 2, "owners": 2}, "eip155:1:0xc")
    (back,) = undoing((first, second, third), ACTIONS, LATER)
    told = {"a": (4, 2), "b": (3, 2), "c": (2, 1)}
    assert back.params == {
        "safes": {f"eip155:1:0x{at}": {"signatures": to, "before": was} for at, (to, was) in told.items()}
    }
    read = step_sentence(ACTIONS[back.action].title, back)
    assert read.endswith(
        "; that is 2 instead of 4 at eip155:1:0xa, 2 instead of 3 at eip155:1:0xb, 1 instead of 2 at eip155:1:0xc"
    )
    (unsaid,) = undoing((replace(first, receipt=None),), ACTIONS, LATER)
    assert (unsaid.state, unsaid.params) == (StepState.REFUSED, {"safes": {}})
    assert "lower them by hand" in str(unsaid.reason)


def test_recover_lowers_also_what_a_step_may_have_raised_before_it_failed_until_that_is_done() -> None:
    at = "eip155:1:0xa"
    for ended in (StepState.FAILED, StepState.REFUSED):
        failed = replace(raised((), NUMBERS, at), state=ended)
        (back,) = undoing((failed,), ACTIONS, LATER)
        assert back.params == {"safes": {at: {"signatures": 3, "before": 2}}}
        assert undoing((failed, replace(back, state=StepState.DONE)), ACTIONS, LATER) == ()
        assert len(undoing((failed, replace(back, state=StepState.FAILED)), ACTIONS, LATER)) == 1
        for nothing in (replace(failed, receipt=None), replace(failed, state=StepState.UNDONE)):
            assert undoing((nothing,), ACTIONS, LATER) == ()


def test_multisigs_nearby_are_locked_with_the_harmed_one_once_each() -> None:
    behind = tuple(account(ref, holder=Holder.MULTISIG) for ref in ("safe-1", "safe-2"))
    nearby = template("lock_multisig", Selector.NEARBY_MULTISIGS)
    steps = plan(safe_scene(multisigs_behind=behind), LOCK_SAFE, nearby)
    assert [step.target.value for step in steps] == ["safe-1", "safe-2"]
    assert {step.state for step in steps} == {StepState.READY}


def test_multisigs_nearby_have_a_limit_of_their_own_and_leave_that_of_the_named_ones() -> None:
    behind = tuple(account(f"safe-{n}", holder=Holder.MULTISIG) for n in range(1, 5))
    nearby = template("lock_multisig", Selector.NEARBY_MULTISIGS)
    left = Allowance(1, Decimal(10), set(), 0, set(), nearby=Allowance(2, Decimal(10), set(), 0, set()))
    steps = plan(safe_scene(multisigs_behind=behind, allowances={ONE: left}), nearby, LOCK_SAFE)
    assert [step.target.value for step in steps] == ["safe-1", "safe-2", "safe-3", "safe-4"]
    ready, waits = StepState.READY, StepState.WAITING_APPROVAL
    assert [step.state for step in steps] == [ready, ready, ready, waits]
    assert steps[-1].reason == OVER_LIMIT
    assert left.touched == {"safe-1"}, "what an alert names counts as named, whatever selector gave it"
    assert left.nearby is not None
    assert left.nearby.touched == {"safe-2", "safe-3"}


def test_the_value_near_is_bounded_too() -> None:
    behind = tuple(account(f"safe-{n}", holder=Holder.MULTISIG) for n in (2, 3))
    balances = {f"account:{ONE}/safe-{n}": Decimal(60) for n in (2, 3)}
    left = Allowance(9, Decimal(100), set(), 0, set(), nearby=Allowance(9, Decimal(100), set(), 0, set()))
    known = {"multisigs_behind": behind, "allowances": {ONE: left}, "balances": balances}
    steps = plan(safe_scene(**known), template("lock_multisig", Selector.NEARBY_MULTISIGS))
    assert [step.state for step in steps] == [StepState.READY, StepState.WAITING_APPROVAL]
