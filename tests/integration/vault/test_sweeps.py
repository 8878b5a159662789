"""Sweeps against a thief, a lossy network and forged rows."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from hsm.statements import VerifiedDestination
from service.actions.sweep_to_safe import SweepToSafe
from service.domain.errors import ApprovalError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.evm import MAX_FEE, NATIVE_GAS, Fee
from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.vault import SweepState, SweepTransaction
from service.vault import sweeper
from service.vault.destinations import verified_destination
from service.vault.parts import VaultParts
from tests.support.chain import ETHER, MemoryChain, Sent
from tests.support.vault import COIN, OTHER_SAFE, SAFE, TOKEN, USDT, Authority, VaultHouse, moment

HOLDS, NOT, CANNOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.CANNOT_TELL


@pytest.fixture
def account(house: VaultHouse, chain: MemoryChain) -> AccountId:
    found = house.ready()
    chain.coins[house.address(found)] = ETHER
    chain.tokens[USDT, house.address(found)] = 7
    return found


def test_the_thief_uses_the_nonce_first_and_loses_all_the_same(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.rushed = 2
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is NOT, "the fee was raised so high that what it left over is worth a second look"
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    assert chain.tokens[USDT, SAFE] == 7
    assert sorted(s.state for s in house.sweeps(account)) == ["failed", "failed", "final", "final", "final"]
    assert [t.nonce for t in chain.executed] == [2, 3, 4]


def test_no_round_offers_more_than_the_limit_and_no_coin_goes_to_fees_mostly(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.fee = lambda: Fee(MAX_FEE, MAX_FEE)  # type: ignore[method-assign]  # an endpoint that lies
    chain.rushed = 2
    house.vault.sweep(account, key="s")
    assert {sent.max_fee for sent in chain.executed} == {MAX_FEE}
    assert chain.coins[SAFE] > ETHER * 8 // 10
    executed = len(chain.executed)
    chain.coins[house.address(account)] = 10 * MAX_FEE * NATIVE_GAS
    house.vault.sweep(account, key="t")
    assert len(chain.executed) == executed


def test_what_stays_because_it_is_not_worth_its_fee_is_told(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready()
    assert "left" not in house.vault.sweep(account, key="s").facts, "there is nothing"
    coin = chain.coins[house.address(account)] = 10 * chain.fee().max_fee * NATIVE_GAS
    receipt = house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    address = house.parts.keys_of(account)[0].address
    assert SweepToSafe().remark(receipt) == (
        f". Left: {coin} base units of {COIN} stay at {address}: not worth moving at {chain.fee().max_fee} wei for each "
        "gas, as its chain tells fee and gas"
    )
    assert SweepToSafe().remark(None) == SweepToSafe().remark(Receipt("s", {"transactions": []})) == ""


def test_a_thief_s_pending_transaction_is_outbid_at_its_nonce(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    address = house.address(account)
    fee = 3 * chain.fee().max_fee
    chain.mines = False
    chain.pool[address, 0] = Sent(address, 0, "0x" + "bd" * 20, ETHER // 2, b"", 21_000, fee, "0xbad")
    house.vault.sweep(account, key="s")
    chain.mine()
    chain.mines = True
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    assert "0xbad" not in chain.receipts
    assert chain.coins["0x" + "bd" * 20] == 0
    assert chain.coins[SAFE] > ETHER * 98 // 100


def test_while_one_is_pending_no_second_is_signed(house: VaultHouse, chain: MemoryChain, account: AccountId) -> None:
    chain.mines = False
    first = house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is CANNOT
    assert house.vault.sweep(account, key="s") == first
    assert len(house.sweeps(account)) == 2
    chain.mine()
    assert house.vault.swept(account) is HOLDS


def test_a_lost_answer_is_settled_by_asking(house: VaultHouse, chain: MemoryChain, account: AccountId) -> None:
    chain.lose = 2
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    assert len(chain.executed) == 2


def test_what_never_arrived_is_sent_again_byte_for_byte(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.deaf = 1
    with pytest.raises(UnknownOutcomeError):
        house.vault.sweep(account, key="s")
    signed = [s.transaction_hash for s in house.sweeps(account)]
    assert house.vault.swept(account) is NOT
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    assert chain.executed[0].hash == signed[0]
    assert len(house.sweeps(account)) == 2


def test_a_deposit_that_comes_later_is_swept_too(house: VaultHouse, chain: MemoryChain, account: AccountId) -> None:
    house.vault.sweep(account, key="s")
    chain.coins[house.address(account)] += ETHER
    assert house.vault.swept(account) is NOT
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS


def test_a_token_that_cannot_be_read_delays_nothing_else(house: VaultHouse, chain: MemoryChain) -> None:
    broken = "eip155:1/erc20:0x000000000000000000000000000000000000dead"
    account = house.ready(assets=(COIN, broken, TOKEN))
    chain.broken_tokens = {broken.rpartition(":")[2]}
    chain.coins[house.address(account)] = ETHER
    chain.tokens[USDT, house.address(account)] = 7
    with pytest.raises(UnavailableError, match="000dead could not be read"):
        house.vault.sweep(account, key="s")
    assert chain.tokens[USDT, SAFE] == 7
    assert chain.coins[SAFE] > ETHER * 98 // 100
    assert house.vault.swept(account) is CANNOT


def test_a_token_without_coin_for_its_fee_asks_for_the_coin(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready()
    chain.tokens[USDT, house.address(account)] = 7
    with pytest.raises(UnavailableError, match="send it 1638000000000000 base units"):
        house.vault.sweep(account, key="s")
    assert house.sweeps(account) == [], "no node would take it"
    chain.coins[house.address(account)] = ETHER // 100
    house.vault.sweep(account, key="s")
    assert chain.tokens[USDT, SAFE] == 7


def test_two_workers_on_one_address_sign_each_nonce_once(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    taken = SweepTransaction(
        "swp_other", "other", account, "eip155:1", house.parts.keys_of(account)[0].address, SAFE, COIN, 1, 0, b"\x02",
        "0x01", SweepState.SIGNED,
    )  # fmt: skip

    def rival(_: object = None) -> None:
        with house.superuser.begin() as uow:
            uow.keys.add_sweep(taken)

    asked = chain.balance
    chain.balance = lambda address: (rival(), asked(address))[1] if not chain.executed else asked(address)  # type: ignore[method-assign, func-returns-value]  # acts in between
    with pytest.raises(UnavailableError, match="another worker"):
        house.vault.sweep(account, key="s")
    assert chain.executed == []


# --- destinations that nobody decided on


def test_a_row_that_the_authority_did_not_sign_is_neither_signed_nor_swept_to(
    house: VaultHouse, chain: MemoryChain
) -> None:
    account = house.account()
    real, house.authority = house.authority, Authority()
    house.destination(account, OTHER_SAFE)
    house.authority = real
    house.vault.provision(account)
    chain.coins[house.address(account)] = ETHER
    with house.superuser.begin() as uow:
        assert uow.registry.destinations(account)[0].signature is None
    with pytest.raises(ApprovalError, match="no active, signed safe destination"):
        house.vault.sweep(account, key="s")
    assert house.sweeps(account) == []


@pytest.mark.parametrize(
    "forged",
    [{"descriptor": OTHER_SAFE}, {"chain": "eip155:1", "descriptor": OTHER_SAFE, "signature": bytes(64)}],
)
def test_an_edited_row_is_neither_signed_nor_swept_to(
    house: VaultHouse, chain: MemoryChain, forged: dict[str, object]
) -> None:
    account = house.account()
    house.destination(account)
    house.forge(account, **forged)
    house.vault.provision(account)
    chain.coins[house.address(account)] = ETHER
    with pytest.raises(ApprovalError):
        house.vault.sweep(account, key="s")
    assert chain.executed == []


def test_a_row_edited_after_the_vault_signed_is_not_swept_to(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    house.forge(account, descriptor=OTHER_SAFE)
    with pytest.raises(ApprovalError):
        house.vault.sweep(account, key="s")
    assert house.sweeps(account) == []
    assert chain.coins[OTHER_SAFE] == 0


def test_a_destination_of_another_account_is_not_swept_to(house: VaultHouse, chain: MemoryChain) -> None:
    one, two = house.ready(), house.account()
    house.vault.provision(two)
    chain.coins[house.address(two)] = ETHER
    with house.superuser.begin() as uow:
        uow.connection.execute(text("UPDATE safe_destinations SET account_id = :to"), {"to": two})
    house.vault.provision(two)
    with pytest.raises(ApprovalError):
        house.vault.sweep(two, key="s")
    assert house.sweeps(one) == []


def test_a_destination_that_is_not_active_yet_is_not_swept_to(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.account()
    later = moment(house, 86_400)
    house.destination(account, stated_from=later)
    house.vault.provision(account)
    chain.coins[house.address(account)] = ETHER
    with pytest.raises(ApprovalError):
        house.vault.sweep(account, key="s")
    house.clock.pass_by(timedelta(days=1, seconds=1))
    house.vault.sweep(account, key="s")
    assert chain.coins[SAFE] > 0


def test_the_newest_active_destination_counts_and_a_forged_newer_one_does_not_hide_it(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    house.clock.pass_by(timedelta(hours=1))
    house.destination(account, OTHER_SAFE)
    house.vault.provision(account)
    house.clock.pass_by(timedelta(hours=1))
    house.destination(account, "0x" + "bd" * 20, statement_signature=bytes(64), signature=bytes(64))
    house.vault.sweep(account, key="s")
    assert chain.coins[OTHER_SAFE] > 0
    assert chain.coins["0x" + "bd" * 20] == chain.coins[SAFE] == 0


def test_one_destination_registered_twice_is_signed_twice(house: VaultHouse, account: AccountId) -> None:
    house.clock.pass_by(timedelta(hours=1))
    house.destination(account, SAFE)
    house.vault.provision(account)
    with house.superuser.begin() as uow:
        rows = uow.registry.destinations(account)
    assert len({row.signature for row in rows}) == 2


def test_the_chain_s_no_is_not_taken_for_a_lost_answer(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    def refuse(raw: bytes) -> str:
        raise RefusedByOtherSideError(f"{len(raw)} bytes are underpriced")

    chain.send = refuse  # type: ignore[method-assign]  # never takes anything
    house.vault.sweep(account, key="s")
    assert {s.state for s in house.sweeps(account)} == {"failed"}
    assert house.vault.swept(account) is NOT


def test_a_node_that_tells_too_large_a_balance_leaves_nothing_half_done(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    honest = chain.balance
    chain.balance = lambda address: 10 * honest(address)  # type: ignore[method-assign]  # a node that lies
    house.vault.sweep(account, key="s")
    assert chain.tokens[USDT, SAFE] == 7, "what it does not lie about is saved"
    assert {s.state for s in house.sweeps(account) if s.asset == COIN} == {"failed"}
    assert house.vault.swept(account) is NOT
    chain.balance = honest  # type: ignore[method-assign]  # as before
    house.vault.sweep(account, key="s")
    assert chain.coins[SAFE] > ETHER * 8 // 10
    assert house.vault.swept(account) is HOLDS


def test_a_token_that_is_registered_in_two_spellings_is_swept_once(house: VaultHouse, chain: MemoryChain) -> None:
    mixed = USDT.replace("dac17f", "dAC17F")
    account = house.ready(assets=(COIN, TOKEN, TOKEN.replace(USDT, mixed)))
    address = house.address(account)
    chain.coins[address] = ETHER
    for spelt in (USDT, mixed):  # one contract
        chain.tokens[spelt, address] = 7
    house.vault.sweep(account, key="s")
    assert [sent.to for sent in chain.executed] == [USDT, SAFE]
    assert chain.coins[SAFE] == max(sent.value for sent in chain.executed)


def test_a_question_about_many_keys_and_their_sweep_each_verify_a_chains_destination_once(
    house: VaultHouse, chain: MemoryChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(parts: VaultParts, account: AccountId, chain: str) -> VerifiedDestination:
        asked.append(chain)
        return verified_destination(parts, account, chain)

    account = house.ready(wallet="many")
    for address in house.add_leaves(account, 5):
        chain.coins[address] = ETHER
    monkeypatch.setattr(sweeper, "verified_destination", counted)
    keys = house.parts.keys_of(account)
    sweeper.holdings(house.parts, account, keys)
    assert asked == ["eip155:1"]
    sweeper.sweep(house.parts, account, keys, "s")
    assert (asked, len(chain.executed)) == (["eip155:1"] * 2, 5)
