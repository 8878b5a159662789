"""Containment of a Safe beside the chain: holds of our own gate, where its signers ask it.

Everything on the chain is the key worker's: lock, owners and delayed withdrawals (`lock_multisig` and its like), and the
transactions out: `sweep_multisig` and `reject_pending`, carried where the vault's owners are enough, else proposed to the
other owners at a Safe transaction service.
"""

from collections.abc import Mapping
from typing import Final

from service.custody.base import GATED, GatedCalls
from service.ports.custody import Capability, ConnectionConfig, GateHolds, SignHere

CAPABILITIES: Final = GATED
MISSING: Final[Mapping[Capability, str]] = {
    Capability.DROP_BROADCAST: (
        "a Safe has no drop_broadcast: whoever carries its transaction outbids his own, by hand; reject_pending uses up its"
        " nonce"
    ),
    Capability.CANCEL_PENDING: (
        "a Safe has no cancel_pending of its own: lock_multisig refuses every queued transaction, reject_pending uses up"
        " their nonces, and without either an owner signs an empty transaction of the same nonce by hand"
    ),
    Capability.REVOKE_CREDENTIAL: (
        "a Safe has no revoke_credential: its credentials are its owners, so use replace_owner or remove_owner"
    ),
    Capability.FORBID_ONE_TIME_ADDRESSES: (
        "a Safe has no forbid_one_time_addresses: lock_multisig refuses every destination, or install a guard by hand"
    ),
    Capability.FREEZE_WORKSPACE: "a Safe has no freeze_workspace: lock each one with lock_multisig",
    Capability.FREEZE_ACCOUNT: "a Safe has no freeze_account: lock_multisig stops it on the chain",
    Capability.PUBLISH_ADDRESS: "a Safe has no publish_address: its address stays when owners change; tell payers by hand",
    Capability.REJECT_CHANGES: "a Safe has no reject_changes: its changes are transactions, so use reject_pending",
}


def calls(config: ConnectionConfig, sign: SignHere | None, holds: GateHolds) -> GatedCalls:  # noqa: ARG001  no API key
    """Return the calls of one connection; goes into the platform's declaration."""
    return GatedCalls(config, holds, MISSING)
