"""Wallets, 2-of-3 and of one key, are re-keyed and swept; Bitcoin Core's consensus code judges what SoftHSM2 signed."""

from itertools import count

import pytest

from hsm.custodian import KeyRef
from hsm.errors import KeyUseRefusedError
from hsm.keypath import DerivationPath
from service.domain.bitcoin.coins import Coin, Outpoint, proven
from service.domain.bitcoin.descriptor import Cosigner, Descriptor, Kind
from service.domain.bitcoin.psbt import Signature, Unsigned, read, write
from service.domain.bitcoin.sweep import Draft, Rival, child, destination, draft, plan
from service.domain.errors import InputError
from tests.support.cosigners import Cosigners, any_wallet, two_of_three
from tests.support.regtest import COIN, Regtest, txid_of

pytestmark = pytest.mark.servers
RATE = 5_000
KINDS = list(Kind)
_number = count()


def funded(mined: Regtest, wallet: Descriptor, *amounts: int) -> list[Coin]:
    """Pay the wallet's first addresses and return its coins."""
    made = mined.pay(*((wallet.place(0, index).script_pubkey, amount) for index, amount in enumerate(amounts)))
    assert mined.mine(made)
    return [proven(Outpoint(txid_of(made), i), made, wallet, 0, i) for i in range(len(amounts))]


def only(wallet: Descriptor, coins: list[Coin], to: str) -> Unsigned:
    found = plan(wallet, coins, destination(to, wallet.network), RATE)
    assert not found.dust
    assert len(found.drafts) == 1
    return Unsigned(wallet, found.drafts[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_rekeyed_wallet_receives_everything_and_the_chain_agrees(
    mined: Regtest, cosigners: Cosigners, kind: Kind
) -> None:
    wallet, keys = any_wallet(cosigners, kind, f"re{next(_number)}")
    lost = keys[0]
    fresh = wallet.rekeyed(lost, cosigners.new(f"fresh-{kind.value}-{next(_number)}"))
    assert lost not in fresh.keys
    coins = funded(mined, wallet, COIN, 2 * COIN, 3 * COIN)
    unsigned = only(wallet, coins, fresh.text)
    whole = unsigned.whole(signed(cosigners, unsigned, keys))
    assert txid_of(whole) == unsigned.txid
    weight = 3 * len(unsigned.transaction.serialize()) + len(whole)
    assert 0 <= 4 * unsigned.draft.vsize - weight < 4 + 3 * 5 * wallet.threshold, "a signature is seldom much shorter"
    assert mined.mine(whole)
    output = mined.output(unsigned.txid, 0)
    assert bytes(output.script_pubkey.data) == fresh.place(0, 0).script_pubkey
    assert output.value == 6 * COIN - unsigned.draft.fee


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_corrupted_short_or_spent_twice_is_refused_by_the_chain(
    mined: Regtest, cosigners: Cosigners, kind: Kind
) -> None:
    wallet, keys = any_wallet(cosigners, kind, f"bad{next(_number)}")
    coins = funded(mined, wallet, COIN)
    unsigned = only(wallet, coins, wallet.address(0, 7))
    good = signed(cosigners, unsigned, keys)
    whole = unsigned.whole(good)
    outputs = [mined.output(coins[0].at.txid, coins[0].at.vout)]
    assert mined.scripts_hold(whole, outputs)
    for bad in (_flipped(whole, good[0].value), _without(whole, good[0].value)):
        assert not mined.scripts_hold(bad, outputs)
        assert not mined.mine(bad)
    assert mined.mine(whole)
    again = draft(wallet, tuple(coins), wallet.place(0, 8).script_pubkey, RATE)
    assert again is not None
    second_spend = Unsigned(wallet, again)
    double = second_spend.whole(signed(cosigners, second_spend, keys))
    assert mined.scripts_hold(double, outputs), "each signature is right, the coin is gone"
    assert not mined.mine(double)


@pytest.mark.parametrize("kind", KINDS)
def test_a_psbt_that_comes_back_gives_its_signatures_and_nothing_else(
    mined: Regtest, cosigners: Cosigners, kind: Kind
) -> None:
    wallet, keys = any_wallet(cosigners, kind, f"psbt{next(_number)}")
    unsigned = only(wallet, funded(mined, wallet, COIN, COIN), wallet.address(0, 3))
    ours = cosigners.sign(unsigned, keys[-1])
    every = signed(cosigners, unsigned, keys)
    back = read(write(unsigned, every), unsigned)
    assert set(back) == set(every)
    needed = wallet.threshold
    with pytest.raises(InputError, match=f"input 0 has {needed - 1} of {needed} signatures: 1 more"):
        unsigned.whole(read(write(unsigned, ours if needed > 1 else ()), unsigned))
    other = funded(mined, wallet, COIN)
    foreign = Unsigned(wallet, _with(unsigned.draft, (*unsigned.draft.coins, *other)))
    with pytest.raises(InputError, match="a foreign input"):
        read(write(foreign), unsigned)
    elsewhere = Unsigned(wallet, _redirected(unsigned.draft, wallet.place(1, 0).script_pubkey))
    with pytest.raises(InputError, match="does not go to the safe destination"):
        read(write(elsewhere), unsigned)
    less = Unsigned(wallet, _worth(unsigned.draft, unsigned.draft.amount - 1))
    with pytest.raises(InputError, match="amount, order, version"):
        read(write(less), unsigned)
    swapped = Signature(0, ours[0].key, ours[1].value)
    with pytest.raises(InputError, match="does not verify"):
        unsigned.whole([swapped])


def test_a_key_outside_the_wallet_signs_nothing_for_it(mined: Regtest, cosigners: Cosigners) -> None:
    wallet, (_, second, _) = two_of_three(cosigners, Kind.WSH, f"out{next(_number)}")
    unsigned = only(wallet, funded(mined, wallet, COIN), wallet.address(0, 1))
    signature = cosigners.sign(unsigned, second)[0]
    stranger = Signature(0, bytes([2]) * 33, signature.value)
    with pytest.raises(InputError, match="not the wallet's"):
        unsigned.verify(stranger)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thief_in_the_pool_is_replaced_and_a_slow_parent_is_paid_for(
    mined: Regtest, cosigners: Cosigners, kind: Kind
) -> None:
    wallet, keys = any_wallet(cosigners, kind, f"race{next(_number)}")
    safe, safe_keys = any_wallet(cosigners, kind, f"safe{next(_number)}")
    coins = tuple(funded(mined, wallet, COIN))
    theft = draft(wallet, coins, wallet.place(1, 9).script_pubkey, 50_000)
    assert theft is not None
    stolen = Unsigned(wallet, theft)
    pending = stolen.whole(signed(cosigners, stolen, keys[: wallet.threshold]))
    race = draft(wallet, coins, safe.place(0, 0).script_pubkey, RATE, Rival(theft.fee, theft.rate))
    assert race is not None
    assert race.rate > theft.rate
    assert race.fee >= theft.fee + race.vsize, "BIP-125: all fees of what it replaces, and its own relay"
    ours = Unsigned(wallet, race)
    whole = ours.whole(signed(cosigners, ours, keys))
    assert mined.mine(whole)
    assert not mined.mine(pending)
    made = proven(Outpoint(ours.txid, 0), whole, safe, 0, 0)
    bump = child(safe, race, made, safe.place(0, 1).script_pubkey, 200_000)
    assert bump is not None
    assert (bump.fee + race.fee) * 1000 // (bump.vsize + race.vsize) >= 200_000
    with_child = Unsigned(safe, bump)
    assert mined.mine(with_child.whole(signed(cosigners, with_child, safe_keys)))


def test_a_disabled_or_destroyed_leaf_makes_no_schnorr_signature(cosigners: Cosigners) -> None:
    key = cosigners.new(f"off{next(_number)}")
    wallet = cosigners.wallet_of[key.fingerprint]
    ref = KeyRef(wallet, DerivationPath.parse(f"{key.path}/0/0"))
    seed = cosigners.seeds[wallet]
    cosigners.token.leaf(seed, wallet, ref.path)
    assert len(cosigners.token.sign_taproot(seed, ref, bytes(32))) == 64
    cosigners.token.disable(ref)
    with pytest.raises(KeyUseRefusedError, match="is disabled"):
        cosigners.token.sign_taproot(seed, ref, bytes(32))


def signed(cosigners: Cosigners, unsigned: Unsigned, keys: list[Cosigner]) -> list[Signature]:
    """Return the signatures of as many keys, the last ones, as must sign."""
    return [one for key in keys[-unsigned.descriptor.threshold :] for one in cosigners.sign(unsigned, key)]


def _flipped(whole: bytes, signature: bytes) -> bytes:
    place = whole.index(signature) + len(signature) - 1
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def _without(whole: bytes, signature: bytes) -> bytes:
    """Put nothing where a signature stood: the witness keeps its number of items."""
    place = whole.index(signature)
    return whole[: place - 1] + b"\x00" + whole[place + whole[place - 1] :]


def _with(made: Draft, coins: tuple[Coin, ...]) -> Draft:
    return Draft(coins, made.to, made.amount, made.fee, made.vsize)


def _redirected(made: Draft, to: bytes) -> Draft:
    return Draft(made.coins, to, made.amount, made.fee, made.vsize)


def _worth(made: Draft, amount: int) -> Draft:
    return Draft(made.coins, made.to, amount, made.fee, made.vsize)
