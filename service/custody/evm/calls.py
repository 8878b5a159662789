"""Containment of an own hot wallet beside the chain: holds of our own gate, where its signer asks it.

Everything that is signed with the wallet's key is the key worker's: `replace_pending`, `revoke_allowances`, `sweep_to_safe`.
"""

from collections.abc import Mapping
from typing import Final

from service.custody.base import GATED, GatedCalls
from service.ports.custody import Capability, ConnectionConfig, GateHolds, SignHere

CAPABILITIES: Final = GATED
MISSING: Final[Mapping[Capability, str]] = {
    Capability.DROP_BROADCAST: (
        "an own wallet has no drop_broadcast at a platform: replace_pending takes the nonce of each pending transaction"
    ),
    Capability.CANCEL_PENDING: (
        "an own wallet has no cancel_pending at a platform: replace_pending takes the nonce of each pending transaction"
    ),
    Capability.REVOKE_CREDENTIAL: "an own wallet has no revoke_credential: restrict_key stops its key, its server by hand",
    Capability.FORBID_ONE_TIME_ADDRESSES: (
        "an own wallet has no forbid_one_time_addresses: hold the account, or forbid them in the wallet's server by hand"
    ),
    Capability.FREEZE_WORKSPACE: "an own wallet has no freeze_workspace: stop its server by hand",
    Capability.FREEZE_ACCOUNT: "an own wallet has no freeze_account: restrict_key stops its key",
    Capability.PUBLISH_ADDRESS: "an own wallet has no publish_address: give payers the new address by hand",
    Capability.REJECT_CHANGES: "nobody approves changes of an own wallet, so no reject_changes: undo them by hand",
}


def calls(config: ConnectionConfig, sign: SignHere | None, holds: GateHolds) -> GatedCalls:  # noqa: ARG001  no API key
    """Return the calls of one connection; goes into the platform's declaration."""
    return GatedCalls(config, holds, MISSING)
