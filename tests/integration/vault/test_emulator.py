"""The real token against the drills' chain: real signatures, a thief who races, and how long twenty sweeps take."""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hsm.pkcs11.custodian import TokenCustodian
from service.chain.evm import JsonRpcChain
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from tests.integration.drills.conftest import make_drill, other_side  # noqa: F401  fixtures
from tests.integration.drills.harness import COLD, SAFE, THIEF, Drill
from tests.support.vault import VaultHouse, vault_house

ACCOUNTS = 20
ETHER = 10**18


@pytest.fixture
def real(fresh_postgres_url: str, token: TokenCustodian) -> Iterator[VaultHouse]:
    found, close = vault_house(fresh_postgres_url, token, token.statements, {})
    yield found
    close()


def world(make: Callable[..., Drill], house: VaultHouse, accounts: list[AccountId], **changes: object) -> Drill:
    hot = [
        {
            "id": str(number),
            "name": f"hot-{number}",
            "addresses": [f"eip155:1:{house.address(account)}"],
            "key_stolen": True,
            "at_risk": True,
            "balances": {"ETH": str(10 * ETHER), "USDT_ERC20": "5000000"},
        }
        for number, account in enumerate(accounts)
    ]
    cold = {"id": "99", "name": "cold", "addresses": [COLD], "balances": {"ETH": "0"}}
    drill = make(accounts=[*hot, cold], **changes)
    object.__setattr__(house.parts, "chains", {"eip155:1": JsonRpcChain(f"{drill.server.url}/chain/rpc")})
    return drill


def prepare(house: VaultHouse, count: int) -> list[AccountId]:
    wallet = f"w-{secrets.token_hex(4)}"
    accounts = [house.account(wallet=wallet) for _ in range(count)]
    for account in accounts:
        house.destination(account, SAFE.rpartition(":")[2])
        house.vault.provision(account)
    return accounts


def close_chain(house: VaultHouse) -> None:
    for chain in house.parts.chains.values():
        assert isinstance(chain, JsonRpcChain)
        chain.close()


def test_twenty_accounts_are_emptied_quickly(
    make_drill: Any,  # noqa: F811  the fixture
    real: VaultHouse,
    record_property: Callable[[str, object], None],
) -> None:
    accounts = prepare(real, ACCOUNTS)
    drill = world(make_drill, real, accounts)
    began = time.perf_counter()
    for account in accounts:
        real.vault.sweep(account, key=f"sweep {account}")
        assert real.vault.swept(account) is Verdict.HOLDS
    taken = time.perf_counter() - began
    record_property("sweep_20_accounts_s", round(taken, 3))
    print(f"\n{ACCOUNTS} accounts, {2 * ACCOUNTS} transactions swept and verified in {taken:.2f} s")  # noqa: T201  the figure
    figures = drill.get("/figures")
    assert figures["value_lost_usd"] == "0.00"
    assert float(figures["value_swept_usd"]) > ACCOUNTS * 3_500 * 0.99
    assert figures["conserved"] is True
    close_chain(real)


def test_the_thief_races_and_the_whole_rotation_is_done_in_the_token(make_drill: Any, real: VaultHouse) -> None:  # noqa: F811  the fixture
    (account,) = prepare(real, 1)
    drill = world(make_drill, real, [account])
    theft = {"from_address": f"eip155:1:{real.address(account)}", "to": THIEF, "asset": "ETH"}
    drill.post("/steal", theft | {"amount_base_units": str(4 * ETHER)})
    vault = real.vault
    vault.restrict(account, key="r")
    vault.prepare_rotation(account, "seed", key="p")
    vault.sweep(account, key="s")
    assert vault.swept(account) is Verdict.HOLDS
    drill.post("/steal", theft | {"amount_base_units": str(ETHER)}, expect=409)
    old = real.parts.keys_of(account)[0]
    vault.retire(account, key="t")
    assert vault.retired(account) is Verdict.HOLDS
    vault.destroy(account, key="d")
    assert vault.destroyed(account) is Verdict.HOLDS
    assert real.address(account) != old.address.lower()
    assert drill.get("/figures")["value_lost_usd"] == "1400.00"
    close_chain(real)
