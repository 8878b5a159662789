"""A threshold is raised on a real Safe 1.5.0 to what people approved of what the chain says, and taken back by people."""

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from hsm.restrictions import KeyState
from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError
from service.domain.plan import StepState, Verdict
from service.domain.threshold import TOO_FEW, Raise
from service.flow import contain, respond
from service.store.tables.incident import steps
from service.store.tables.keys import accounts
from service.store.tables.proof import timeline
from tests.integration.multisig.conftest import SafeHouse, set_state
from tests.integration.multisig.watching import DEEP, watching
from tests.support.anvil import CHAIN, ETHER, RefusedCallError

THIEF = "0x" + "bad0" * 10
TO_THREE = Raise(2, 3, 3)
NUMBERS = "before=2 owners=3 signatures=3"


def asks_for(house: SafeHouse) -> int:
    return int.from_bytes(house.chain.call(house.address, "getThreshold()"), "big")


@pytest.mark.parametrize("locked", [False, True])
def test_it_is_raised_once_also_under_the_lock_and_a_theft_by_two_is_dead(
    safe_house: SafeHouse, *, locked: bool
) -> None:
    house = safe_house
    if locked:
        house.multisigs.lock(house.account)
    theft = house.signed(THIEF, b"", 0, 2, value=ETHER, nonce=house.nonce() + 1)
    assert house.multisigs.threshold_raised(house.account, 3) is Verdict.DOES_NOT_HOLD
    told = house.multisigs.raise_threshold(house.account, TO_THREE)
    assert house.multisigs.threshold_raised(house.account, 3) is Verdict.HOLDS
    assert (asks_for(house), told.facts[TOO_FEW]) == (3, {house.address: "2 of 3"})
    used = house.nonce()
    house.multisigs.raise_threshold(house.account, TO_THREE)
    assert house.nonce() == used, "a repeat changes nothing"
    if locked:
        house.multisigs.unlock(house.account)
    with pytest.raises(RefusedCallError, match="GS020"):
        house.chain.send(house.address, theft)


def test_what_the_chain_says_otherwise_than_people_approved_is_not_done_nor_by_a_key_that_is_restricted(
    safe_house: SafeHouse,
) -> None:
    house = safe_house
    for wrong in (Raise(1, 2, 3), Raise(2, 3, 4), Raise(1, 3, 3)):
        if wrong.signatures <= 2:
            house.multisigs.raise_threshold(house.account, wrong)  # it asks for as many already
        else:
            with pytest.raises(RefusedByOtherSideError, match="2 signatures of 3 owners now"):
                house.multisigs.raise_threshold(house.account, wrong)
    set_state(house, house.owners[1], KeyState.RESTRICTED)
    with pytest.raises(MissingCapabilityError, match="active keys of 1"):
        house.multisigs.raise_threshold(house.account, TO_THREE)
    assert (asks_for(house), house.nonce()) == (2, 0), "never lowered, and not raised to what nobody approved"


def test_people_take_it_back_where_the_vault_has_enough_owners(safe_house: SafeHouse) -> None:
    house = safe_house
    house.multisigs.raise_threshold(house.account, TO_THREE)
    with pytest.raises(MissingCapabilityError, match="needs 3 signatures and the vault has active keys of 2"):
        house.multisigs.restore_threshold(house.account, 2)
    address = house.chain.safe([house.owner(0), house.owner(1), house.owner(2)], 1)
    other = replace(house, address=address)
    with house.house.superuser.begin() as uow:
        at = update(accounts).where(accounts.c.id == house.account)
        uow.connection.execute(at.values(addresses=[f"{CHAIN}:{address}"]))
    other.multisigs.raise_threshold(house.account, Raise(1, 2, 3))
    assert other.multisigs.threshold_restored(house.account, 1) is Verdict.DOES_NOT_HOLD
    for _ in range(2):
        other.multisigs.restore_threshold(house.account, 1)
    assert (asks_for(other), other.nonce()) == (1, 2)
    assert other.multisigs.threshold_restored(house.account, 1) is Verdict.HOLDS


def test_a_step_runs_by_votes_alone_is_final_and_recovered_by_a_quorum(
    safe_house: SafeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = replace(watching(safe_house), action="raise_threshold")
    respond.request(watched.desk, watched.incident, "raise_threshold", "per_1", NUMBERS)
    step = watched.step()
    assert (step.state, step.params) == (StepState.REFUSED, {"before": 2, "signatures": 3, "owners": 3})
    assert "no policy is in force" in str(step.reason), "nobody can be asked here; the row alone is no authority"
    with safe_house.house.superuser.begin() as uow:
        uow.connection.execute(update(steps).where(steps.c.id == step.id).values(state="ready", reason=None))
    watched.work()
    assert (watched.step().state, asks_for(safe_house)) == (StepState.REFUSED, 2)
    assert watched.said()[-1] == "step.not_authorised"
    monkeypatch.setattr(contain, "require_authority", lambda *_: None)  # as if people had voted for it
    with safe_house.house.superuser.begin() as uow:
        uow.connection.execute(update(steps).where(steps.c.id == step.id).values(state="ready", reason=None))
    watched.work()
    assert (watched.step().state, asks_for(safe_house)) == (StepState.DONE, 3)
    safe_house.chain.rpc("anvil_mine", hex(DEEP))
    watched.look()
    assert watched.said()[-1] == "step.final"
    with safe_house.house.superuser.begin() as uow:
        wanted = select(timeline.c.sentence).where(timeline.c.kind == "step.verified")
        assert "the vault's own keys are too few" in uow.connection.execute(wanted).scalar_one()
    respond.request(watched.desk, watched.incident, "raise_threshold", "per_1", "before=2 owners=4 signatures=4")
    with safe_house.house.superuser.begin() as uow:
        wrong = uow.plans.steps_of(watched.incident)[-1]
        uow.connection.execute(update(steps).where(steps.c.id == wrong.id).values(state="ready", reason=None))
    contain.step(watched.hands, wrong.id)
    with safe_house.house.superuser.begin() as uow:
        ended = uow.plans.step(wrong.id)
    assert (ended.state, asks_for(safe_house)) == (StepState.FAILED, 3), "at once, and not after twelve attempts"
    assert "3 signatures of 3 owners now" in str(ended.reason)
    respond.request(watched.desk, watched.incident, respond.RECOVER, "per_1")
    back = replace(watched, action="restore_threshold").step()
    assert (back.effect.value, back.params) == ("loosens", {"before": 2})
