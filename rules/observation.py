"""What features may read of one activity, and its one canonical byte form.

Rules enforced here:
- An observation carries no secret and no free text: ids, places, amounts and yes/no facts only.
- Every number is finite and in range, every string bounded, so that no later code has to check again.
- ``encode`` is canonical: fields in declaration order, shortest decimal that round-trips for floats (IEEE 754
  binary64), defaults left out. ``decode(encode(o)) == o`` and ``encode(decode(b)) == b`` for bytes we wrote.
- ``None`` means "not told". It is never read as "no".
"""

from math import inf
from typing import Final, NoReturn

import msgspec

from rules.errors import ObservationError

MAX_TEXT = 400
"""Longest accepted string. Wire ids are at most 200 characters; callers prefix them with their connection."""

MAX_TIME_US = 4_102_444_800_000_000
"""2100-01-01T00:00:00Z in epoch microseconds; keeps every time exact in a binary64 float."""


LISTINGS: Final = ("not listed", "mixer", "scam", "thief", "sanctioned")
"""What published lists may say of a destination, from harmless to gravest; an observation tells the place in it."""


class Observation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One activity as features see it.

    Times are UTC epoch microseconds in [0, ``MAX_TIME_US``]. Amounts are finite and not negative; ``amount_units`` is
    in whole units of the asset. Ids are already globally unique (``"fireblocks-main/7"``). ``counts`` is false when
    the transaction was counted by an earlier activity. ``destination_listed`` is a place in ``LISTINGS``, looked up when
    the activity was taken in. Raises :class:`ObservationError` when out of range.
    """

    event_id: str
    kind: str
    occurred_at_us: int
    received_at_us: int
    account: str | None = None
    actor: str | None = None
    destination: str | None = None
    destination_kind: str | None = None
    asset: str | None = None
    transaction: str | None = None
    country: str | None = None
    ip: str | None = None
    asn: int | None = None
    device: str | None = None
    session: str | None = None
    peer_group: str | None = None
    amount_usd: float | None = None
    amount_units: float | None = None
    balance_usd: float | None = None
    counts: bool = True
    delegatecall: bool | None = None
    unlimited_approval: bool | None = None
    governance_call: bool | None = None
    display_mismatch: bool | None = None
    contract_age_s: float | None = None
    destination_listed: int | None = None

    def __post_init__(self) -> None:
        times = 0 <= self.occurred_at_us <= MAX_TIME_US and 0 <= self.received_at_us <= MAX_TIME_US
        if not (times and self.event_id and self.kind and _in_range(self) and _bounded(self)):
            _refuse(self)


def _in_range(told: Observation) -> bool:
    # Written out, field by field: a look-up by name costs several times as much, and this runs for every event.
    usd, units, balance, age_s = told.amount_usd, told.amount_units, told.balance_usd, told.contract_age_s
    listed = told.destination_listed
    return (
        (usd is None or 0.0 <= usd < inf)
        and (units is None or 0.0 <= units < inf)
        and (balance is None or 0.0 <= balance < inf)
        and (age_s is None or 0.0 <= age_s < inf)
        and (listed is None or 0 <= listed < len(LISTINGS))
    )


def _bounded(told: Observation) -> bool:
    # All together first: hardly ever is the sum of the lengths over what one of them may be.
    texts = (
        told.event_id, told.kind, told.account or "", told.actor or "", told.destination or "",
        told.destination_kind or "", told.asset or "", told.transaction or "", told.country or "", told.ip or "",
        told.device or "", told.session or "", told.peer_group or "",
    )  # fmt: skip
    return len("".join(texts)) <= MAX_TEXT or max(map(len, texts)) <= MAX_TEXT


def _refuse(told: Observation) -> NoReturn:
    for name in ("occurred_at_us", "received_at_us"):
        if not 0 <= getattr(told, name) <= MAX_TIME_US:
            raise ObservationError(f"{name} must be epoch microseconds between 0 and {MAX_TIME_US}")
    for name in _AMOUNTS:
        value = getattr(told, name)
        if value is not None and not 0.0 <= value < inf:
            raise ObservationError(f"{name} must be a finite number, zero or more")
    for name in _TEXTS:
        if len(getattr(told, name) or "") > MAX_TEXT:
            raise ObservationError(f"{name} must be at most {MAX_TEXT} characters")
    listed = told.destination_listed
    if listed is not None and not 0 <= listed < len(LISTINGS):
        raise ObservationError(f"destination_listed must be between 0 and {len(LISTINGS) - 1}")
    raise ObservationError("event_id and kind must not be empty")


_AMOUNTS = ("amount_usd", "amount_units", "balance_usd", "contract_age_s")
_TEXTS = (
    "event_id", "kind", "account", "actor", "destination", "destination_kind", "asset", "transaction", "country",
    "ip", "device", "session", "peer_group",
)  # fmt: skip

_ENCODER = msgspec.json.Encoder(order=None)
_DECODER = msgspec.json.Decoder(Observation)


def encode(observation: Observation) -> bytes:
    """The canonical bytes of an observation, as stored in a row of the learning sequence."""
    return _ENCODER.encode(observation)


def decode(payload: bytes) -> Observation:
    """The observation of canonical bytes. Raises :class:`ObservationError` naming the field when they are malformed."""
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ObservationError(f"observation payload: {error}") from error
