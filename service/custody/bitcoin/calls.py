"""Containment of an own Bitcoin wallet from the platform's side: what our gate before signing can hold, and no more.

Rules: nobody runs a Bitcoin wallet for us, so there is no API to call. What can be held is what asks us first: where the
wallet's signer asks `POST /v1/decisions` before it signs (`asks_gate`), a hold of an account or destination is a hold of
the wallet, at once. Everything that moves money (outbid, sweep, re-key) is signed in the vault and belongs to the key
worker's actions, never to this worker, which has no wallet key.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

from service.domain.account import AccountRef
from service.domain.errors import MissingCapabilityError
from service.domain.plan import Receipt, Verdict
from service.ports.custody import Capability, ConnectionConfig, GateHolds, PendingTransfer, SignHere

ASKS_GATE: Final = "asks_gate"
CAPABILITIES: Final = frozenset({Capability.HOLD_OUTGOING, Capability.LOCK_DESTINATION})
MISSING: Final[Mapping[Capability, str]] = {
    Capability.CANCEL_PENDING: (
        "Bitcoin has no cancel_pending: sweep_to_safe outbids a pending transaction for the same coins (BIP-125)"
    ),
    Capability.REVOKE_CREDENTIAL: (
        "an own wallet has no revoke_credential: restrict_key stops the vault's keys; take other signers' devices away"
    ),
    Capability.FORBID_ONE_TIME_ADDRESSES: (
        "an own wallet has no forbid_one_time_addresses: lock destinations, or hold the account"
    ),
    Capability.FREEZE_WORKSPACE: "an own wallet has no freeze_workspace: hold each account, and restrict its keys",
    Capability.PUBLISH_ADDRESS: (
        "nobody keeps an own wallet's addresses, so no publish_address: tell who pays in, and their address books"
    ),
}


class BitcoinCalls:
    """Implements `ports.custody.ContainmentCalls` for one connection."""

    def __init__(self, config: ConnectionConfig, holds: GateHolds) -> None:
        self._config = config
        self._holds = holds

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Nothing at all where the wallet signs without asking."""
        return CAPABILITIES if self._config.settings.get(ASKS_GATE) == "yes" else frozenset()

    def lacks(self, capability: Capability) -> str:
        """See the port."""
        if capability in MISSING:
            return MISSING[capability]
        return (
            f"connection {self._config.id} does not say that its wallet asks our gate, so no {capability.value}: stop its"
            f" signer by hand, let it ask POST /v1/decisions, and set {ASKS_GATE} to yes"
        )

    def settled(self, key: str) -> Verdict:  # noqa: ARG002  nobody to ask by key
        """See the port."""
        return Verdict.CANNOT_TELL

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        """See the port."""
        return self._holds.place(account.connection, "account", account.ref, key=key)

    def outgoing_held(self, account: AccountRef) -> Verdict:
        """See the port."""
        return self._holds.held(account.connection, "account", account.ref)

    def release_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        """See the port."""
        return self._holds.release(account.connection, "account", account.ref, key=key)

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """See the port; what was told to us and has not reached the chain."""
        yield from self._holds.known_pending(account)

    def cancel(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        _refuse(Capability.CANCEL_PENDING)

    def cancelled(self, transaction: str) -> Verdict:  # noqa: ARG002  as cancel
        """See the port."""
        return Verdict.CANNOT_TELL

    def lock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:  # noqa: ARG002  of all
        """See the port."""
        return self._holds.place(self._config.id, "destination", destination, key=key)

    def destination_locked(self, destination: str) -> Verdict:
        """See the port."""
        return self._holds.held(self._config.id, "destination", destination)

    def unlock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:  # noqa: ARG002  of all
        """See the port."""
        return self._holds.release(self._config.id, "destination", destination, key=key)

    def revoke_credential(self, account: AccountRef | None, actor: str, *, key: str) -> Receipt:  # noqa: ARG002  no such call
        """See the port."""
        _refuse(Capability.REVOKE_CREDENTIAL)

    def credential_revoked(self, actor: str) -> Verdict:  # noqa: ARG002  as revoke_credential
        """See the port."""
        return Verdict.CANNOT_TELL

    def forbid_one_time_addresses(self, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        _refuse(Capability.FORBID_ONE_TIME_ADDRESSES)

    def one_time_addresses_forbidden(self) -> Verdict:
        """See the port."""
        return Verdict.CANNOT_TELL

    def allow_one_time_addresses(self, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        _refuse(Capability.FORBID_ONE_TIME_ADDRESSES)

    def freeze_workspace(self, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        _refuse(Capability.FREEZE_WORKSPACE)

    def workspace_frozen(self) -> Verdict:
        """See the port."""
        return Verdict.CANNOT_TELL

    def publish_address(self, account: AccountRef, address: str, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        _refuse(Capability.PUBLISH_ADDRESS)

    def address_published(self, account: AccountRef, address: str) -> Verdict:  # noqa: ARG002  as publish_address
        """See the port."""
        return Verdict.CANNOT_TELL


def _refuse(capability: Capability) -> NoReturn:
    raise MissingCapabilityError(MISSING[capability])


def calls(config: ConnectionConfig, sign: SignHere | None, holds: GateHolds) -> BitcoinCalls:  # noqa: ARG001  no API key
    """Return the calls of one connection; goes into the platform's declaration."""
    return BitcoinCalls(config, holds)
