"""Transactions out of a real Safe 1.5.0: swept to the safe destination, proposed where keys are few."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest
from sqlalchemy import update

from hsm.restrictions import KeyState
from service.domain import guard
from service.domain.errors import (
    ApprovalError,
    MissingCapabilityError,
    RefusedByOtherSideError,
)
from service.domain.plan import Receipt, Verdict
from service.domain.safe_queue import checksummed
from service.store.tables.keys import accounts
from service.vault.multisig import CAME_IN, Multisigs
from service.vault.safe_rest import TRANSACTIONS
from tests.integration.api.rows import add_activity
from tests.integration.multisig.conftest import SafeHouse, set_state
from tests.support.anvil import CHAIN, ETHER, SAFE_BUILD, data_of
from tests.support.safe_service import FakeSafeService

SAFE_DESTINATION = "0x" + "5afe" * 10
THIEF = "0x" + "bad0" * 10
TOKEN = SAFE_BUILD / "test" / "ERC20Token.sol" / "ERC20Token.json"


def with_token(house: SafeHouse, spelt: Callable[[str], str] = str.lower) -> str:
    """Let the Safe hold a thousand of a registered token and give it a safe destination."""
    token = house.chain.deploy(TOKEN)
    house.chain.send(token, data_of("transfer(address,uint256)", house.address, 1000))
    assets = [f"{CHAIN}/slip44:60", f"{CHAIN}/erc20:{spelt(token)}"]
    with house.house.superuser.begin() as uow:
        uow.connection.execute(update(accounts).where(accounts.c.id == house.account).values(assets=assets))
    house.house.destination(house.account, SAFE_DESTINATION, stated_chain=CHAIN)
    house.house.vault.provision(house.account)
    return str(token)


def held(house: SafeHouse, token: str, holder: str) -> int:
    return int.from_bytes(house.chain.call(token, "balanceOf(address)", holder), "big")


def test_everything_goes_to_the_safe_destination_once_also_with_restricted_keys(safe_house: SafeHouse) -> None:
    house = safe_house
    with pytest.raises(ApprovalError, match="no active, signed safe destination"):
        house.multisigs.sweep(house.account)
    token = with_token(house)
    for owner in house.owners:
        set_state(house, owner, KeyState.RESTRICTED)
    assert house.multisigs.swept(house.account) is Verdict.DOES_NOT_HOLD
    house.multisigs.sweep(house.account)
    assert house.multisigs.swept(house.account) is Verdict.HOLDS
    assert (house.chain.balance(SAFE_DESTINATION), held(house, token, SAFE_DESTINATION)) == (5 * ETHER, 1000)
    used = house.nonce()
    house.multisigs.sweep(house.account)
    assert house.nonce() == used == 2, "a repeat finds nothing to do"


def send_in(house: SafeHouse, token: str, amount: int) -> None:
    house.chain.send(token, data_of("transfer(address,uint256)", house.address, amount))


def swept_again(house: SafeHouse, token: str, amounts: Sequence[int]) -> Receipt:
    """Sweep, then once more for each amount that came in; return the receipt of the last attempt."""
    done = house.multisigs.sweep(house.account)
    for amount in amounts:
        send_in(house, token, amount)
        assert house.multisigs.swept(house.account, done) is Verdict.DOES_NOT_HOLD
        done = house.multisigs.sweep(house.account, done)
        assert house.multisigs.swept(house.account, done) is Verdict.HOLDS
    return done


def test_what_comes_in_after_a_sweep_is_moved_three_times_and_then_from_a_thousandth_on(safe_house: SafeHouse) -> None:
    house = safe_house
    token = with_token(house)
    send_in(house, token, 1996)
    done = swept_again(house, token, [1, 1, 1])
    names = done.facts[TRANSACTIONS]
    assert isinstance(names, dict)
    assert len(names[house.address]) == house.nonce() == 5, "every transaction of the step is in its receipt"
    send_in(house, token, 2)
    assert house.multisigs.swept(house.account, done) is Verdict.HOLDS, "under a thousandth of the 2999 that it moved"
    (rest,) = house.multisigs.rests(house.account, done)
    assert (rest["base_units"], rest["because"]) == ("2", "less than a thousandth of what 4 attempts moved")
    again = house.multisigs.sweep(house.account, done)
    assert house.nonce() == 5, "the guardian pays for nothing"
    send_in(house, token, 1)
    assert house.multisigs.swept(house.account, again) is Verdict.DOES_NOT_HOLD
    last = house.multisigs.sweep(house.account, again)
    assert (held(house, token, SAFE_DESTINATION), house.multisigs.swept(house.account, last)) == (3002, Verdict.HOLDS)
    send_in(house, token, 1)
    assert house.multisigs.swept(house.account) is Verdict.DOES_NOT_HOLD, "another step moves it"


def test_what_is_worth_something_is_moved_however_much_was_moved_before(safe_house: SafeHouse) -> None:
    house = safe_house
    token = with_token(house)
    send_in(house, token, 100_000_000)
    asset = f"{CHAIN}/erc20:{token}"
    with house.house.superuser.begin() as uow:
        for amount, usd in [(10_000, "20000"), (1_000, "1000.00"), (1, "0.99"), (0, "9")]:
            told = {"asset": asset, "amount_base_units": amount, "amount_usd": Decimal(usd)}
            add_activity(uow.connection, account=uow.registry.account(house.account).at.ref, **told)
        add_activity(uow.connection, account="another", asset=asset, amount_base_units=1, amount_usd=Decimal(1000))
    done = swept_again(house, token, [1, 1, 1, 50])
    send_in(house, token, 49)
    assert house.multisigs.swept(house.account, done) is Verdict.HOLDS, "98 of the 100 USD that make it worth moving"
    (rest,) = house.multisigs.rests(house.account, done)
    assert (rest["usd"], rest["because"]) == ("98.00", "less than 100 USD and a thousandth of what 5 attempts moved")
    send_in(house, token, 1)
    assert house.multisigs.swept(house.account, done) is Verdict.DOES_NOT_HOLD


def test_a_locked_safe_is_swept_to_its_one_destination_under_the_lock(safe_house: SafeHouse) -> None:
    house = safe_house
    token = with_token(house)
    house.multisigs.lock(house.account)
    house.multisigs.sweep(house.account)
    assert house.multisigs.swept(house.account) is Verdict.HOLDS
    assert house.multisigs.locked(house.account) is Verdict.HOLDS
    assert (house.chain.balance(SAFE_DESTINATION), held(house, token, SAFE_DESTINATION)) == (5 * ETHER, 1000)


def test_another_destination_waits_a_day_under_the_lock(safe_house: SafeHouse) -> None:
    house = safe_house
    with_token(house)
    house.multisigs.lock(house.account)
    ours, other = str(house.guardian.guard()), "0x" + "0dd0" * 10
    house.guardian.carry(ours, guard.name_destination(house.address, other))
    for _ in range(2):
        with pytest.raises(RefusedByOtherSideError, match="a day after"):
            house.multisigs.sweep(house.account)
    assert house.chain.balance(house.address) == 5 * ETHER
    house.chain.forward(86_400)
    house.multisigs.sweep(house.account)
    assert (house.chain.balance(SAFE_DESTINATION), house.chain.balance(other)) == (5 * ETHER, 0)


def test_a_locked_safe_with_too_few_owners_in_the_vault_is_not_swept_and_a_retired_key_signs_nothing(
    safe_house: SafeHouse,
) -> None:
    house = safe_house
    with_token(house)
    house.multisigs.lock(house.account)
    set_state(house, house.owners[0], KeyState.RETIRED)
    with pytest.raises(RefusedByOtherSideError, match="unlock_multisig"):
        house.multisigs.sweep(house.account)
    house.multisigs.unlock(house.account)
    with pytest.raises(MissingCapabilityError, match="PORTCULLIS_SAFE_SERVICES"):
        house.multisigs.sweep(house.account)
    assert house.multisigs.swept(house.account) is Verdict.DOES_NOT_HOLD


def test_a_token_that_refuses_keeps_nothing_else_back(safe_house: SafeHouse) -> None:
    house = safe_house
    token = with_token(house)
    # Its code becomes one that tells a balance of 32 bytes for every question but reverts when it is sent a transfer.
    refusing = "0x60003560e01c63a9059cbb14601957600160005260206000f35b600080fd"
    house.chain.rpc("anvil_setCode", token, refusing)
    with pytest.raises(RefusedByOtherSideError):
        house.multisigs.sweep(house.account)
    assert house.chain.balance(SAFE_DESTINATION) == 5 * ETHER
    assert house.multisigs.swept(house.account) is Verdict.DOES_NOT_HOLD


def test_where_owners_are_too_few_it_is_proposed_once_and_others_finish_it(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    token = with_token(house)
    set_state(house, house.owners[1], KeyState.RETIRED)
    service.break_next = True
    proposed = multisigs.sweep(house.account).facts["transactions"]
    assert isinstance(proposed, dict)
    assert list(proposed[house.address.lower()]) == list(service.known)
    assert [int(one["nonce"]) for one in service.known.values()] == [0, 1]
    multisigs.sweep(house.account)
    assert len(service.posts) == 2, "what the service knows is not proposed again"
    assert multisigs.swept(house.account) is Verdict.CANNOT_TELL, "it waits for the other owner"
    assert house.nonce() == 0
    finish(house, service)
    assert multisigs.swept(house.account) is Verdict.HOLDS
    assert (house.chain.balance(SAFE_DESTINATION), held(house, token, SAFE_DESTINATION)) == (5 * ETHER, 1000)


def test_a_token_is_one_however_its_registration_spells_it(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    with_token(house, checksummed)
    set_state(house, house.owners[1], KeyState.RETIRED)
    for _ in range(2):
        multisigs.sweep(house.account)
    assert [int(one["nonce"]) for one in service.known.values()] == [0, 1]
    finish(house, service)
    assert multisigs.swept(house.account) is Verdict.HOLDS


def test_a_stolen_key_does_not_keep_the_true_sweep_behind_sweeps_of_next_to_nothing(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    token = with_token(house)
    set_state(house, house.owners[1], KeyState.RETIRED)
    balances = house.chain.rpc("evm_snapshot")
    house.chain.rpc("anvil_impersonateAccount", house.address)
    house.chain.send(token, data_of("transfer(address,uint256)", THIEF, 999), sender=house.address)
    house.chain.fund(house.address, 5 * ETHER)
    multisigs.sweep(house.account)
    house.chain.rpc("evm_revert", balances)
    house.chain.rpc("evm_mine")  # no endpoint goes back
    for _ in range(2):
        multisigs.sweep(house.account)
    paid = [(int(one["nonce"]), int((one["data"] or "0x00")[-64:], 16)) for one in service.known.values()]
    assert paid == [(0, 1), (1, 0), (0, 1000)], "the true sweep takes the nonce of the one that pays next to nothing"


def test_dust_makes_no_second_proposal_and_what_counts_is_proposed_beside_the_first(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    token = with_token(house)
    set_state(house, house.owners[1], KeyState.RETIRED)
    assert "came_in" not in str(multisigs.sweep(house.account).facts)
    house.chain.fund(house.address, 5 * ETHER + 5 * ETHER // 10)
    house.chain.send(token, data_of("transfer(address,uint256)", house.address, 100))
    assert multisigs.swept(house.account) is Verdict.CANNOT_TELL, "dust: what was proposed goes on waiting"
    multisigs.sweep(house.account)
    assert [int(one["nonce"]) for one in service.known.values()] == [0, 1]
    house.chain.fund(house.address, 6 * ETHER)
    house.chain.send(token, data_of("transfer(address,uint256)", house.address, 1))
    assert multisigs.swept(house.account) is Verdict.DOES_NOT_HOLD
    facts = multisigs.sweep(house.account).facts
    asset = f"{CHAIN}/erc20:{token.lower()}"
    assert facts[CAME_IN] == {house.address: {asset: "101", f"{CHAIN}/slip44:60": str(ETHER)}}
    assert [int(one["nonce"]) for one in service.known.values()] == [0, 1, 2, 3], "each at a nonce of its own"
    finish(house, service)
    assert multisigs.swept(house.account) is Verdict.HOLDS
    assert (house.chain.balance(SAFE_DESTINATION), held(house, token, SAFE_DESTINATION)) == (6 * ETHER, 1101)


def test_a_proposal_that_pays_more_than_is_left_is_replaced_and_holes_before_others_are_used_up(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    token = with_token(house)
    set_state(house, house.owners[1], KeyState.RETIRED)
    multisigs.sweep(house.account)
    balances = house.chain.rpc("evm_snapshot")
    house.chain.rpc("anvil_impersonateAccount", house.address)
    house.chain.send(token, data_of("transfer(address,uint256)", THIEF, 400), sender=house.address)
    house.chain.fund(house.address, 5 * ETHER)
    multisigs.sweep(house.account)
    proposed = [(int(one["nonce"]), one["to"].lower() == token.lower()) for one in service.known.values()]
    assert proposed == [(0, True), (1, False), (0, True)], "600 at nonce 0 beside the 1000 that cannot be paid"
    house.chain.rpc("evm_revert", balances)
    house.chain.rpc("anvil_impersonateAccount", house.address)
    house.chain.send(token, data_of("transfer(address,uint256)", THIEF, 1000), sender=house.address)
    house.chain.fund(house.address, 5 * ETHER)
    multisigs.sweep(house.account)
    (*_, last) = service.known.values()
    assert (int(last["nonce"]), last["to"].lower(), last["data"]) == (0, house.address.lower(), None), "a rejection"


def test_a_service_that_says_that_we_signed_something_is_not_believed(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    with_token(house)
    set_state(house, house.owners[1], KeyState.RETIRED)
    service.signer = None
    service.owners = {house.owner(0)}
    service.waits(SAFE_DESTINATION, 1, value=4 * ETHER)
    service.owners = {house.owner(number) for number in range(3)}
    multisigs.sweep(house.account)
    assert [int(one["nonce"]) for one in service.known.values()] == [1, 0, 1], "ours are proposed all the same"


def finish(house: SafeHouse, service: FakeSafeService) -> None:
    """Let the other owner sign and carry what is proposed."""
    for one in sorted(service.known.values(), key=lambda known: int(known["nonce"])):
        data = bytes.fromhex((one["data"] or "0x")[2:])
        house.chain.send(house.address, house.signed(one["to"], data, 0, 2, value=int(one["value"])))


def test_an_owner_s_key_signs_no_sweep_to_anywhere_else(safe_house: SafeHouse) -> None:
    house = safe_house
    with_token(house)
    house.house.forge(house.account, descriptor=THIEF)
    with pytest.raises(ApprovalError):
        house.multisigs.sweep(house.account)
    assert house.nonce() == 0
