"""Moving everything an account's keys hold to its verified safe destination.

Rules: every transaction is signed and its row committed before it is sent, so that after a crash or a lost answer the
very same bytes are sent again or their receipt is asked for; a nonce that somebody else used (the thief has the key too)
makes that transaction fail and a new round begin at the next nonce, with twice the fee. What is in no block and unknown to
its chain is sent again as it is, at whatever address of the account (`vault/sent.py`). Tokens go first, the native coin
last, because it pays for them. Pending transactions of others are outbid at their nonce; while one of ours is pending no
second is signed. What is worth sending, and with how much gas, is `vault/payments.py`'s; a chain that refuses a gas limit
is offered twice as much, and after any other refusal the fee of moving the coin is kept twice: what that was not needed for
is swept by the next attempt while it is worth its fee.

One address or chain that fails keeps no other from its turn (`vault/everywhere.py`), and each attempt has a time: it begins
with the address that was looked at longest ago (`vault/visits.py`), and what it did not come to is told and left for the
next. The fee is asked once for each chain and attempt, and only where there is something to move.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hsm.restrictions import Sweep
from hsm.statements import VerifiedDestination
from service.domain.assets import spelt_once
from service.domain.errors import ApprovalError, ConflictError, MissingCapabilityError, UnavailableError
from service.domain.evm import Fee, transaction_hash
from service.domain.ids import AccountId, new_id
from service.domain.plan import Verdict
from service.domain.timeline import Entry
from service.domain.vault import SweepState, SweepTransaction, VaultKey
from service.vault.destinations import is_lost, verified_destination
from service.vault.everywhere import Outcome, all_hold, everywhere, require
from service.vault.parts import VaultParts
from service.vault.payments import Found, Payment, Source, Terms, find, held_at, raised_at, source_at
from service.vault.sent import send, send_again, watch
from service.vault.visits import Spot

ROUNDS: Final = 6
"""How often a sweep starts again when the thief used the nonce first, or the chain wants more."""
SENDING_S: Final = 25.0
"""How long one attempt goes on to further addresses, shared by all chains."""
ASKING_S: Final = 12.0
"""The same of one question: a step asks before and after its attempt, all within a worker's time limit."""
_WANTS_GAS: Final = "intrinsic gas"
"""In what a node says of a transaction whose gas limit it does not take at all."""
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Place:
    """One address on one chain, and our transactions from it."""

    spot: Spot
    key: VaultKey | None
    """None where nothing is swept: what was sent from there is seen into a block."""
    rows: Sequence[SweepTransaction]
    """By nonce."""


@dataclass(frozen=True, slots=True)
class _Errand:
    """One attempt or question, with what it asks only once."""

    parts: VaultParts
    account: AccountId
    step_key: str = ""
    assets: Sequence[str] = ()
    fees: dict[str, Fee] = field(default_factory=dict)
    to: dict[str, VerifiedDestination] = field(default_factory=dict)

    def rows(self) -> Mapping[tuple[str, str], Sequence[SweepTransaction]]:
        """Return the account's transactions as they are now, by chain and address, each by nonce."""
        found: dict[tuple[str, str], list[SweepTransaction]] = {}
        with self.parts.db.begin() as uow:
            for row in uow.keys.sweeps(self.account):
                found.setdefault((row.chain, row.from_address), []).append(row)
        return found

    def rows_at(self, source: Source) -> Sequence[SweepTransaction]:
        """Return those from one address as they are now, by nonce."""
        return self.rows().get((source.chain_id, source.address), ())

    def fee(self, source: Source) -> Fee:
        """Return the fee to offer, over what is pending. Raises what the chain raises."""
        if source.chain_id not in self.fees:
            self.fees[source.chain_id] = source.chain.fee()
        return raised_at(source, self.fees[source.chain_id])

    def require_destination(self, chain: str) -> None:
        """Raise ApprovalError unless a chain's safe destination verifies; asked once."""
        if chain not in self.to:
            self.to[chain] = verified_destination(self.parts, self.account, chain)

    def destination(self, chain: str) -> VerifiedDestination:
        """Return a chain's safe destination, verified once, and again where it is lost meanwhile. Raises ApprovalError."""
        self.require_destination(chain)
        if is_lost(self.parts, self.to[chain]):
            self.to[chain] = verified_destination(self.parts, self.account, chain)
        return self.to[chain]

    def terms(self, source: Source) -> Terms:
        """Return the terms of a first attempt, for questions: a chain without a verified destination is asked, too."""
        try:
            to = self.destination(source.chain_id).destination.descriptor
        except ApprovalError:
            to = None
        return Terms(self.fee(source), to)


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the chain's refusals made of the first round's offer."""

    raised: int = 0
    """How often the fee was doubled."""
    gas_times: int = 1

    def after(self, refusal: str) -> "_Offer":
        """Return the next round's."""
        if _WANTS_GAS in refusal.lower():
            return _Offer(self.raised, 2 * self.gas_times)
        return _Offer(self.raised + 1, self.gas_times)


def sweep(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], step_key: str) -> Sequence[str]:
    """Send what the keys' addresses hold, and again what is nowhere, at any address of the account.

    Returns what stays because it is not worth its fee, as sentences. A destination that becomes active meanwhile counts
    from the next sweep. Raises one error for all that failed or was left for later, after everything else was done:
    ApprovalError where no safe destination of a chain verifies, UnavailableError, and what the chains raise.
    """
    errand = _errand(parts, account, step_key)

    def at(place: _Place, until: float) -> tuple[str, bool]:
        if place.key is not None:
            return _empty(errand, place, place.key, until)
        return "", _see_to(errand, place)

    outcome, late = _at_each(errand, _places(errand, keys), at, SENDING_S)
    outcome.errors.extend(_left_for_later(late))
    return [rest for rest in require(outcome) if rest]


def send_dropped(parts: VaultParts, account: AccountId) -> None:
    """Send again what is nowhere, at any address of the account. Raises what the chains raise, after all were tried."""
    errand = _Errand(parts, account)
    outcome, late = _at_each(errand, _places(errand, ()), lambda place, _: (None, _see_to(errand, place)), SENDING_S)
    outcome.errors.extend(_left_for_later(late))
    require(outcome)


def swept(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> Verdict:
    """Say whether every sweep transaction is settled and nothing worth its fee is left.

    An address that there was no time for, and that was not empty lately, is one that is not swept.
    """
    errand = _errand(parts, account)

    def holds(place: _Place, until: float) -> tuple[bool, bool]:
        watched = watch(parts, place.rows)
        if watched.nowhere:
            return False, False  # nothing is under way, so the same bytes may be sent
        if watched.under_way:
            raise UnavailableError(f"{watched.under_way[0].transaction_hash} is in no block yet")
        found = _found(errand, place, until)
        if found.unread and not found.worth:
            raise UnavailableError("; ".join(found.left))
        return not found.worth, not found.worth

    outcome, late = _at_each(errand, _places(errand, keys), holds, ASKING_S)
    outcome.results.extend(False for _ in late.elements())
    return all_hold(outcome)


def holdings(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> dict[str, str]:
    """Return what a sweep would move now: CAIP-19 → base units, over all addresses.

    Raises UnavailableError where not all of them could be asked in time, and what the chains raise.
    """
    errand = _errand(parts, account)

    def worth(place: _Place, until: float) -> tuple[Sequence[Payment], bool]:
        return _found(errand, place, until).worth, False

    keyed = [place for place in _places(errand, keys) if place.key is not None]
    outcome, late = _at_each(errand, keyed, worth, ASKING_S)
    outcome.errors.extend(_left_for_later(late))
    total: Counter[str] = Counter()
    for payment in (payment for payments in require(outcome) for payment in payments):
        total[payment.asset] += payment.amount
    return {asset: str(amount) for asset, amount in sorted(total.items())}


def _errand(parts: VaultParts, account: AccountId, step_key: str = "") -> _Errand:
    """Raises MissingCapabilityError where no asset on an EVM chain is registered."""
    with parts.db.begin() as uow:
        assets = [asset for asset in spelt_once(uow.keys.assets(account)) if asset.startswith("eip155:")]
    if not assets:
        raise MissingCapabilityError(f"account {account} has no EVM asset registered: name its assets to sweep them")
    return _Errand(parts, account, step_key, assets)


def _places(errand: _Errand, keys: Sequence[VaultKey]) -> list[_Place]:
    """Return the keys' addresses on every chain, and whatever else the account sent from."""
    rows, last = errand.rows(), errand.parts.at_last
    chains = sorted({asset.partition("/")[0] for asset in errand.assets})
    found = [_Place((last, c, k.address), k, rows.get((c, k.address), ())) for c in chains for k in keys]
    swept_from = {place.spot[1:] for place in found}
    return [*found, *(_Place((last, *at), None, sent) for at, sent in rows.items() if at not in swept_from)]


def _at_each(
    errand: _Errand, places: Sequence[_Place], do: Callable[[_Place, float], tuple[R, bool]], patience_s: float
) -> tuple[Outcome[R], Counter[str]]:
    """Call `do`, which says whether nothing is left there, at each place while there is time for its chain.

    Returns what came of it, and by chain how many addresses were left although they were not empty lately.
    """
    visits, late = errand.parts.visits, Counter[str]()

    def at(chain: str, place: _Place, until: float) -> Sequence[R]:
        if time.monotonic() >= until:
            late[chain] += not visits.lately_empty(place.spot)
            return ()
        visits.begin(place.spot)
        result, empty = do(place, until)
        if empty:
            visits.found_empty(place.spot)
        return (result,)

    ordered = sorted(places, key=lambda place: visits.last(place.spot))
    outcome = everywhere([(place.spot[1], place) for place in ordered], at, patience_s)
    return Outcome([result for results in outcome.results for result in results], outcome.errors), late


def _left_for_later(late: Counter[str]) -> Sequence[UnavailableError]:
    return [
        UnavailableError(f"{chain} took too long: {left} addresses there are left for later")
        for chain, left in late.items()
        if left
    ]


def _see_to(errand: _Errand, place: _Place) -> bool:
    """Send again what is nowhere; say whether nothing was."""
    watched = watch(errand.parts, place.rows)
    send_again(errand.parts, watched)
    return watched.settled


def _found(errand: _Errand, place: _Place, until: float) -> Found:
    """Ask what is worth sending from a place."""
    if place.key is None:
        return Found()
    source = source_at(errand.parts, place.key, place.spot[1], errand.assets)
    held = held_at(source, until)
    return Found() if held.nothing else find(source, held, errand.terms(source), place.rows)


def _empty(errand: _Errand, place: _Place, key: VaultKey, until: float) -> tuple[str, bool]:
    """Send what one address holds; returns what stays, as a sentence, and whether nothing is left to do there.

    Raises UnavailableError when something was left for later.
    """
    source = source_at(errand.parts, key, place.spot[1], errand.assets)
    rows, offer = place.rows, _Offer()
    for _ in range(ROUNDS):
        found = _round(errand, source, rows, offer, until)
        if isinstance(found, Found):
            if left := list(found.left):
                raise UnavailableError(f"{'; '.join(left)}: the rest was swept")
            return found.rest, not found.worth
        if found is None:
            break
        if time.monotonic() >= until:
            raise UnavailableError(f"{source.address} is left for later: {found}")
        rows, offer = errand.rows_at(source), offer.after(found)
    return "", False


def _round(
    errand: _Errand, source: Source, rows: Sequence[SweepTransaction], offer: _Offer, until: float
) -> Found | str | None:
    """Send what is nowhere, then what is still there; the chain's refusal when another round is needed.

    None while one of ours is under way.
    """
    watched = watch(errand.parts, rows)
    if watched.nowhere:
        if refused := send_again(errand.parts, watched):
            return refused
        rows = errand.rows_at(source)
        watched = watch(errand.parts, rows)
    if not watched.settled:
        return None
    errand.require_destination(source.chain_id)
    held = held_at(source, until)
    if held.nothing:
        return Found()
    destination = errand.destination(source.chain_id)
    terms = Terms(
        fee=errand.fee(source).times(2**offer.raised),
        to=destination.destination.descriptor,
        step_key=errand.step_key,
        gas_times=offer.gas_times,
        spare=offer.raised > 0,
    )
    found = find(source, held, terms, rows)
    nonce = source.chain.mined_nonce(source.address)
    for payment in found.worth:
        if payment.vain:
            continue
        row = _signed(source, destination, payment, (nonce, terms.fee), errand.step_key)
        if (why := send(errand.parts, row)) is not None:
            return why
        nonce += 1
    return found


def _signed(
    source: Source, destination: VerifiedDestination, payment: Payment, at: tuple[int, Fee], step_key: str
) -> SweepTransaction:
    asset, amount = payment.asset, payment.amount
    to = destination.destination.descriptor
    transaction = payment.transaction(source, to, *at)
    request = Sweep(source.key.account_id, source.chain_id, asset, to, destination)
    signature = source.parts.sign(source.key, request, transaction.digest())
    raw = transaction.signed(signature.v, signature.r, signature.s)
    row = SweepTransaction(
        id=new_id("swp"),
        step_key=step_key,
        account_id=source.key.account_id,
        chain=source.chain_id,
        from_address=source.address,
        to_address=to,
        asset=asset,
        amount_base_units=amount,
        nonce=transaction.nonce,
        raw_transaction=raw,
        transaction_hash=transaction_hash(raw),
        state=SweepState.SIGNED,
    )
    facts = {"hash": row.transaction_hash, "nonce": row.nonce, "asset": asset, "amount": str(amount)}
    with source.parts.db.begin() as uow:
        try:
            uow.keys.add_sweep(row)
        except ConflictError as error:
            raise UnavailableError("another worker is sweeping the same address: it goes on") from error
        sentence = f"Sweep signed: {amount} of {asset} to {to}"
        uow.record(Entry(kind="sweep.signed", at=uow.now, subject=row.id, sentence=sentence, facts=facts))
    return row
