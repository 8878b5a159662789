"""Containment of an own Bitcoin wallet beside the chain: holds of our own gate, where its signer asks it.

Everything that moves money (outbid, sweep, re-key) is signed in the vault and belongs to the key worker's actions, never to
this worker, which has no wallet key.
"""

from collections.abc import Mapping
from typing import Final

from service.custody.base import GATED, GatedCalls
from service.ports.custody import Capability, ConnectionConfig, GateHolds, SignHere

CAPABILITIES: Final = GATED
MISSING: Final[Mapping[Capability, str]] = {
    Capability.DROP_BROADCAST: (
        "Bitcoin has no drop_broadcast: sweep_to_safe outbids a pending transaction for the same coins (BIP-125)"
    ),
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
    Capability.FREEZE_ACCOUNT: "an own wallet has no freeze_account: restrict_key stops the vault's keys",
    Capability.PUBLISH_ADDRESS: (
        "nobody keeps an own wallet's addresses, so no publish_address: tell who pays in, and their address books"
    ),
    Capability.REJECT_CHANGES: "nobody approves changes of an own wallet, so no reject_changes: its signers refuse to sign",
}


def calls(config: ConnectionConfig, sign: SignHere | None, holds: GateHolds) -> GatedCalls:  # noqa: ARG001  no API key
    """Return the calls of one connection; goes into the platform's declaration."""
    return GatedCalls(config, holds, MISSING)
