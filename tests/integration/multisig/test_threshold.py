"""A threshold is raised on a real Safe 1.5.0 to what people approved of what the chain says, and taken back by people."""

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from hsm.restrictions import KeyState
from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError, UnavailableError
from service.domain.plan import Receipt, StepState, Verdict
from service.domain.threshold import LEFT_ALONE, RAISES, TOO_FEW, Lower, Raise
from service.flow import contain, respond
from service.store.tables.incident import steps
from service.store.tables.keys import accounts
from service.store.tables.proof import timeline
from tests.integration.multisig.conftest import SafeHouse, set_state
from tests.integration.multisig.watching import ACTIONS, DEEP, watching
from tests.support.anvil import CHAIN, ETHER, RefusedCallError, data_of

THIEF = "0x" + "bad0" * 10
TO_THREE = Raise(2, 3, 3)
NUMBERS = "before=2 owners=3 signatures=3"


def asks_for(house: SafeHouse) -> int:
    return int.from_bytes(house.chain.call(house.address, "getThreshold()"), "big")


def raise_it(house: SafeHouse, wanted: Raise = TO_THREE) -> Receipt:
    """Let the step note what it raises, then raise it."""
    noted = house.multisigs.raise_threshold(house.account, wanted)
    return house.multisigs.raise_threshold(house.account, wanted, noted)


def more_safes(house: SafeHouse, *made: tuple[int, int]) -> list[SafeHouse]:
    """Give the account other Safes, each with so many owners, ours first, and so high a threshold."""
    found = [
        replace(house, address=house.chain.safe([house.owner(n) for n in range(owners)], asks)) for owners, asks in made
    ]
    with house.house.superuser.begin() as uow:
        at = update(accounts).where(accounts.c.id == house.account)
        uow.connection.execute(at.values(addresses=[place(one) for one in found]))
    return found


def place(house: SafeHouse) -> str:
    return f"{CHAIN}:{house.address}"


@pytest.mark.parametrize("locked", [False, True])
def test_it_is_raised_once_also_under_the_lock_and_a_theft_by_two_is_dead(
    safe_house: SafeHouse, *, locked: bool
) -> None:
    house = safe_house
    if locked:
        house.multisigs.lock(house.account)
    theft = house.signed(THIEF, b"", 0, 2, value=ETHER, nonce=house.nonce() + 1)
    used = house.nonce()
    noted = house.multisigs.raise_threshold(house.account, TO_THREE)
    assert (asks_for(house), house.nonce()) == (2, used), "first it is noted, and nothing is signed"
    for unfinished in (None, noted):
        assert house.multisigs.threshold_raised(house.account, TO_THREE, unfinished) is Verdict.DOES_NOT_HOLD
    for _ in range(2):  # the second knows by the note that it was this step
        told = house.multisigs.raise_threshold(house.account, TO_THREE, noted)
        assert (asks_for(house), house.nonce()) == (3, used + 1)
        assert (told.facts[RAISES], told.facts[TOO_FEW]) == ([place(house)], {place(house): "2 of 3"})
    assert house.multisigs.threshold_raised(house.account, TO_THREE, noted) is Verdict.HOLDS
    if locked:
        house.multisigs.unlock(house.account)
    with pytest.raises(RefusedCallError, match="GS020"):
        house.chain.send(house.address, theft)


def test_what_the_chain_says_otherwise_than_people_approved_is_not_done_nor_by_a_key_that_is_restricted(
    safe_house: SafeHouse,
) -> None:
    house = safe_house
    for wrong in (Raise(1, 2, 3), Raise(2, 3, 4), Raise(1, 3, 3)):
        with pytest.raises(RefusedByOtherSideError, match="2 signatures of 3 owners now"):
            house.multisigs.raise_threshold(house.account, wrong)
    set_state(house, house.owners[1], KeyState.RESTRICTED)
    with pytest.raises(MissingCapabilityError, match="active keys of 1"):
        raise_it(house)
    assert (asks_for(house), house.nonce()) == (2, 0), "never lowered, and not raised to what nobody approved"


def test_people_take_it_back_where_the_vault_has_enough_owners(safe_house: SafeHouse) -> None:
    house = safe_house
    raise_it(house)
    with pytest.raises(MissingCapabilityError, match="needs 3 signatures and the vault has active keys of 2"):
        house.multisigs.restore_threshold(house.account, {place(house): Lower(3, 2)})
    (other,) = more_safes(house, (3, 1))
    raise_it(other, Raise(1, 2, 3))
    back = {place(other): Lower(2, 1)}
    assert other.multisigs.threshold_restored(house.account, back) is Verdict.DOES_NOT_HOLD
    for _ in range(2):
        other.multisigs.restore_threshold(house.account, back)
    assert (asks_for(other), other.nonce()) == (1, 2)
    assert other.multisigs.threshold_restored(house.account, back) is Verdict.HOLDS


def test_nothing_is_lowered_but_what_was_raised_and_from_what_it_was_raised_to(safe_house: SafeHouse) -> None:
    high, low = more_safes(safe_house, (3, 2), (2, 1))
    multisigs, account = safe_house.multisigs, safe_house.account
    multisigs.restore_threshold(account, {place(low): Lower(2, 1)})
    assert (asks_for(high), asks_for(low)) == (2, 1), "the other asks for as many, and nobody raised it"
    both = {place(high): Lower(3, 1), place(low): Lower(2, 1)}
    raise_it(safe_house, Raise(1, 2, 2))
    with pytest.raises(RefusedByOtherSideError, match="asks for 2 signatures now, and not for the 3"):
        multisigs.restore_threshold(account, both)
    assert (asks_for(high), asks_for(low)) == (2, 1), "the one that is as the step left it is lowered all the same"
    with pytest.raises(MissingCapabilityError, match="raised"):
        multisigs.restore_threshold(account, {})
    gone = {place(safe_house): Lower(3, 2)}
    with pytest.raises(MissingCapabilityError, match="no address of account"):
        multisigs.restore_threshold(account, gone)
    assert multisigs.threshold_restored(account, gone) is Verdict.CANNOT_TELL, "nobody asked it"


def test_of_safes_that_differ_those_are_raised_whose_numbers_fit(safe_house: SafeHouse) -> None:
    fits, more_owners, higher = more_safes(safe_house, (2, 1), (3, 1), (3, 2))
    wanted, multisigs, account = Raise(1, 2, 2), safe_house.multisigs, safe_house.account
    told = raise_it(safe_house, wanted)
    assert [asks_for(one) for one in (fits, more_owners, higher)] == [2, 1, 2]
    assert told.facts[RAISES] == [place(fits)]
    left = told.facts[LEFT_ALONE]
    assert isinstance(left, dict)
    assert set(left) == {place(more_owners), place(higher)}
    assert "2 signatures of 3 owners now" in left[place(higher)]
    assert multisigs.threshold_raised(account, wanted, told) is Verdict.HOLDS
    read = ACTIONS["raise_threshold"].remark(told)
    assert f"; left alone: {place(more_owners)}: it asks for 1 signatures of 3 owners now" in read
    with pytest.raises(RefusedByOtherSideError, match="ask again with the numbers of now"):
        multisigs.raise_threshold(account, Raise(2, 3, 4))


def test_what_the_vault_cannot_raise_is_left_alone_and_what_cannot_be_asked_is_no_no(safe_house: SafeHouse) -> None:
    ours, theirs = more_safes(safe_house, (3, 2), (3, 2))
    multisigs, account = safe_house.multisigs, safe_house.account
    noted = multisigs.raise_threshold(account, TO_THREE)
    chain = safe_house.chain
    with_outsider = ours.signed(ours.address, data_of("changeThreshold(uint256)", 3), 0, 2)
    chain.send(ours.address, with_outsider)  # as if it were the transaction of a worker that died behind it
    set_state(safe_house, safe_house.owners[1], KeyState.RESTRICTED)
    told = multisigs.raise_threshold(account, TO_THREE, noted)
    assert (told.facts[RAISES], asks_for(theirs)) == ([place(ours)], 2)
    assert "active keys of 1" in str(told.facts[LEFT_ALONE])
    code = chain.rpc("eth_getCode", theirs.address, "latest")
    chain.rpc("anvil_setCode", theirs.address, "0x")
    with pytest.raises(UnavailableError):
        multisigs.raise_threshold(account, TO_THREE)
    assert multisigs.threshold_raised(account, TO_THREE, noted) is Verdict.CANNOT_TELL
    chain.rpc("anvil_setCode", theirs.address, code)


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
    assert (watched.step().state, asks_for(safe_house)) == (StepState.RUNNING, 2), "it noted what it raises"
    with safe_house.house.superuser.begin() as uow:
        uow.connection.execute(update(steps).where(steps.c.id == step.id).values(due_at=uow.now))
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
    assert (back.effect.value, back.params) == (
        "loosens",
        {"safes": {place(safe_house): {"signatures": 3, "before": 2}}},
    )
