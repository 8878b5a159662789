"""What the authority states about the registry: that set-up is complete, and where an account's funds may go.

Rules:

- Only first set-up runs on a one-time token, and only until it is completed; once an account is registered, the token
  serves for nothing but further accounts and the completion itself.
- A safe destination counts only with the authority's signature over account, chain, descriptor and the moment from which
  it is active. The key worker checks that signature against its pinned key before the vault token signs, so an API host
  that writes a row of its own moves nothing.
- During set-up a destination is active at once, because no account is live; later it takes a quorum and 24 hours.
- A newer destination of an account and chain replaces the older from its `active_from` on, never before.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from service.domain.canonical import canonical
from service.domain.errors import ApprovalError
from service.domain.signed import Signed, opened

SETUP_TAG: Final = "portcullis/setup/v1"
DESTINATION_TAG: Final = "portcullis/registered-destination/v1"
DESTINATION_DELAY: Final = timedelta(hours=24)
BY_SETUP: Final = "setup"


class SetupStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who decides from the completion of set-up on."""

    tag: str
    people: tuple[str, ...]
    connections: tuple[str, ...]
    policy: str
    """Digest of the policy in force."""
    completed_at: datetime

    @property
    def text(self) -> str:
        """The canonical bytes that are signed."""
        return canonical(msgspec.to_builtins(self)).decode()


class RegisteredDestination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one account's funds on one chain may be swept, as the authority states it."""

    tag: str
    account: str
    connection: str
    ref: str
    chain: str
    """CAIP-2."""
    descriptor: str
    """An address, or a BIP-380 descriptor."""
    active_from: datetime
    approval: str
    """The approval that decided it, or `setup`."""

    @property
    def text(self) -> str:
        """The canonical bytes that are signed."""
        return canonical(msgspec.to_builtins(self)).decode()


def registered_destination(signed: Signed, public_key_pem: bytes) -> RegisteredDestination:
    """Return what the authority stated. Raises ApprovalError when it did not."""
    fields = opened(signed, DESTINATION_TAG, public_key_pem)
    try:
        return msgspec.convert(fields, RegisteredDestination)
    except msgspec.ValidationError as error:
        raise ApprovalError(f"a registered destination is malformed: {error}") from error


def destination_in_force(
    statements: Iterable[Signed], account: str, chain: str, *, public_key_pem: bytes, now: datetime
) -> RegisteredDestination | None:
    """Return the newest destination that is active now, or None when there is none.

    Statements that the authority did not sign, or that speak of another account or chain, are passed over: an added row
    can neither redirect nor hide the genuine one.
    """
    genuine = []
    for signed in statements:
        try:
            found = registered_destination(signed, public_key_pem)
        except ApprovalError:
            continue
        if (found.account, found.chain) == (account, chain) and found.active_from <= now:
            genuine.append(found)
    return max(genuine, key=lambda d: d.active_from, default=None)


def shown_destinations(shown: object) -> list[tuple[str, str]]:
    """Return the (chain, descriptor) pairs that a step's parameters show. Raises ApprovalError when they are no list."""
    if not isinstance(shown, list):
        raise ApprovalError("the step's safe destinations are not a list")
    return [(str(one.get("chain")), str(one.get("descriptor"))) for one in shown if isinstance(one, dict)]


def secret_aad(connection: str, name: str) -> bytes:
    """Return what a connection's sealed secret is bound to: it opens for this connection and name only."""
    return f"connection/{connection}/{name}".encode()


def channel_aad(channel: str) -> bytes:
    """Return what a channel's sealed secret is bound to."""
    return f"channel/{channel}".encode()
