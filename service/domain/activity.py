"""One normalised event from a platform: what every part after the platform's parser works on.

Amounts are exact: `amount_base_units` an integer in the asset's smallest unit, USD values `Decimal`. Times are UTC.
The wire schema is `docs/concepts/activity.md`; ids are the platform's own and unique only within their connection.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.ids import ActivityId, ConnectionId

MAX_ID_LENGTH: Final = 200


class Family(StrEnum):
    """The first word of an activity kind."""

    WITHDRAWAL = "withdrawal"
    DEPOSIT = "deposit"
    SIGNING = "signing"
    ACCESS = "access"
    GOVERNANCE = "governance"


WITHDRAWAL_STATES: Final = ("requested", "approved", "signed", "broadcast", "confirmed", "failed", "cancelled")

KINDS: Final = frozenset(
    [f"withdrawal.{state}" for state in WITHDRAWAL_STATES]
    + ["deposit.confirmed", "signing.requested"]
    + [
        f"access.{what}"
        for what in (
            "login_succeeded",
            "login_failed",
            "api_key_used",
            "session_started",
            "device_enrolled",
            "mfa_reset",
            "mfa_enrolled",
            "password_changed",
            "api_key_created",
            "api_key_revoked",
        )
    ]
    + [
        f"governance.{what}"
        for what in ("destination_whitelisted", "policy_changed", "role_changed", "user_added", "quorum_changed")
    ]
)
"""Every activity kind there is; a platform's parser maps to one of these or returns nothing."""

DESTINATION_KINDS: Final = frozenset({"whitelisted", "one_time", "internal", "contract"})


class SigningFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was decoded from the bytes to be signed; None means the bytes did not say."""

    delegatecall: bool | None = None
    unlimited_approval: bool | None = None
    governance_call: bool | None = None
    """Owner, threshold, guard, module or implementation would change, or a Safe pays a gas refund."""
    display_mismatch: bool | None = None
    """The decoded transaction differs from what the signers are shown."""
    contract_age_s: float | None = None
    summary: str | None = None
    """One plain sentence of what the bytes do."""
    parties: tuple[str, ...] = ()
    """Whom the bytes pay, call or give rights, as far as they are known: CAIP-10, or bare where no chain is told."""


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """One event of one connection, normalised."""

    connection: ConnectionId
    event_id: str
    kind: str
    occurred_at: datetime
    account: str | None = None
    actor: str | None = None
    transaction: str | None = None
    asset: str | None = None
    """CAIP-19."""
    amount_base_units: int | None = None
    amount_usd: Decimal | None = None
    balance_usd: Decimal | None = None
    destination: str | None = None
    """CAIP-10 where the platform tells the chain, else the platform's own destination id."""
    destination_kind: str | None = None
    ip: str | None = None
    country: str | None = None
    asn: int | None = None
    device: str | None = None
    session: str | None = None
    user_agent: str | None = None
    signing: SigningFacts | None = None

    @property
    def family(self) -> Family:
        """The first word of the kind."""
        return Family(self.kind.partition(".")[0])


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """An activity with what intake knows of it: our id, when it came, the digest and bytes of its raw body."""

    activity_id: ActivityId
    received_at: datetime
    body_digest: bytes
    """SHA-256 of the raw body."""
    raw: bytes
    activity: Activity
