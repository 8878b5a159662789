"""What waits at a Safe transaction service is rejected on a real Safe 1.5.0, as far as owners signed it and gas allows."""

import time
from dataclasses import replace

import pytest
from eth_account.messages import encode_defunct
from eth_typing import Hash32
from sqlalchemy import select

from hsm.restrictions import KeyState
from service.chain.evm import JsonRpcChain
from service.domain.errors import (
    HourSpentError,
    MissingCapabilityError,
    UnavailableError,
)
from service.domain.plan import Verdict
from service.domain.safe_queue import Claim, Queued
from service.ports.chain import Mined
from service.store.tables.proof import outbox
from service.vault import purse
from service.vault.multisig import Multisigs
from service.vault.purse import HOUR, Purse
from service.vault.safe_waiting import signers, to_reject
from service.vault.safes import Safe
from tests.integration.multisig.conftest import SafeHouse, set_state
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, RefusedCallError, data_of
from tests.support.safe_service import FakeSafeService

THIEF = "0x" + "bad0" * 10


def enough_sign(house: SafeHouse, service: FakeSafeService) -> None:
    """Let a second owner sign whatever one of them signed."""
    for name in list(service.known):
        service.confirm(name, "0x" + house.sign(0, bytes.fromhex(name[2:])).hex())


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
    service.waits(house.address, locked_at + 1, gas_price=1)  # empty, but its refund pays; nothing waits before it
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS, "one of three owners moves nothing out of a lock"
    enough_sign(house, service)
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


def test_what_no_owner_signed_burns_no_nonce_and_no_coin_of_the_guardian(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    service.signer = None
    for nonce in range(20):
        service.waits(THIEF, nonce, value=ETHER)
    coin = house.chain.balance(house.guardian.address)
    multisigs.reject_pending(house.account)
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS
    service.more = True
    with pytest.raises(UnavailableError, match="not believed"):
        multisigs.reject_pending(house.account)
    assert multisigs.pending_rejected(house.account) is Verdict.CANNOT_TELL
    assert (house.nonce(), house.chain.balance(house.guardian.address)) == (0, coin)


def test_what_lacks_one_signature_is_rejected_in_one_attempt_and_not_at_all_under_the_lock(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    for nonce in (0, 2):
        service.waits(THIEF, nonce, value=ETHER)
    multisigs.reject_pending(house.account)
    assert house.nonce() == 3, "a thief with one key, never shown, executes the later ones after the first rejection"
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS
    multisigs.lock(house.account)
    used, coin = house.nonce(), house.chain.balance(house.guardian.address)
    for nonce in range(used, used + 20):
        service.waits(THIEF, nonce, value=ETHER)
    assert multisigs.pending_rejected(house.account) is Verdict.HOLDS
    multisigs.reject_pending(house.account)
    assert (house.nonce(), house.chain.balance(house.guardian.address)) == (used, coin)


def test_what_enough_owners_signed_is_rejected_however_far_ahead_and_only_what_is_next_besides(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    service.waits(THIEF, 2, value=ETHER)
    safe = Safe(house.house.parts, house.guardian, house.account, house.address)

    def found(threshold: int, *, locked: bool = False) -> range:
        waiting = multisigs.services[CHAIN].pending(house.address, 0)
        return to_reject(safe, replace(safe.read(), threshold=threshold), waiting, locked=locked)

    assert found(1) == found(1, locked=True) == found(2) == range(3), "a threshold of one needs its one signature"
    assert found(3) == found(2, locked=True) == range(0), "one of three: it would take two keys that nobody was shown"
    enough_sign(house, service)
    assert found(3) == found(2) == found(2, locked=True) == range(3)
    assert found(3, locked=True) == range(0)
    service.waits(THIEF, 3, value=ETHER)
    service.waits(THIEF, 4, value=ETHER)
    assert (found(2), found(3), found(2, locked=True)) == (range(5), range(4), range(3))


def test_a_flood_that_an_owner_signed_is_believed(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    service.waits(house.address, 5)
    service.waits(house.address, 4)
    service.more = True
    safe = Safe(house.house.parts, house.guardian, house.account, house.address)
    waiting = multisigs.services[CHAIN].pending(house.address, 0)
    for locked in (False, True):
        assert to_reject(safe, safe.read(), waiting, locked=locked) == range(6), "what it hides is not after its last"


def test_rejecting_stops_where_others_used_the_nonces_meanwhile(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs
) -> None:
    house = safe_house
    for nonce in range(3):
        service.waits(THIEF, nonce, value=ETHER)
    enough_sign(house, service)
    empties = [house.signed(house.address, b"", 0, 2, nonce=nonce) for nonce in range(1, 3)]

    class Overtaken(JsonRpcChain):
        """After our first rejection the other owners use up the other two."""

        def mined(self, transaction_hash: str) -> Mined | None:
            found = super().mined(transaction_hash)
            if found is not None and house.nonce() == 1:
                for one in empties:
                    house.chain.send(house.address, one)
            return found

    house.guardian.create_guard()
    chain = Overtaken(house.chain.url, CHAIN_ID)
    overtaken = replace(
        multisigs, guardian=lambda _: replace(house.guardian, chain=chain, until=time.monotonic() + 120)
    )
    done = overtaken.reject_pending(house.account).facts["rejections"]
    assert isinstance(done, dict)
    assert [len(one) for one in done.values()] == [1]
    assert house.nonce() == 3, "none of ours came after the last one that waited"
    chain.close()


def test_rejections_get_half_of_the_guardian_s_hour_and_the_lock_the_rest(
    safe_house: SafeHouse, service: FakeSafeService, multisigs: Multisigs, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = safe_house
    guardian = replace(house.guardian, purse=Purse(house.house.parts.db, CHAIN))
    bounded = replace(multisigs, guardian=lambda _: replace(guardian, until=time.monotonic() + 120))
    bounded.lock(house.account)
    bounded.unlock(house.account)
    with house.house.superuser.begin() as uow:
        used = uow.keys.guardian_gas(CHAIN, uow.now - HOUR, besides=-1)
    monkeypatch.setattr(purse, "MOST_GAS_PER_HOUR", 2 * used + 200_000)
    for nonce in range(house.nonce(), house.nonce() + 4):
        service.waits(THIEF, nonce, value=ETHER)
    enough_sign(house, service)
    before = house.nonce()
    for _ in range(2):
        with pytest.raises(HourSpentError, match="for rejections"):
            bounded.reject_pending(house.account)
    assert before <= house.nonce() < before + 4
    with house.house.superuser.begin() as uow:
        told = list(
            uow.connection.execute(select(outbox.c.payload).where(outbox.c.event == "guardian_spent")).scalars()
        )
    assert 1 <= len(told) <= 2, "once an hour"
    assert told[0]["chain"] == CHAIN
    bounded.lock(house.account)
    assert bounded.locked(house.account) is Verdict.HOLDS
    monkeypatch.setattr(purse, "MOST_GAS_PER_HOUR", used)
    with pytest.raises(HourSpentError, match="for everything"):
        bounded.unlock(house.account)


@pytest.mark.parametrize("how", ["eth_sign", "approved", "nobody approved", "no contract", "too short", "wrong owner"])
def test_which_signatures_count_as_an_owner_s(safe_house: SafeHouse, how: str) -> None:
    house = safe_house
    one = Safe(house.house.parts, house.guardian, house.account, house.address)
    bare = Queued(0, THIEF, ETHER, b"", 0)
    digest, owner = bare.digest(CHAIN_ID, house.address), str(house.outsider.address).lower()
    by_r = bytes(12) + bytes.fromhex(owner[2:]) + bytes(32)
    signature = by_r + bytes([0 if how == "no contract" else 1])
    if how == "eth_sign":
        signed = bytes(house.outsider.sign_message(encode_defunct(digest)).signature)
        signature = signed[:64] + bytes([signed[64] + 4])
    elif how == "approved":
        house.chain.fund(owner)
        house.chain.rpc("anvil_impersonateAccount", owner)
        house.chain.send(house.address, data_of("approveHash(bytes32)", digest), sender=owner)
    elif how == "too short":
        signature = signature[:64]
    elif how == "wrong owner":
        signature, owner = bytes(house.outsider.unsafe_sign_hash(Hash32(digest)).signature), house.owner(0)
    found = signers(one, replace(bare, claims=(Claim(owner, signature),)), one.read().owners)
    assert found == (frozenset({owner}) if how in {"eth_sign", "approved"} else frozenset())
