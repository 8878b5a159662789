"""An own hot wallet on a real EVM: what is pending is outbid at its nonce, what others may take is taken back."""

from collections.abc import Sequence

import pytest

from hsm.custodian import KeyRef
from hsm.keypath import DerivationPath
from service.chain.evm import JsonRpcChain
from service.chain.evm_logs import Log, Topics
from service.domain.errors import UnavailableError
from service.domain.evm import Fee, Transaction
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.safe import call
from service.domain.vault import VaultKey
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, SAFE_BUILD, Mining, data_of

THIEF = "0x" + "bad0" * 10
TOKEN = SAFE_BUILD / "test" / "ERC20Token.sol" / "ERC20Token.json"
GWEI = 10**9


def wallet(house: SafeHouse, *tokens: str) -> tuple[AccountId, VaultKey]:
    account = house.house.account(assets=(f"{CHAIN}/slip44:60", *(f"{CHAIN}/erc20:{token}" for token in tokens)))
    house.house.vault.provision(account)
    (key,) = house.house.parts.keys_of(account)
    house.chain.fund(key.address, 2 * ETHER)
    return account, key


def send(house: SafeHouse, key: VaultKey, nonce: int, to: str, data: bytes = b"", value: int = 0) -> None:
    """Send with the wallet's key as its owner or a thief would, past every rule of ours."""
    transaction = Transaction(CHAIN_ID, nonce, to, value, data, 100_000, Fee(5 * GWEI, GWEI))
    found = house.house.parts.token.sign(KeyRef(key.wallet_id, DerivationPath.parse(key.path)), transaction.digest())
    house.chain.rpc("eth_sendRawTransaction", "0x" + transaction.signed(found.v, found.r, found.s).hex())


@pytest.mark.parametrize(("mined_after", "stolen"), [(2, 0), (1, ETHER // 2)], ids=["in time", "one block too late"])
def test_what_a_thief_has_pending_is_outbid_at_its_nonce_by_a_restricted_key(
    safe_house: SafeHouse, mined_after: int, stolen: int
) -> None:
    house = safe_house
    account, key = wallet(house)
    vault = house.house.vault
    vault.restrict(account, key="r")
    mining = Mining(house.chain.url, CHAIN_ID)
    house.chain.rpc("evm_setAutomine", False)  # noqa: FBT003  the call's own form
    try:
        for nonce in range(2):
            send(house, key, nonce, THIEF, value=ETHER // 2)
        assert vault.pending_replaced(account, {}) is Verdict.DOES_NOT_HOLD
        mining.left = mined_after
        object.__setattr__(house.house.parts, "chains", {CHAIN: mining})
        vault.replace_pending(account, {}, key="p")
        assert house.house.vault.pending_replaced(account, {}) is Verdict.HOLDS
    finally:
        mining.close()
        house.chain.rpc("evm_setAutomine", True)  # noqa: FBT003  as above
    assert house.chain.balance(THIEF) == stolen
    assert int(house.chain.rpc("eth_getTransactionCount", key.address, "latest"), 16) == 2


def test_allowances_are_found_in_the_token_s_logs_and_taken_back(safe_house: SafeHouse) -> None:
    house = safe_house
    token, other = house.chain.deploy(TOKEN), house.chain.deploy(TOKEN)
    account, key = wallet(house, token, other)
    spender = house.chain.people[2]
    house.chain.send(token, data_of("transfer(address,uint256)", key.address, 1000))
    vault = house.house.vault
    assert vault.allowances_revoked(account) is Verdict.HOLDS
    for nonce, (at, who) in enumerate(((token, spender), (token, THIEF), (other, spender))):
        send(house, key, nonce, at, call("approve(address,uint256)", who, 2**256 - 1))
    vault.restrict(account, key="r")
    assert vault.allowances_revoked(account) is Verdict.DOES_NOT_HOLD
    vault.revoke_allowances(account, key="k")
    assert vault.allowances_revoked(account) is Verdict.HOLDS
    allowed = house.chain.call(token, "allowance(address,address)", key.address, spender)
    assert int.from_bytes(allowed, "big") == 0
    assert vault.revoke_allowances(account, key="k").facts["transactions"] == [], "a repeat finds nothing to do"


def test_logs_that_were_not_looked_through_are_no_none_and_what_was_found_is_taken_back(
    safe_house: SafeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = safe_house
    token = house.chain.deploy(TOKEN)
    account, key = wallet(house, token)
    send(house, key, 0, token, call("approve(address,uint256)", THIEF, 7))
    house.chain.rpc("anvil_mine", hex(30))
    send(house, key, 1, token, call("approve(address,uint256)", house.chain.people[2], 7))
    oldest = int(house.chain.rpc("eth_blockNumber"), 16) - 15

    class Limited(JsonRpcChain):
        """Answers for ten blocks at once, and for none that is old."""

        old = oldest

        def _asked_logs(self, contracts: Sequence[str], topics: Topics, first: int, last: int) -> Sequence[Log]:
            if last - first >= 10 or first < self.old:
                raise UnavailableError("too many blocks")
            return super()._asked_logs(contracts, topics, first, last)

    chain = Limited(house.chain.url, CHAIN_ID)
    object.__setattr__(house.house.parts, "chains", {CHAIN: chain})
    vault = house.house.vault
    with pytest.raises(UnavailableError, match=r"blocks 0 to \d+ were not looked through for logs: too many blocks"):
        vault.revoke_allowances(account, key="k")
    allowed = [
        house.chain.call(token, "allowance(address,address)", key.address, who)
        for who in (house.chain.people[2], THIEF)
    ]
    assert [int.from_bytes(one, "big") for one in allowed] == [0, 7]
    assert vault.allowances_revoked(account) is Verdict.CANNOT_TELL
    chain.old = 0
    assert vault.allowances_revoked(account) is Verdict.DOES_NOT_HOLD
    vault.revoke_allowances(account, key="k")
    assert vault.allowances_revoked(account) is Verdict.HOLDS
    chain.close()
