"""What uses up nonces, cancellations, rejections and sweeps, is done again where a reorganisation gives them back."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from service.actions.sweep_multisig import LEFT
from service.domain.errors import ApprovalError, MissingCapabilityError, PortcullisError, UnavailableError
from service.domain.evm import Fee, Transaction
from service.domain.ids import AccountId, ConnectionId, PlanId, StepId, new_id
from service.domain.plan import Plan, StepState, Target, Verdict
from service.domain.standing import Standing, marks
from service.flow import contain
from service.store.tables.keys import accounts
from service.store.tables.proof import outbox, timeline
from service.vault.multisig import Multisigs
from tests.integration.multisig.conftest import SafeHouse
from tests.integration.multisig.test_hot_wallet import THIEF, send, wallet
from tests.integration.multisig.watching import ACTIONS, DEEP, Watched, watching
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, Mining
from tests.support.authority import a_step
from tests.support.incidents import CONNECTION
from tests.support.safe_service import FakeSafeService

SAFE_DESTINATION = "0x" + "5afe" * 10


@pytest.fixture
def watched(safe_house: SafeHouse) -> Watched:
    return watching(safe_house)


@pytest.fixture
def voted(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether the votes of a quorum verify: that they are asked for is tests/integration/containment's."""

    def say(verify: bool) -> None:  # noqa: FBT001  its only word
        def require(*_: object) -> None:
            if not verify:
                raise ApprovalError("its votes have run out")

        monkeypatch.setattr(contain, "require_authority", require)

    say(True)  # noqa: FBT003  as above
    return say


def plan(watched: Watched, action: str, account: AccountId) -> None:
    """Put one step of an action on an account into the incident, let go already."""
    db, ref = watched.house.house.superuser, f"{CHAIN}:{account}"
    watched.action = action
    with db.begin() as uow:
        known = {"connection_id": CONNECTION, "ref": ref}
        uow.connection.execute(update(accounts).where(accounts.c.id == account).values(**known))
        plan_id = PlanId(new_id("pln"))
        step = replace(
            a_step(action, params={"destinations": [{"chain": CHAIN, "descriptor": SAFE_DESTINATION}]}),
            plan_id=plan_id,
            incident_id=watched.incident,
            effect=ACTIONS[action].effect,
            target=Target("account", ConnectionId(CONNECTION), ref),
            state=StepState.READY,
        )
        told = ("drain", "0" * 64, "0" * 64, "none", "0" * 64)
        uow.plans.add(Plan(plan_id, watched.incident, *told, uow.now, (step,)), "{}")


def drop(watched: Watched) -> None:
    """Let a reorganisation drop the last block and what was in it, and look."""
    watched.house.chain.rpc("anvil_reorg", 1, [])
    watched.look()
    assert watched.said()[-1] == "step.vanished"
    assert watched.step().state is StepState.RUNNING


def final(watched: Watched) -> None:
    watched.house.chain.rpc("anvil_mine", hex(DEEP))
    watched.look()
    assert (watched.said()[-1], watched.step().state) == ("step.final", StepState.DONE)


def test_a_nonce_that_was_taken_from_a_thief_is_taken_again(watched: Watched) -> None:
    house = watched.house
    account, key = wallet(house)
    plan(watched, "replace_pending", account)
    mining = Mining(house.chain.url, CHAIN_ID)
    house.chain.rpc("evm_setAutomine", False)  # noqa: FBT003  the call's own form
    try:
        send(house, key, 0, THIEF, value=ETHER)
        mining.left = 1
        object.__setattr__(house.house.parts, "chains", {CHAIN: mining})
        watched.work()
        assert watched.step().state is StepState.DONE
        watched.look()
        assert watched.said()[-1] == "step.verified", "in a block, not final: nothing changes"
    finally:
        house.chain.rpc("evm_setAutomine", True)  # noqa: FBT003  as above
    drop(watched)
    assert house.house.vault.pending_replaced(account, {}) is Verdict.HOLDS, "nothing is pending, and yet"
    watched.work()
    assert house.chain.rpc("eth_getTransactionCount", key.address, "latest") == "0x1", "what the thief signed is dead"
    send_later = Transaction(CHAIN_ID, 1, THIEF, 1, b"", 21_000, Fee(5 * 10**9, 10**9))
    send(house, key, send_later.nonce, THIEF, value=1)  # the owner goes on, which is no business of the step
    watched.look()
    assert watched.step().state is StepState.DONE
    final(watched)
    mining.close()


@pytest.mark.parametrize("votes_hold", [True, False])
def test_a_sweep_of_an_own_wallet_is_sent_again_as_it_was_while_its_votes_hold(
    watched: Watched,
    voted: Callable[[bool], None],
    votes_hold: bool,  # noqa: FBT001  a table of cases
) -> None:
    house = watched.house
    account, _ = wallet(house)
    house.house.destination(account, SAFE_DESTINATION, stated_chain=CHAIN)
    house.house.vault.provision(account)
    plan(watched, "sweep_to_safe", account)
    watched.work()
    paid = house.chain.balance(SAFE_DESTINATION)
    assert (watched.step().state, paid > ETHER) == (StepState.DONE, True)
    drop(watched)
    assert house.chain.balance(SAFE_DESTINATION) == 0
    voted(votes_hold)
    watched.work()
    if votes_hold:
        watched.work()
        assert house.chain.balance(SAFE_DESTINATION) == paid
        assert [row.state for row in house.house.sweeps(account)] == ["final"], "the same bytes, once"
        final(watched)
        return
    assert (watched.step().state, house.chain.balance(SAFE_DESTINATION)) == (StepState.REFUSED, 0)
    with house.house.superuser.begin() as uow:
        events = uow.connection.execute(select(outbox.c.payload).where(outbox.c.event == "step_failed")).scalars()
        assert StepId(watched.step().id) in {payload["step_id"] for payload in events}, "people are told"


@pytest.mark.usefixtures("voted")
def test_a_sweep_of_a_safe_is_carried_again_and_what_comes_in_later_is_no_reason_to(safe_house: SafeHouse) -> None:
    house = safe_house
    house.house.destination(house.account, SAFE_DESTINATION, stated_chain=CHAIN)
    house.house.vault.provision(house.account)
    watched = watching(house)
    plan(watched, "sweep_multisig", house.account)
    watched.work()
    assert (watched.step().state, house.chain.balance(SAFE_DESTINATION)) == (StepState.DONE, 5 * ETHER)
    drop(watched)
    watched.work()
    assert (watched.step().state, house.chain.balance(SAFE_DESTINATION)) == (StepState.DONE, 5 * ETHER)
    house.chain.fund(house.address, ETHER)
    watched.look()
    assert watched.step().state is StepState.DONE, "what comes in after it was done is another sweep's"
    final(watched)
    assert house.chain.balance(house.address) == ETHER


@pytest.mark.usefixtures("voted")
def test_what_a_sweep_left_is_told_on_the_timeline(safe_house: SafeHouse) -> None:
    house = safe_house
    house.house.destination(house.account, SAFE_DESTINATION, stated_chain=CHAIN)
    house.house.vault.provision(house.account)
    watched = watching(house)
    plan(watched, "sweep_multisig", house.account)
    house.chain.fund(house.address, 1)
    watched.work()
    step = watched.step()
    assert step.state is StepState.DONE
    left = {"safe": house.address, "asset": f"{CHAIN}/slip44:60", "base_units": "1", "amount": f"0.{1:018d}"}
    assert step.receipt is not None
    assert step.receipt.facts[LEFT] == [{**left, "because": "less than 10 times the fee of moving it"}]
    with house.house.superuser.begin() as uow:
        told = uow.connection.execute(
            select(timeline.c.sentence).where(timeline.c.kind == "step.verified")
        ).scalar_one()
    assert told.endswith(
        f". Left 0.000000000000000001 of {CHAIN}/slip44:60 at {house.address}: less than 10 times the fee of moving it"
    )


def test_a_rejection_is_carried_again(watched: Watched, service: FakeSafeService, multisigs: Multisigs) -> None:
    house = watched.house
    watched.hands = replace(watched.hands, multisig=multisigs)
    watched.looking = replace(watched.looking, multisig=multisigs)
    service.waits(THIEF, 0, value=ETHER)
    plan(watched, "reject_pending", house.account)
    watched.work()
    assert (watched.step().state, house.nonce()) == (StepState.DONE, 1)
    drop(watched)
    assert house.nonce() == 0
    watched.work()
    assert (watched.step().state, house.nonce()) == (StepState.DONE, 1)
    final(watched)


@pytest.mark.parametrize("error", [UnavailableError, MissingCapabilityError])
def test_who_can_never_tell_how_it_stands_is_no_reason_to_doubt_what_holds(
    watched: Watched,
    service: FakeSafeService,
    multisigs: Multisigs,
    error: type[PortcullisError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched.hands = replace(watched.hands, multisig=multisigs)
    watched.looking = replace(watched.looking, multisig=multisigs)
    service.waits(THIEF, 0, value=ETHER)
    plan(watched, "reject_pending", watched.house.account)

    def standing(*_: object) -> Standing:
        raise error("no endpoint")

    with monkeypatch.context() as patch:
        patch.setattr(Multisigs, "standing", standing)
        watched.work()
    assert watched.house.nonce() == 1
    if error is UnavailableError:
        assert watched.step().state is StepState.VERIFYING, "it is asked again, which costs nothing"
        return
    assert (watched.step().state, marks(watched.step().receipt)) == (StepState.DONE, None)
    watched.look()
    assert (watched.said()[-1], watched.step().state) == ("step.verified", StepState.DONE), "nobody can tell"
