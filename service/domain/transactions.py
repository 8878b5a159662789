"""A transaction counts once (design D10): what a later activity of it means.

Rules: a value that was not told is never a difference; but a value that is told for the first time was never weighed, so
it is scored then, and nobody gets a question answered by an assessment that did not know the destination, or by one that
did not see the bytes. Only bytes that are proven to be the very payment that was told tell nothing new. To be asked to
sign what was told as failed or cancelled is a contradiction and holds. Failed and cancelled transfers leave the value
totals, with the amount that was counted. A changed destination, asset, account or payload is what tampering looks like and
holds; a changed amount alerts. Fees and nonces may change: they are not part of the payload digest.
"""

import hashlib
from typing import Final, TypeVar

import msgspec

from service.domain.activity import KINDS, Activity, Family
from service.domain.decode.evm import EvmTransaction
from service.domain.ids import ActivityId
from service.domain.intake import Item, TransactionState

T = TypeVar("T")

GIVEN_UP: Final = frozenset({"failed", "cancelled"})
_STATES: Final = {
    kind: "requested" if kind.startswith(f"{Family.SIGNING.value}.") else kind.partition(".")[2] for kind in KINDS
}
_RANK: Final = ("requested", "approved", "signed", "broadcast", "failed", "cancelled", "confirmed")
"""Deliveries come in any order: a state only ever moves to the right."""
_HOLDING: Final = frozenset({"account", "asset", "destination", "payload", "state"})
_COMPARED: Final = ("account", "asset", "destination", "amount_base_units")
_WEIGHED: Final = (*_COMPARED, "amount_usd")


def opened(item: Item, decision: str) -> TransactionState:
    """Return the state that a transaction's first activity gives it."""
    activity = item.received.activity
    return TransactionState(
        activity_id=ActivityId(item.received.activity_id),
        account=activity.account,
        asset=activity.asset,
        destination=activity.destination,
        amount_base_units=activity.amount_base_units,
        amount_usd=activity.amount_usd,
        payload_digest=item.payload_digest,
        state=state_of(activity),
        decision=decision,
    )


def moved(state: TransactionState, item: Item, decision: str | None) -> TransactionState:
    """Return the state after a later activity; what was not known before is filled in, a decision only gets stronger."""
    activity = item.received.activity
    return msgspec.structs.replace(
        state,
        account=state.account or activity.account,
        asset=state.asset or activity.asset,
        destination=state.destination or activity.destination,
        amount_base_units=_first(state.amount_base_units, activity.amount_base_units),
        amount_usd=_first(state.amount_usd, activity.amount_usd),
        payload_digest=state.payload_digest or item.payload_digest,
        state=max(state.state, state_of(activity), key=_RANK.index),
        decision=max(state.decision, decision or "allow", key=("allow", "alert", "hold").index),
    )


def differences(state: TransactionState, item: Item) -> tuple[str, ...]:
    """Name what a later activity tells differently: account, asset, destination, amount, payload, state."""
    activity = item.received.activity
    found = [
        name.removesuffix("_base_units")
        for name in _COMPARED
        if getattr(state, name) is not None
        and getattr(activity, name) is not None
        and getattr(state, name) != getattr(activity, name)
    ]
    if None not in (state.payload_digest, item.payload_digest) and state.payload_digest != item.payload_digest:
        found.append("payload")
    if item.question is not None and state.state in GIVEN_UP:
        found.append("state")
    return tuple(found)


def decision_for(changed: tuple[str, ...]) -> str:
    """Return what a changed transaction decides by itself."""
    if not changed:
        return "allow"
    return "hold" if _HOLDING & set(changed) else "alert"


def says_more(state: TransactionState, item: Item) -> bool:
    """Say whether an activity tells what was never weighed.

    That is an account, asset, destination or amount that was not known, or the first bytes, unless they are proven to be
    the payment that is told.
    """
    activity = item.received.activity
    if any(getattr(state, name) is None and getattr(activity, name) is not None for name in _WEIGHED):
        return True
    signing = activity.signing
    if state.payload_digest is not None or (signing is None and item.payload_digest is None):
        return False
    grave = signing is not None and bool(
        signing.delegatecall or signing.unlimited_approval or signing.governance_call or signing.display_mismatch
    )
    proven = activity.family is Family.WITHDRAWAL and signing is not None and signing.display_mismatch is False
    return grave or (item.payload_digest is not None and not proven)


def gives_up(state: TransactionState, activity: Activity) -> bool:
    """Say whether the activity takes a counted transfer out of the value totals."""
    return state_of(activity) in GIVEN_UP and state.state not in {*GIVEN_UP, "confirmed"}


def state_of(activity: Activity) -> str:
    """Return the transaction state that an activity stands for."""
    return _STATES[activity.kind]


def payload_digest(transaction: EvmTransaction) -> bytes:
    """Return SHA-256 of what a transaction would do, without its fees and nonce."""
    text = f"{transaction.chain_id}|{transaction.to}|{transaction.value}|{transaction.data.hex()}"
    return hashlib.sha256(b"portcullis/payload/v1\0" + text.encode()).digest()


def call_digest(*, to: str, operation: int, method: str, data: str) -> bytes:
    """Return SHA-256 of a call that a platform describes instead of showing the bytes."""
    told = msgspec.json.encode([to.lower(), operation, method, data.lower()])
    return hashlib.sha256(b"portcullis/call/v1\0" + told).digest()


def _first(old: T | None, new: T | None) -> T | None:
    return new if old is None else old
