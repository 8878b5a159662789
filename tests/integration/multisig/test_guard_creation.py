"""The guard's creation: only the guardian's first nonces make one that is found again, so none of them is wasted."""

from dataclasses import replace

import pytest

from service.chain.evm import JsonRpcChain
from service.domain.errors import MissingCapabilityError, UnavailableError
from service.domain.guard import CREATION_GAS, FIRST_NONCES
from service.domain.plan import Verdict
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import CHAIN_ID


def test_a_creation_gets_the_gas_it_needs_whatever_the_endpoint_estimates(safe_house: SafeHouse) -> None:
    house = safe_house

    class Low(JsonRpcChain):
        def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
            return min(super().estimate(sender, to, data, value), 400_000)

    chain = Low(house.chain.url, CHAIN_ID)
    made = replace(house.guardian, chain=chain).create_guard()
    assert house.guardian.guard() == made
    (creation,) = house.chain.rpc("eth_getBlockByNumber", "latest", False)["transactions"]  # noqa: FBT003  hashes only
    used = int(house.chain.receipt(creation)["gasUsed"], 16)
    assert used * 1.2 < CREATION_GAS < used * 1.5
    assert round(used, -4) == 870_000, "docs/guides/multisig.md tells it"
    chain.close()


def test_the_guard_comes_before_everything_else_that_the_guardian_carries(safe_house: SafeHouse) -> None:
    house = safe_house
    without = replace(house.guardian, recovery=None)
    with pytest.raises(UnavailableError, match="PORTCULLIS_GUARD_RECOVERY"):
        without.carry(house.chain.people[1], b"")
    assert _nonce(house) == 0
    house.multisigs.replace_owner(house.account, house.owner(2), house.spare)
    assert house.multisigs.owner_replaced(house.account, house.owner(2), house.spare) is Verdict.HOLDS
    assert house.guardian.guard() is not None
    assert _nonce(house) == 2


def test_after_the_first_nonces_no_guard_is_created_and_owners_are_changed_all_the_same(safe_house: SafeHouse) -> None:
    house = safe_house
    house.chain.rpc("anvil_setNonce", house.guardian.address, hex(FIRST_NONCES))
    with pytest.raises(MissingCapabilityError, match="Make another guardian key"):
        house.multisigs.lock(house.account)
    assert _nonce(house) == FIRST_NONCES
    house.multisigs.replace_owner(house.account, house.owner(2), house.spare)
    assert house.multisigs.owner_replaced(house.account, house.owner(2), house.spare) is Verdict.HOLDS


def test_the_last_of_the_first_nonces_still_creates_it(safe_house: SafeHouse) -> None:
    house = safe_house
    house.chain.rpc("anvil_setNonce", house.guardian.address, hex(FIRST_NONCES - 1))
    house.multisigs.lock(house.account)
    assert house.multisigs.locked(house.account) is Verdict.HOLDS


def _nonce(house: SafeHouse) -> int:
    return int(house.chain.rpc("eth_getTransactionCount", house.guardian.address, "latest"), 16)
