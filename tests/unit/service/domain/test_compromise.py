"""What is proven lost, what must be assumed, and why: both are said, neither is mistaken for the other."""

import pytest

from service.domain.account import Account, AccountRef, Holder
from service.domain.compromise import Scope, deepest, explained, losses
from service.domain.ids import AccountId, ConnectionId


def key(ref: str, path: int = 0, *, wallet: str | None = "wal-1", holder: Holder = Holder.VAULT_KEY) -> Account:
    return Account(
        id=AccountId(f"acc-{ref}"),
        at=AccountRef(ConnectionId("con-a"), ref),
        holder=holder,
        addresses=(),
        peer_group="hot",
        live_since=None,
        wallet_id=wallet,
        account_path=f"m/44h/60h/{path}h",
    )


@pytest.mark.parametrize(
    ("harmed", "proven"),
    [
        ([key("a")], Scope.LEAF),
        ([key("a"), key("b")], Scope.ACCOUNT_KEY),
        ([key("a", 0), key("b", 1)], Scope.SEED),
    ],
)
def test_what_passed_the_gate_is_lost_no_deeper_than_proven(harmed: list[Account], proven: Scope) -> None:
    (loss,) = losses(harmed)
    assert (loss.scope, loss.reach) == (proven, proven)
    assert "past our gate" not in loss.why


@pytest.mark.parametrize("harmed", [[key("a")], [key("a"), key("b")]])
def test_past_the_gate_the_whole_wallet_is_assumed_and_the_proof_stays_what_it_is(harmed: list[Account]) -> None:
    proven = losses(harmed)
    assumed = losses(harmed, {harmed[0].id})
    assert assumed[0].reach is Scope.SEED
    assert deepest(assumed) is deepest(proven) is not Scope.SEED
    assert explained(assumed).startswith(explained(proven))
    assert "a signed a transfer past our gate" in explained(assumed)
    assert "every account of it is included" in explained(assumed)


def test_a_proven_seed_needs_no_assumption() -> None:
    harmed = [key("a", 0), key("b", 1)]
    assert losses(harmed, {harmed[0].id}) == losses(harmed)


def test_another_wallet_is_not_drawn_in() -> None:
    one, other = key("a"), key("b", wallet="wal-2")
    first, second = losses([one, other], {one.id})
    assert (first.wallet_id, first.reach) == ("wal-1", Scope.SEED)
    assert (second.wallet_id, second.reach) == ("wal-2", Scope.LEAF)


@pytest.mark.parametrize("stranger", [key("a", holder=Holder.PLATFORM), key("a", wallet=None)])
def test_only_keys_of_our_vault_are_ours_to_lose(stranger: Account) -> None:
    assert losses([stranger], {stranger.id}) == ()
    assert deepest(()) is Scope.NONE
