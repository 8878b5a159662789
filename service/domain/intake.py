"""What intake works on: items to be stored, what is known of them, and what is answered.

An item is one verified and parsed event. Its outcome is told only after the transaction that stored it has committed.
`gc=False`: no cycle can lead back to these, and the collector need not follow them.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.activity import Received
from service.domain.ids import ActivityId

GATE_PREFIX: Final = "gate:"
"""Event ids of questions asked before signing: they never collide with the platform's webhook ids."""

SIGNS: Final = "what_is_signed"
DOUBT: Final = "doubt"
"""Reasons that add nothing to the score: what the bytes would do, and why they could not be compared."""


class Mode(StrEnum):
    """Live events may alert; history (before an account goes live) is scored and learned and never alerts."""

    LIVE = "live"
    HISTORY = "history"


class Status(StrEnum):
    """What became of an activity in the store."""

    SCORED = "scored"
    HISTORY = "history"
    UNATTRIBUTED = "unattributed"
    """Speaks of an account that is not registered: stored, neither learned nor acted on (design D9)."""
    REPEATED = "repeated"
    """A later activity of a transaction that was counted already (design D10)."""
    NOTED = "noted"
    """An event that means nothing to the engine."""


class GateDecision(StrEnum):
    """The answer to a question before signing."""

    APPROVE = "approve"
    HOLD = "hold"
    REJECT = "reject"


class Item(msgspec.Struct, frozen=True):
    """One event on its way into the store."""

    received: Received
    mode: Mode = Mode.LIVE
    question: str | None = None
    """The request id, when somebody waits for a decision before signing."""
    payload_digest: bytes | None = None
    """SHA-256 of what the bytes to be signed would do (chain, to, value, data), where they are known."""
    doubt: str | None = None
    """Why what is shown could not be held against the bytes: the question is held whatever its score."""
    trace_id: str | None = None
    """Of the request that brought it; goes with the alert's event to every job."""


class Judged(msgspec.Struct, frozen=True, gc=False):
    """What the engine said, as it is stored and answered."""

    decision: str
    """allow | alert | hold"""
    score: float
    p_value: float
    history: str
    reasons: str
    """JSON list of {feature, observed, usual, share, detector}."""


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What people and plans decided about a question that was held."""

    held: bool
    """A hold of ours on the account, the destination or the whole connection is in force."""
    cleared: bool
    """People cleared the very activity that is asked about."""
    cleared_alike: bool
    """They cleared one that told the same account, asset, destination and amount, and this one told nothing new."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The answer to one item, after the commit."""

    activity_id: ActivityId
    status: Status
    repeated: bool = False
    """The very same event was stored before; this is its first answer."""
    judged: Judged | None = None
    gate: GateDecision | None = None
    decision_id: str | None = None
    standing: Standing | None = None
    """Of a question, looked up after it was stored; None when it could not be."""


EventKey = tuple[str, str]
"""What an event is unique on: its connection and its id there.

Plain tuples, this and the next two: a named one takes several times as long to make, and an event needs six keys.
"""
AccountKey = tuple[str, str]
"""What a registered account is unique on: its connection and its reference there."""
TransactionKey = tuple[str, str]
"""What a transaction is unique on: its connection and its reference there."""


class Learned(msgspec.Struct, frozen=True, gc=False):
    """The row of the learning sequence that an activity became."""

    seq: int
    operation: str
    observation: bytes


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that was stored before."""

    activity_id: ActivityId
    body_digest: bytes
    status: Status
    judged: Judged | None


class KnownAccount(msgspec.Struct, frozen=True, gc=False):
    """What intake needs of a registered account."""

    peer_group: str
    live: bool


class TransactionState(msgspec.Struct, frozen=True, gc=False):
    """A transaction as its first activity told it, and where it stands."""

    activity_id: ActivityId
    account: str | None
    asset: str | None
    destination: str | None
    amount_base_units: int | None
    amount_usd: Decimal | None
    payload_digest: bytes | None
    state: str
    decision: str


class LearningRequest(msgspec.Struct, frozen=True):
    """What another process asked to put into the learning sequence."""

    id: int
    kind: str
    subject: str
    payload: bytes


class StoredDecision(msgspec.Struct, frozen=True, gc=False):
    """A decision as it was first given."""

    id: str
    decision: GateDecision
