"""What a locked Safe may pay, by the guard alone: its one destination, in one shape, carried by the guardian."""

import pytest

from service.domain import guard
from service.domain.decode.call import selector
from service.domain.errors import RefusedByOtherSideError
from service.domain.safe import ZERO
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import ETHER, SAFE_BUILD, RefusedCallError, data_of

SAFE_DESTINATION = "0x" + "5afe" * 10
THIEF = "0x" + "bad0" * 10
TOKEN = SAFE_BUILD / "test" / "ERC20Token.sol" / "ERC20Token.json"
PAID = data_of("transfer(address,uint256)", SAFE_DESTINATION, 1000)


def error(signature: str) -> str:
    return selector(signature).hex()


def locked(house: SafeHouse, *, named: bool = True) -> tuple[str, str]:
    """Lock a Safe that holds coin and a token, and name its destination; returns guard and token."""
    token = house.chain.deploy(TOKEN)
    house.chain.send(token, data_of("transfer(address,uint256)", house.address, 1000))
    house.multisigs.lock(house.account)
    ours = str(house.guardian.guard())
    if named:
        house.guardian.carry(ours, guard.name_destination(house.address, SAFE_DESTINATION))
    return ours, token


def test_coin_and_token_go_there_carried_by_the_guardian_and_by_nobody_else(safe_house: SafeHouse) -> None:
    house = safe_house
    _, token = locked(house)
    coin = house.signed(SAFE_DESTINATION, b"", 0, 2, value=ETHER)
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(house.address, coin)
    house.guardian.carry(house.address, coin)
    house.guardian.carry(house.address, house.signed(token, PAID, 0, 2))
    assert house.chain.balance(SAFE_DESTINATION) == ETHER
    assert int.from_bytes(house.chain.call(token, "balanceOf(address)", SAFE_DESTINATION), "big") == 1000


def test_nothing_like_it_passes_even_carried_by_the_guardian(safe_house: SafeHouse) -> None:
    house = safe_house
    ours, token = locked(house)
    to_thief = data_of("transfer(address,uint256)", THIEF, 1000)
    approves = data_of("approve(address,uint256)", SAFE_DESTINATION, 1000)
    attempts: list[tuple[str, bytes, int, dict[str, int]]] = [
        (THIEF, b"", ETHER, {}),
        (SAFE_DESTINATION, b"", 0, {}),
        (SAFE_DESTINATION, b"\x00", ETHER, {}),
        (SAFE_DESTINATION, b"", ETHER, {"gas_price": 1}),
        (SAFE_DESTINATION, b"", ETHER, {"operation": 1}),
        (token, PAID, 1, {}),
        (token, PAID, 0, {"operation": 1}),
        (token, PAID, 0, {"gas_price": 1}),
        (token, PAID + b"\x00", 0, {}),
        (token, PAID[:-1], 0, {}),
        (token, PAID[:4] + b"\x01" + PAID[5:], 0, {}),
        (token, to_thief, 0, {}),
        (token, approves, 0, {}),
        (house.address, PAID, 0, {}),
        (ours, PAID, 0, {}),
    ]
    for to, data, value, more in attempts:
        with pytest.raises(RefusedByOtherSideError):
            house.guardian.carry(house.address, house.signed(to, data, 0, 2, value=value, **more))
    assert house.chain.balance(house.address) == 5 * ETHER
    assert int.from_bytes(house.chain.call(token, "balanceOf(address)", house.address), "big") == 1000
    house.guardian.carry(house.address, house.signed(token, PAID, 0, 2))


def test_without_a_destination_nothing_leaves_and_the_zero_address_is_none(safe_house: SafeHouse) -> None:
    house = safe_house
    ours, token = locked(house, named=False)
    for to, data, value in ((SAFE_DESTINATION, b"", ETHER), (ZERO, b"", ETHER), (token, PAID, 0)):
        with pytest.raises(RefusedByOtherSideError):
            house.guardian.carry(house.address, house.signed(to, data, 0, 2, value=value))
    for wrong in (ZERO, house.address, ours):
        with pytest.raises(RefusedByOtherSideError):
            house.guardian.carry(ours, guard.name_destination(house.address, wrong))
    for sender in house.chain.people[:2]:
        with pytest.raises(RefusedCallError, match=error("OnlyGuardian()")):
            house.chain.send(ours, guard.name_destination(house.address, THIEF), sender=sender)


def test_another_destination_counts_a_day_later_and_is_taken_back_by_naming_the_present_one(
    safe_house: SafeHouse,
) -> None:
    house = safe_house
    ours, _ = locked(house)

    def present() -> str:
        return "0x" + house.chain.call(ours, "destinationOf(address)", house.address)[-20:].hex()

    house.guardian.carry(ours, guard.name_destination(house.address, THIEF))
    house.guardian.carry(ours, guard.name_destination(house.address, SAFE_DESTINATION))
    house.chain.forward(86_401)
    assert present() == SAFE_DESTINATION, "taken back"
    house.guardian.carry(ours, guard.name_destination(house.address, THIEF))
    house.chain.forward(86_300)
    assert present() == SAFE_DESTINATION
    with pytest.raises(RefusedByOtherSideError):
        house.guardian.carry(house.address, house.signed(THIEF, b"", 0, 2, value=ETHER))
    house.chain.forward(101)
    assert present() == THIEF
    with pytest.raises(RefusedByOtherSideError):
        house.guardian.carry(house.address, house.signed(SAFE_DESTINATION, b"", 0, 2, value=ETHER))


def test_a_module_pays_nobody_while_locked_not_even_the_destination(safe_house: SafeHouse) -> None:
    house = safe_house
    module = house.chain.people[3]
    house.chain.send(house.address, house.signed(house.address, data_of("enableModule(address)", module), 0, 1))
    locked(house)
    pay = data_of("execTransactionFromModule(address,uint256,bytes,uint8)", SAFE_DESTINATION, ETHER, b"", 0)
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(house.address, pay, sender=module)
