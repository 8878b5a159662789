"""Every containment action that is declared, by walking the registry: what design section 3 demands of each."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.actions.base import ActionContext, ContainmentAction, actions_in
from service.clock import SystemClock
from service.domain.errors import MissingCapabilityError, UnknownOutcomeError
from service.domain.ids import AccountId, ConnectionId
from service.domain.plan import Effect, Lane, Target, Verdict, opposite
from service.playbooks.loader import load
from service.ports.custody import PendingChange, PendingTransfer
from tests.support.fakes import FakeMultisig, FakeOutside, FakePlatform, FakeVault, Ledger

ACTIONS = actions_in("service.actions")
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks" / "action"
PARAMS = {
    "scope": "leaf",
    "address": "eip155:1:0xnew",
    "successor": "0x5afe000000000000000000000000000000000003",
    "before": 2,
    "signatures": 3,
    "owners": 5,
    "safes": {"eip155:1:0xsafe": {"signatures": 3, "before": 2}},
    "destinations": [{"chain": "eip155:1", "descriptor": "0xsafe"}],
    **{name: name for name in ("issuer", "channel", "recipient", "subject", "letter", "facts")},
}
every_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())


def context(action: ContainmentAction, ledger: Ledger, platform: FakePlatform | None = None) -> ActionContext:
    kind = min(action.target_kinds)
    keys = action.lane is Lane.KEYS
    custody = platform or FakePlatform(ledger)
    custody.waiting = [PendingTransfer("tx-1", "hot-1", None, None, "QUEUED")]
    custody.changes = [PendingChange("ch-1", "policy", "pending")]
    return ActionContext(
        target=Target(kind, ConnectionId("con-a"), "hot-1", None if kind == "account" else "hot-1"),
        params={name: PARAMS[name] for name in action.params},
        key="key-1",
        clock=SystemClock(),
        account_id=AccountId("acc_1"),
        custody=None if keys else custody,
        vault=FakeVault(ledger) if keys else None,
        multisig=FakeMultisig(ledger) if keys else None,
        outside=None if keys else FakeOutside(ledger),
    )


def prepared(action: ContainmentAction) -> Ledger:
    """A ledger on which the action has something to do: what it loosens is tight."""
    ledger = Ledger()
    for other in ACTIONS.values():
        if other.undone_by == action.name:
            ctx = context(other, ledger)
            other.execute(ctx)
            ledger.keys.clear()
    return ledger


@every_action
def test_it_holds_after_it_was_done_and_not_before(action: ContainmentAction) -> None:
    ctx = context(action, prepared(action))
    assert action.preconditions(ctx) == ()
    assert action.verify(ctx, None) is Verdict.DOES_NOT_HOLD
    receipt = action.execute(ctx)
    assert action.verify(ctx, receipt) is Verdict.HOLDS


@every_action
def test_the_same_key_does_it_once(action: ContainmentAction) -> None:
    ledger = prepared(action)
    ctx = context(action, ledger)
    action.execute(ctx)
    after = (set(ledger.holding), set(ledger.keys))
    assert action.verify(ctx, action.execute(ctx)) is Verdict.HOLDS
    assert (ledger.holding, ledger.keys) == after


@every_action
def test_one_that_says_so_makes_one_call(action: ContainmentAction) -> None:
    ledger = prepared(action)
    ctx = context(action, ledger)
    made = len(ledger.calls)
    action.execute(ctx)
    several = action.name in {"cancel_pending", "publish_address", "reject_changes"}
    assert action.one_call == (action.lane is Lane.CONTAINMENT and bool(action.needs) and not several)
    assert not action.one_call or len(ledger.calls) == made + 1


@every_action
@pytest.mark.parametrize("arrived", [True, False])
def test_a_lost_answer_is_settled_by_asking(action: ContainmentAction, *, arrived: bool) -> None:
    ledger = prepared(action)
    ctx = context(action, ledger)
    ledger.lose_next_answer, ledger.deaf = True, not arrived
    with pytest.raises(UnknownOutcomeError):
        action.execute(ctx)
    told = action.verify(ctx, None)
    if action.name == "prepare_rotation":
        # The address that approvers will see is in the receipt, so without one it is done again under its key.
        assert told is Verdict.DOES_NOT_HOLD
        return
    assert told is (Verdict.HOLDS if arrived else Verdict.DOES_NOT_HOLD)


@every_action
def test_cannot_tell_is_never_no(action: ContainmentAction) -> None:
    ledger = prepared(action)
    ctx = context(action, ledger)
    receipt = action.execute(ctx)
    ledger.blind = True
    told = action.verify(ctx, receipt)
    if action.name in {"freeze_workspace", "request_issuer_freeze"}:
        assert told is Verdict.HOLDS, "its receipt is all there is to ask"
    else:
        assert told is Verdict.CANNOT_TELL


@every_action
def test_undone_it_no_longer_holds(action: ContainmentAction) -> None:
    ledger = prepared(action)
    ctx = context(action, ledger)
    receipt = action.execute(ctx)
    ledger.keys.clear()
    if action.undone_by is None:
        with pytest.raises(MissingCapabilityError):
            action.undo(ctx, receipt)
        return
    action.undo(ctx, receipt)
    ledger.keys.clear()
    assert action.verify(ctx, receipt) is Verdict.DOES_NOT_HOLD
    back = ACTIONS[action.undone_by]
    assert back.effect is Effect.LOOSENS
    assert back.verify(context(back, ledger), receipt) is opposite(Verdict.DOES_NOT_HOLD)


@every_action
def test_a_missing_capability_is_named_with_what_to_do(action: ContainmentAction) -> None:
    ledger = Ledger()
    ctx = context(action, ledger, FakePlatform(ledger, frozenset()))
    sentences = [unmet.sentence for unmet in action.preconditions(ctx)]
    assert len(sentences) == len(action.needs)
    for capability in action.needs:
        assert any(capability.value in s and "by hand" in s for s in sentences)


@every_action
def test_a_parameter_that_the_plan_lacks_is_unmet(action: ContainmentAction) -> None:
    full = context(action, Ledger())
    bare = replace(full, params={})
    assert [u.sentence for u in action.preconditions(bare)] == list(action.params.values())


@every_action
def test_an_irreversible_one_says_why(action: ContainmentAction) -> None:
    assert (action.effect is Effect.IRREVERSIBLE) == bool(action.irreversible_because)


@every_action
def test_one_that_tightens_names_what_undoes_it_or_says_why_nothing_does(action: ContainmentAction) -> None:
    if action.effect is Effect.TIGHTENS:
        assert bool(action.undone_by) != bool(action.no_undo_because), "a saga's step declares its way back"
    else:
        assert action.no_undo_because is None


@every_action
def test_its_runbook_is_there_and_names_it(action: ContainmentAction) -> None:
    text = (RUNBOOKS / f"{action.name}.md").read_text(encoding="utf-8")
    assert f"`{action.name}`" in text
    assert f"docs/runbooks/action/{action.name}.md" in (action.__doc__ or "")


@every_action
def test_it_can_be_reached(action: ContainmentAction) -> None:
    planned = {step.action for playbook in load(ACTIONS) for step in playbook.every_step}
    loosening = {other.undone_by for other in ACTIONS.values() if other.name in planned}
    assert action.name in planned | loosening, "name it in a playbook, or in `undone_by` of an action that one names"


def test_a_playbook_names_only_what_there_is() -> None:
    for playbook in load(ACTIONS):
        for step in playbook.every_step:
            assert step.action in ACTIONS
            assert set(step.after) <= set(ACTIONS)


def test_no_runbook_is_left_over() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ACTIONS)


def test_the_names_that_people_know_are_there() -> None:
    wanted = {
        "suspend_withdrawals", "cancel_pending", "lock_destination", "revoke_credential", "restrict_key",
        "prepare_rotation", "sweep_to_safe", "forbid_one_time_addresses", "freeze_workspace", "resume_withdrawals",
        "lock_multisig", "replace_owner", "cancel_delayed", "reject_changes",
    }  # fmt: skip
    assert wanted <= set(ACTIONS)
