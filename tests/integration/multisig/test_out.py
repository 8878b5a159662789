"""Transactions out of a real Safe 1.5.0: swept to the safe destination, what waits rejected, proposed where keys are few."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import update

from hsm.restrictions import KeyState
from service.chain.safe_service import HttpSafeService
from service.domain.errors import ApprovalError, MissingCapabilityError, RefusedByOtherSideError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.store.tables.keys import accounts, vault_keys
from service.vault.multisig import Multisigs
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, SAFE_BUILD, RefusedCallError, data_of
from tests.support.safe_service import FakeSafeService, serving

SAFE_DESTINATION = "0x" + "5afe" * 10
THIEF = "0x" + "bad0" * 10
TOKEN = SAFE_BUILD / "test" / "ERC20Token.sol" / "ERC20Token.json"


@pytest.fixture
def service(safe_house: SafeHouse) -> FakeSafeService:
    owners = [safe_house.owner(number) for number in range(3)]
    return FakeSafeService(CHAIN_ID, safe_house.address, owners)


@pytest.fixture
def multisigs(safe_house: SafeHouse, service: FakeSafeService) -> Iterator[Multisigs]:
    with serving(service) as url:
        client = HttpSafeService(url)
        yield replace(safe_house.multisigs, services={CHAIN: client})
        client.close()


def with_token(house: SafeHouse) -> str:
    """Let the Safe hold a thousand of a registered token and give it a safe destination."""
    token = house.chain.deploy(TOKEN)
    house.chain.send(token, data_of("transfer(address,uint256)", house.address, 1000))
    assets = [f"{CHAIN}/slip44:60", f"{CHAIN}/erc20:{token.lower()}"]
    with house.house.superuser.begin() as uow:
        uow.connection.execute(update(accounts).where(accounts.c.id == house.account).values(assets=assets))
    house.house.destination(house.account, SAFE_DESTINATION, stated_chain=CHAIN)
    house.house.vault.provision(house.account)
    return str(token)


def held(house: SafeHouse, token: str, holder: str) -> int:
    return int.from_bytes(house.chain.call(token, "balanceOf(address)", holder), "big")


def set_state(house: SafeHouse, account: AccountId, state: KeyState) -> None:
    with house.house.superuser.begin() as uow:
        uow.connection.execute(update(vault_keys).where(vault_keys.c.account_id == account).values(state=state.value))


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


def test_a_locked_safe_is_not_swept_and_a_retired_key_signs_nothing(safe_house: SafeHouse) -> None:
    house = safe_house
    with_token(house)
    house.multisigs.lock(house.account)
    with pytest.raises(RefusedByOtherSideError, match="unlock_multisig"):
        house.multisigs.sweep(house.account)
    house.multisigs.unlock(house.account)
    set_state(house, house.owners[0], KeyState.RETIRED)
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
    for one in list(service.known.values()):
        data = bytes.fromhex((one["data"] or "0x")[2:])
        house.chain.send(house.address, house.signed(one["to"], data, 0, 2, value=int(one["value"])))
    assert multisigs.swept(house.account) is Verdict.HOLDS
    assert (house.chain.balance(SAFE_DESTINATION), held(house, token, SAFE_DESTINATION)) == (5 * ETHER, 1000)


def test_what_waits_is_rejected_and_dead_also_under_the_lock(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    with pytest.raises(MissingCapabilityError, match="PORTCULLIS_SAFE_SERVICES"):
        house.multisigs.reject_pending(house.account)
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS
    thefts = [house.signed(THIEF, b"", 0, 2, value=ETHER, nonce=nonce) for nonce in range(4)]
    service.waits(THIEF, 0, value=ETHER)
    service.waits(THIEF, 1, value=ETHER)
    multisigs.lock(house.account)
    locked_at = house.nonce()
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS, "the lock itself used those nonces up"
    service.waits(house.address, locked_at + 1, gas_price=1)  # empty, but its refund pays
    assert multisigs.pending_rejected(house.account) is Verdict.DOES_NOT_HOLD
    multisigs.reject_pending(house.account)
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS
    assert house.nonce() == locked_at + 2
    multisigs.unlock(house.account)
    for theft in thefts[: house.nonce()]:
        with pytest.raises(RefusedCallError, match="GS026"):
            house.chain.send(house.address, theft)


def test_rejections_are_proposed_where_owners_are_too_few(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    set_state(house, house.owners[1], KeyState.RETIRED)
    service.waits(THIEF, 0, value=ETHER)
    service.waits(THIEF, 500, value=ETHER)
    multisigs.reject_pending(house.account)
    assert len(service.posts) == 1, "what is far ahead runs only after as many others"
    assert multisigs.pending_rejected(house.account) is Verdict.CANNOT_TELL
    house.chain.send(house.address, house.signed(house.address, b"", 0, 2))
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS


def test_an_owner_s_key_signs_no_sweep_to_anywhere_else(safe_house: SafeHouse) -> None:
    house = safe_house
    with_token(house)
    house.house.forge(house.account, descriptor=THIEF)
    with pytest.raises(ApprovalError):
        house.multisigs.sweep(house.account)
    assert house.nonce() == 0
