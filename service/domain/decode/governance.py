"""Calls that change who decides: owners, threshold, guards and modules of a Safe, implementations of proxies, roles.

Rules: the selector alone makes it governance, whatever its arguments are; where they can be read, they are told in full,
because a person approves by them. `approveHash` is a Safe owner's signature on something that cannot be seen here.
"""

from typing import Final

from service.domain.decode.call import Arguments, Call, selector

_TOLD: Final = {
    # Safe (safe-smart-account: OwnerManager, ModuleManager, GuardManager, FallbackManager; masterCopy of old ones)
    "addOwnerWithThreshold(address,uint256)": "makes {a0} an owner; {n1} signatures are then needed",
    "removeOwner(address,address,uint256)": "removes the owner {a1}; {n2} signatures are then needed",
    "swapOwner(address,address,address)": "replaces the owner {a1} by {a2}",
    "changeThreshold(uint256)": "sets the number of signatures that are needed to {n0}",
    "enableModule(address)": "lets the module {a0} move everything without signatures",
    "disableModule(address,address)": "switches off the module {a1}",
    "setGuard(address)": "sets the transaction guard to {a0}",
    "setModuleGuard(address)": "sets the module guard to {a0}",
    "setFallbackHandler(address)": "sets the fallback handler to {a0}",
    "changeMasterCopy(address)": "replaces the wallet's code by {a0}",
    "setup(address[],uint256,address,bytes,address,address,uint256,address)": "sets up a Safe with its owners",
    "approveHash(bytes32)": "signs a Safe transaction that cannot be seen here",
    # Proxies (EIP-1967, EIP-1822, EIP-2535 and their administrators)
    "upgradeTo(address)": "replaces the code by {a0}",
    "upgradeToAndCall(address,bytes)": "replaces the code by {a0} and calls it",
    "upgrade(address,address)": "replaces the code of {a0} by {a1}",
    "upgradeAndCall(address,address,bytes)": "replaces the code of {a0} by {a1} and calls it",
    "setImplementation(address)": "replaces the code by {a0}",
    "_setImplementation(address)": "replaces the code by {a0}",
    "changeAdmin(address)": "makes {a0} the proxy's administrator",
    "changeProxyAdmin(address,address)": "makes {a1} the administrator of {a0}",
    "diamondCut((address,uint8,bytes4[])[],address,bytes)": "replaces parts of the code",
    # Owners and roles (EIP-173, OpenZeppelin access control, ds-auth, Compound's administrators)
    "transferOwnership(address)": "makes {a0} the owner",
    "acceptOwnership()": "takes over the ownership",
    "renounceOwnership()": "gives up the ownership",
    "setOwner(address)": "makes {a0} the owner",
    "setAuthority(address)": "lets {a0} decide who may call",
    "grantRole(bytes32,address)": "gives {a1} a role",
    "revokeRole(bytes32,address)": "takes a role from {a1}",
    "beginDefaultAdminTransfer(address)": "begins to make {a0} the administrator",
    "_setPendingAdmin(address)": "begins to make {a0} the administrator",
    "_acceptAdmin()": "takes over the administration",
    "addMinter(address)": "lets {a0} make new tokens",
    "updateMasterMinter(address)": "lets {a0} say who makes new tokens",
}
METHODS: Final = frozenset(signature.partition("(")[0] for signature in _TOLD)
"""Names of all of them, for platforms that tell a method and no calldata."""
_BY_SELECTOR: Final = {selector(signature): (signature.partition("(")[0], told) for signature, told in _TOLD.items()}
_MOST_ARGUMENTS: Final = 3


def governance_call(head: bytes, arguments: Arguments) -> Call | None:
    """Return what a call changes about who decides; None for any other call."""
    found = _BY_SELECTOR.get(head)
    if found is None:
        return None
    name, told = found
    values: dict[str, object] = {}
    for index in range(_MOST_ARGUMENTS):
        address, number = arguments.address(index), arguments.number(index)
        values[f"a{index}"] = address or "an address that is not one"
        values[f"n{index}"] = "an unknown number of" if number is None else number
    return Call(name, f"{name} {told.format_map(values)}", governance=True)
