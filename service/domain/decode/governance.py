"""Calls that change who decides: owners, threshold, guards and modules of a Safe, implementations of proxies, roles.

Rules: the selector alone makes it governance, whatever its arguments are; where they can be read, they are told in full,
because a person approves by them. Who gains by it ({g…}) is a party to the call, read as a contract without checks reads it;
who loses by it is none, or a lock on a thief would keep him in. `approveHash` is a Safe owner's signature on something that
cannot be seen here.
"""

from typing import Final

from service.domain.decode.call import Arguments, Call, selector

_TOLD: Final = {
    # Safe (safe-smart-account: OwnerManager, ModuleManager, GuardManager, FallbackManager; masterCopy of old ones)
    "addOwnerWithThreshold(address,uint256)": "makes {g0} an owner; {n1} signatures are then needed",
    "removeOwner(address,address,uint256)": "removes the owner {a1}; {n2} signatures are then needed",
    "swapOwner(address,address,address)": "replaces the owner {a1} by {g2}",
    "changeThreshold(uint256)": "sets the number of signatures that are needed to {n0}",
    "enableModule(address)": "lets the module {g0} move everything without signatures",
    "disableModule(address,address)": "switches off the module {a1}",
    "setGuard(address)": "sets the transaction guard to {g0}",
    "setModuleGuard(address)": "sets the module guard to {g0}",
    "setFallbackHandler(address)": "sets the fallback handler to {g0}",
    "changeMasterCopy(address)": "replaces the wallet's code by {g0}",
    "setup(address[],uint256,address,bytes,address,address,uint256,address)": "sets up a Safe with its owners",
    "approveHash(bytes32)": "signs a Safe transaction that cannot be seen here",
    "setDomainVerifier(bytes32,address)": "lets {g1} say what the Safe signed",
    "setSafeMethod(bytes4,bytes32)": "changes what the fallback handler does",
    # Other multisigs, smart accounts (ERC-7579), timelocks
    "addOwner(address)": "makes {g0} an owner",
    "removeOwner(address)": "removes the owner {a0}",
    "replaceOwner(address,address)": "replaces the owner {a0} by {g1}",
    "changeRequirement(uint256)": "sets the number of signatures that are needed to {n0}",
    "confirmTransaction(uint256)": "signs number {n0} of a wallet, which cannot be seen here",
    "installModule(uint256,address,bytes)": "installs the module {g1}",
    "uninstallModule(uint256,address,bytes)": "removes the module {a1}",
    "updateDelay(uint256)": "sets the delay to {n0} s",
    # Proxies (EIP-1967, EIP-1822, EIP-2535 and their administrators)
    "upgradeTo(address)": "replaces the code by {g0}",
    "upgradeToAndCall(address,bytes)": "replaces the code by {g0} and calls it",
    "upgrade(address,address)": "replaces the code of {a0} by {g1}",
    "upgradeAndCall(address,address,bytes)": "replaces the code of {a0} by {g1} and calls it",
    "setImplementation(address)": "replaces the code by {g0}",
    "_setImplementation(address)": "replaces the code by {g0}",
    "changeAdmin(address)": "makes {g0} the proxy's administrator",
    "changeProxyAdmin(address,address)": "makes {g1} the administrator of {a0}",
    "diamondCut((address,uint8,bytes4[])[],address,bytes)": "replaces parts of the code",
    # Owners and roles (EIP-173, OpenZeppelin access control, ds-auth, Compound's administrators)
    "transferOwnership(address)": "makes {g0} the owner",
    "acceptOwnership()": "takes over the ownership",
    "renounceOwnership()": "gives up the ownership",
    "setOwner(address)": "makes {g0} the owner",
    "setAuthority(address)": "lets {g0} decide who may call",
    "grantRole(bytes32,address)": "gives {g1} a role",
    "revokeRole(bytes32,address)": "takes a role from {a1}",
    "beginDefaultAdminTransfer(address)": "begins to make {g0} the administrator",
    "_setPendingAdmin(address)": "begins to make {g0} the administrator",
    "_acceptAdmin()": "takes over the administration",
    "setPendingAdmin(address)": "begins to make {g0} the administrator",
    "acceptAdmin()": "takes over the administration",
    "addMinter(address)": "lets {g0} make new tokens",
    "updateMasterMinter(address)": "lets {g0} say who makes new tokens",
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
        values[f"a{index}"] = values[f"g{index}"] = address or "an address that is not one"
        values[f"n{index}"] = "an unknown number of" if number is None else number
    gain = tuple(arguments.masked(index) for index in range(_MOST_ARGUMENTS) if f"{{g{index}}}" in told)
    return Call(name, f"{name} {told.format_map(values)}", governance=True, others=gain)
