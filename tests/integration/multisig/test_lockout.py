"""The lockout on a real Safe 1.5.0: what is refused, what goes on, and who alone takes it back."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import update

from service.chain.evm import JsonRpcChain
from service.domain import guard, safe
from service.domain.decode.call import selector
from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError, UnavailableError
from service.domain.evm import Fee
from service.domain.plan import Verdict
from service.store.tables.keys import accounts
from service.vault.guardian import Guardian
from service.vault.multisig import SIGNED_OFF_CHAIN, Multisigs
from service.vault.safes import Safe, UsurpedSafeError
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, ROOT, SAFE_BUILD, RefusedCallError, data_of

THIEF = "0x" + "bad0" * 10
TOKEN = SAFE_BUILD / "test" / "ERC20Token.sol" / "ERC20Token.json"
HANDLER = SAFE_BUILD / "handler" / "CompatibilityFallbackHandler.sol" / "CompatibilityFallbackHandler.json"
NONCE_SLOT = "0x5"
USURPER = ROOT / "drills" / "contracts" / "Usurper.json"
SWEEP = data_of("sweep(address,address,uint256)", safe.ZERO, THIEF, 5 * ETHER)
DEAD, NO_ENDPOINT = "eip155:5", "eip155:6"


def test_the_lock_is_installed_and_tripped_and_nothing_leaves(
    safe_house: SafeHouse, record_property: Callable[[str, object], None]
) -> None:
    house = safe_house
    assert house.multisigs.locked(house.account) is Verdict.DOES_NOT_HOLD
    began = time.perf_counter()
    house.multisigs.lock(house.account)
    record_property("lockout_with_install_ms", round(1000 * (time.perf_counter() - began)))
    assert house.multisigs.locked(house.account) is Verdict.HOLDS
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(house.address, house.signed(THIEF, b"", 0, 2, value=ETHER))
    assert house.chain.balance(house.address) == 5 * ETHER
    house.multisigs.lock(house.account)
    assert house.multisigs.locked(house.account) is Verdict.HOLDS, "a repeat changes nothing"


def test_what_owners_sign_off_the_chain_still_counts_and_the_receipt_names_it(safe_house: SafeHouse) -> None:
    house = safe_house
    assert set(house.multisigs.lock(house.account).facts) == {"guards"}, "without a handler nothing is checked"
    house.multisigs.unlock(house.account)
    handler = house.chain.deploy(HANDLER).lower()
    slot = "0x" + safe.HANDLER_SLOT.hex()
    house.chain.rpc("anvil_setStorageAt", house.address, slot, "0x" + bytes.fromhex(handler[2:]).rjust(32, b"\0").hex())
    told = house.multisigs.lock(house.account)
    assert told.facts[SIGNED_OFF_CHAIN] == {house.address: handler}
    order = bytes(range(32))
    digest = house.chain.call(house.address, "getMessageHash(bytes)", order)
    signatures = sorted((bytes.fromhex(house.owner(n)[2:]), house.sign(n, digest)) for n in (0, 2))
    packed = b"".join(signature for _, signature in signatures)
    answer = house.chain.call(house.address, "isValidSignature(bytes32,bytes)", order, packed)
    assert answer[:4] == selector("isValidSignature(bytes32,bytes)"), "the magic value of EIP-1271"


def test_what_was_allowed_before_is_refused_by_the_lock_alone(safe_house: SafeHouse) -> None:
    house = safe_house
    theft = house.signed(THIEF, b"", 0, 2, value=ETHER)
    house.chain.rpc("eth_estimateGas", {"from": house.chain.people[0], "to": house.address, "data": "0x" + theft.hex()})
    token = house.chain.deploy(TOKEN)
    house.chain.send(token, data_of("transfer(address,uint256)", house.address, 1000))
    house.multisigs.lock(house.account)
    paid = data_of("transfer(address,uint256)", THIEF, 1000)
    for call in (house.signed(THIEF, b"", 0, 2, value=ETHER), house.signed(token, paid, 0, 2)):
        with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
            house.chain.send(house.address, call)
    house.multisigs.unlock(house.account)
    assert house.multisigs.locked(house.account) is Verdict.DOES_NOT_HOLD
    house.chain.send(house.address, house.signed(token, paid, 0, 2))
    assert int.from_bytes(house.chain.call(token, "balanceOf(address)", THIEF), "big") == 1000


def test_an_attackers_quorum_neither_removes_the_guard_nor_changes_owners(safe_house: SafeHouse) -> None:
    house = safe_house
    house.multisigs.lock(house.account)
    state = _read(house)
    attempts = (
        safe.set_guard(safe.ZERO),
        safe.set_module_guard(safe.ZERO),
        data_of("enableModule(address)", THIEF),
        safe.swap_owner(state, house.owner(0), THIEF),
        data_of("changeThreshold(uint256)", 1),
    )
    for data in attempts:
        with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
            house.chain.send(house.address, house.signed(house.address, data, 0, 2))
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(house.address, house.signed(THIEF, b"", 0, 2, operation=1))
    assert _read(house) == state


def test_even_the_guardian_carries_nothing_that_pays(safe_house: SafeHouse) -> None:
    house = safe_house
    house.multisigs.lock(house.account)
    refund = house.signed(house.address, data_of("changeThreshold(uint256)", 2), 0, 1, gas_price=10**9)
    theft = house.signed(THIEF, b"", 0, 1, value=ETHER)
    usurped = house.signed(THIEF, b"", 0, 1, operation=1)
    unguarded = house.signed(house.address, safe.set_guard(safe.ZERO), 0, 1)
    for call in (refund, theft, usurped, unguarded):
        with pytest.raises(RefusedByOtherSideError):
            house.guardian.carry(house.address, call)


def test_modules_are_refused(safe_house: SafeHouse) -> None:
    house = safe_house
    module = house.chain.people[3]
    house.chain.send(house.address, house.signed(house.address, data_of("enableModule(address)", module), 0, 1))
    pay = data_of("execTransactionFromModule(address,uint256,bytes,uint8)", THIEF, ETHER, b"", 0)
    house.chain.rpc("eth_estimateGas", {"from": module, "to": house.address, "data": "0x" + pay.hex()})
    house.multisigs.lock(house.account)
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(house.address, pay, sender=module)
    house.multisigs.unlock(house.account)
    unguard = data_of(
        "execTransactionFromModule(address,uint256,bytes,uint8)", house.address, 0, safe.set_guard(safe.ZERO), 0
    )
    with pytest.raises(RefusedCallError, match=error("FunctionRefused(bytes4)")):
        house.chain.send(house.address, unguard, sender=module)
    house.chain.send(house.address, pay, sender=module)


def test_only_the_guardian_lifts_and_only_the_recovery_appoints(safe_house: SafeHouse) -> None:
    house = safe_house
    house.multisigs.lock(house.account)
    ours = str(house.guardian.guard())
    for sender in house.chain.people[:2]:
        with pytest.raises(RefusedCallError, match=error("OnlyGuardian()")):
            house.chain.send(ours, guard.lift(house.address), sender=sender)
        with pytest.raises(RefusedCallError, match=error("OnlyRecovery()")):
            house.chain.send(ours, data_of("appoint(address)", sender), sender=sender)
    recovery = "0x" + "ec" * 20
    house.chain.fund(recovery)
    house.chain.rpc("anvil_impersonateAccount", recovery)
    house.chain.send(ours, data_of("appoint(address)", house.chain.people[1]), sender=recovery)
    house.chain.send(ours, guard.lift(house.address), sender=house.chain.people[1])
    assert house.guardian.guard() is None, "a guard that obeys another guardian is not ours"


def test_owner_management_goes_on_under_the_lock_and_a_theft_signed_before_is_dead(safe_house: SafeHouse) -> None:
    house = safe_house
    theft = house.signed(THIEF, b"", 0, 2, value=ETHER, nonce=(at := 5))
    house.multisigs.lock(house.account)
    house.multisigs.replace_owner(house.account, house.owner(2), house.spare)
    assert house.multisigs.owner_replaced(house.account, house.owner(2), house.spare) is Verdict.HOLDS
    house.multisigs.unlock(house.account)
    # The Safe is put back to the very nonce that the theft was signed for: what makes it dead is the owner who is gone.
    house.chain.rpc("anvil_setStorageAt", house.address, NONCE_SLOT, "0x" + at.to_bytes(32, "big").hex())
    with pytest.raises(RefusedCallError, match="GS026"):
        house.chain.send(house.address, theft)
    assert house.nonce() == at
    house.chain.send(house.address, house.signed(THIEF, b"", 0, 1, value=ETHER))
    assert house.chain.balance(THIEF) == ETHER, "the same transfer at the same nonce, signed by owners, is a good one"


def test_a_theft_signed_before_is_good_while_its_signer_is_an_owner(safe_house: SafeHouse) -> None:
    house = safe_house
    theft = house.signed(THIEF, b"", 0, 2, value=ETHER, nonce=5)
    house.chain.rpc("anvil_setStorageAt", house.address, NONCE_SLOT, "0x" + (5).to_bytes(32, "big").hex())
    house.chain.send(house.address, theft)
    assert house.chain.balance(THIEF) == ETHER


def test_an_owner_is_removed_and_the_threshold_stays(safe_house: SafeHouse) -> None:
    house = safe_house
    house.multisigs.lock(house.account)
    assert house.multisigs.owner_removed(house.account, house.owner(2)) is Verdict.DOES_NOT_HOLD
    house.multisigs.remove_owner(house.account, house.owner(2))
    assert house.multisigs.owner_removed(house.account, house.owner(2)) is Verdict.HOLDS
    assert _read(house).threshold == 2
    house.multisigs.remove_owner(house.account, house.owner(2))
    with pytest.raises(RefusedByOtherSideError, match="1 owners cannot meet the threshold of 2"):
        house.multisigs.remove_owner(house.account, house.owner(1))


def test_the_owner_who_goes_does_not_sign_and_too_few_others_say_so(safe_house: SafeHouse) -> None:
    house = safe_house
    with pytest.raises(MissingCapabilityError, match="needs 2 signatures and the vault has active keys of 1"):
        house.multisigs.replace_owner(house.account, house.owner(1), house.spare)


def test_an_armed_guard_stays_until_its_leave_was_announced_long_enough(safe_house: SafeHouse) -> None:
    house = safe_house
    house.multisigs.lock(house.account)
    house.multisigs.unlock(house.account)
    ours = str(house.guardian.guard())
    leave = house.signed(house.address, safe.set_guard(safe.ZERO), 0, 2)
    with pytest.raises(RefusedCallError, match=error("FunctionRefused(bytes4)")):
        house.chain.send(house.address, leave)
    with pytest.raises(RefusedCallError, match=error("DelegatecallRefused()")):
        house.chain.send(house.address, house.signed(THIEF, b"", 0, 2, operation=1))
    house.chain.send(house.address, house.signed(ours, data_of("announceLeave()"), 0, 2))
    house.chain.forward(3 * 86_400 - 60)
    with pytest.raises(RefusedCallError, match=error("FunctionRefused(bytes4)")):
        house.chain.send(house.address, house.signed(house.address, safe.set_guard(safe.ZERO), 0, 2))
    house.chain.forward(60)
    kept = house.chain.rpc("evm_snapshot")
    house.chain.send(house.address, house.signed(house.address, safe.set_guard(safe.ZERO), 0, 2))
    assert _read(house).guard == safe.ZERO
    house.chain.rpc("evm_revert", kept)
    house.guardian.carry(ours, guard.lock(house.address))
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(house.address, house.signed(house.address, safe.set_guard(safe.ZERO), 0, 2))
    house.guardian.carry(ours, guard.lift(house.address))
    with pytest.raises(RefusedCallError, match=error("FunctionRefused(bytes4)")):
        house.chain.send(house.address, house.signed(house.address, safe.set_guard(safe.ZERO), 0, 2))


def test_a_leave_ends_by_itself(safe_house: SafeHouse) -> None:
    house = safe_house
    house.multisigs.lock(house.account)
    house.multisigs.unlock(house.account)
    house.chain.send(house.address, house.signed(str(house.guardian.guard()), data_of("announceLeave()"), 0, 2))
    house.chain.forward(10 * 86_400)
    with pytest.raises(RefusedCallError, match=error("FunctionRefused(bytes4)")):
        house.chain.send(house.address, house.signed(house.address, safe.set_guard(safe.ZERO), 0, 2))


def test_a_delegatecall_that_usurps_the_safe_is_refused_by_an_armed_guard(safe_house: SafeHouse) -> None:
    house = safe_house
    usurper = house.chain.deploy(USURPER)
    shown_as = data_of("transfer(address,uint256)", usurper, 0)
    theft = house.signed(usurper, shown_as, 0, 2, operation=1)
    before = house.chain.rpc("evm_snapshot")
    house.chain.send(house.address, theft)
    house.chain.send(house.address, SWEEP)
    assert house.chain.balance(THIEF) == 5 * ETHER, "without a guard everything is gone"
    house.chain.rpc("evm_revert", before)
    house.multisigs.lock(house.account)
    house.multisigs.unlock(house.account)
    with pytest.raises(RefusedCallError, match=error("DelegatecallRefused()")):
        house.chain.send(house.address, house.signed(usurper, shown_as, 0, 2, operation=1))


def test_after_a_theft_from_one_safe_what_is_left_in_another_of_the_same_owners_is_locked_in_time(
    safe_house: SafeHouse, record_property: Callable[[str, object], None]
) -> None:
    house = safe_house
    left = house.chain.safe([house.owner(n) for n in range(3)], 2)
    house.chain.fund(left, 3 * ETHER)
    account = house.house.account(assets=(f"{CHAIN}/slip44:60",), holder="multisig")
    with house.house.superuser.begin() as uow:
        uow.connection.execute(update(accounts).where(accounts.c.id == account).values(ref=f"{CHAIN}:{left}"))
    usurper = house.chain.deploy(USURPER)
    shown_as = data_of("transfer(address,uint256)", usurper, 0)
    house.chain.send(house.address, house.signed(usurper, shown_as, 0, 2, operation=1))
    other = replace(house, account=account, address=left)
    next_theft = other.signed(usurper, shown_as, 0, 2, operation=1, nonce=2)
    began = time.perf_counter()
    house.multisigs.lock(account)
    record_property("lock_what_is_left_ms", round(1000 * (time.perf_counter() - began)))
    assert house.multisigs.locked(account) is Verdict.HOLDS
    house.chain.send(house.address, SWEEP)
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(left, next_theft)
    assert (house.chain.balance(THIEF), house.chain.balance(left)) == (5 * ETHER, 3 * ETHER)
    assert house.multisigs.locked(house.account) is Verdict.DOES_NOT_HOLD, "what was usurped asks no guard"
    with pytest.raises(UsurpedSafeError, match=usurper):
        house.multisigs.lock(house.account)


def test_a_foreign_guard_is_left_alone(safe_house: SafeHouse) -> None:
    house = safe_house
    other = house.chain.deploy(SAFE_BUILD / "examples" / "guards" / "OnlyOwnersGuard.sol" / "OnlyOwnersGuard.json")
    house.chain.send(house.address, house.signed(house.address, safe.set_guard(other), 0, 1))
    with pytest.raises(RefusedByOtherSideError, match="another transaction guard"):
        house.multisigs.lock(house.account)
    assert _read(house).guard == other.lower()


def test_a_dead_chain_keeps_no_other_safe_open(safe_house: SafeHouse) -> None:
    house = safe_house
    _addresses(house, f"{DEAD}:{house.address}", f"{NO_ENDPOINT}:{house.address}", f"{CHAIN}:{house.address}")
    away = JsonRpcChain("http://127.0.0.1:1", 5)
    multisigs = Multisigs(house.house.parts, lambda chain: _guardian(house, chain, away))
    assert multisigs.unlocked(house.account) is Verdict.CANNOT_TELL
    with pytest.raises(UnavailableError, match=r"did not answer.*no endpoint"):
        multisigs.lock(house.account)
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(house.address, house.signed(THIEF, b"", 0, 2, value=ETHER))
    assert multisigs.locked(house.account) is Verdict.CANNOT_TELL
    house.guardian.carry(str(house.guardian.guard()), guard.lift(house.address))
    assert multisigs.locked(house.account) is Verdict.DOES_NOT_HOLD, "so the step runs again while the other is away"
    assert multisigs.unlocked(house.account) is Verdict.CANNOT_TELL
    away.close()


def test_a_foreign_guard_keeps_no_other_safe_open_and_one_free_safe_is_no_unlock(safe_house: SafeHouse) -> None:
    house = safe_house
    other = house.chain.deploy(SAFE_BUILD / "examples" / "guards" / "OnlyOwnersGuard.sol" / "OnlyOwnersGuard.json")
    second = replace(house, address=house.chain.safe([house.owner(n) for n in range(3)], 2))
    house.chain.send(house.address, house.signed(house.address, safe.set_guard(other), 0, 1))
    _addresses(house, f"{CHAIN}:{house.address}", f"{CHAIN}:{second.address}")
    with pytest.raises(RefusedByOtherSideError, match="another transaction guard"):
        house.multisigs.lock(house.account)
    assert _read(second).guard == house.guardian.guard()
    with pytest.raises(RefusedCallError, match=error("SafeIsLocked()")):
        house.chain.send(second.address, second.signed(THIEF, b"", 0, 2))
    assert house.multisigs.locked(house.account) is Verdict.DOES_NOT_HOLD
    assert house.multisigs.unlocked(house.account) is Verdict.DOES_NOT_HOLD
    house.multisigs.unlock(house.account)
    assert house.multisigs.unlocked(house.account) is Verdict.HOLDS


@pytest.mark.parametrize("told", ["by the estimate", "by the receipt"])
def test_a_transaction_of_the_safe_that_comes_first_ends_no_step(safe_house: SafeHouse, told: str) -> None:
    house = safe_house
    first = house.signed(house.owner(0), b"", 0, 2, value=1)

    class Overtaken(JsonRpcChain):
        """Another transaction of the Safe comes in between, once: before ours is estimated, or before it is sent."""

        left = 1

        def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
            if told == "by the estimate":
                self._overtake(to)
            return super().estimate(sender, to, data, value)

        def fee(self) -> Fee:
            self._overtake(house.address)
            return super().fee()

        def _overtake(self, to: str | None) -> None:
            if to == house.address and self.left:
                self.left = 0
                house.chain.send(house.address, first)

    house.guardian.create_guard()
    chain = Overtaken(house.chain.url, CHAIN_ID)
    guardian = replace(house.guardian, chain=chain)
    multisigs = Multisigs(house.house.parts, lambda _: guardian)
    with pytest.raises(UnavailableError, match="used nonce 0 first"):
        multisigs.lock(house.account)
    multisigs.lock(house.account)
    assert house.multisigs.locked(house.account) is Verdict.HOLDS
    chain.close()


def test_without_recovery_or_coin_nothing_is_begun(safe_house: SafeHouse) -> None:
    house = safe_house
    house.chain.rpc("anvil_setBalance", house.guardian.address, "0x0")
    with pytest.raises((UnavailableError, RefusedByOtherSideError)):
        house.multisigs.lock(house.account)
    assert house.guardian.guard() is None
    assert _read(house).guard == safe.ZERO


def _addresses(house: SafeHouse, *addresses: str) -> None:
    with house.house.superuser.begin() as uow:
        uow.connection.execute(update(accounts).where(accounts.c.id == house.account).values(addresses=list(addresses)))


def _guardian(house: SafeHouse, chain: str, away: JsonRpcChain) -> Guardian:
    if chain == NO_ENDPOINT:
        raise MissingCapabilityError(f"there is no endpoint of {chain}")
    return replace(house.guardian, chain=away) if chain == DEAD else house.guardian


def error(signature: str) -> str:
    return selector(signature).hex()


def _read(house: SafeHouse) -> safe.SafeState:
    return Safe(house.house.parts, house.guardian, house.account, house.address).read()
