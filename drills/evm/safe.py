"""Real Safes 1.5.0 on a drill's chain: created as their factory does, signed for by wallets, usurped, looked at.

Rules (safe-smart-account 1.5.0): a signature is r ‖ s ‖ v over `getTransactionHash`, as the Safe itself tells it; the owner
who sends the transaction needs none but his address (v = 1); signatures are sorted by owner. Storage slot 0 of a Safe is
its master copy, whose code it runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_abi.abi import encode
from eth_hash.auto import keccak

from drills.evm.errors import EvmError, RevertedError
from drills.evm.node import WORD, ZERO, Node, call_data, selector, word
from drills.evm.packages import bytecode, safe_artifact
from drills.evm.wallet import Wallet

FIELDS = "address,uint256,bytes,uint8,uint256,uint256,uint256,address,address"
EXECUTE = f"execTransaction({FIELDS},bytes)"
HASH = f"getTransactionHash({FIELDS},uint256)"
SETUP = "setup(address[],uint256,address,bytes,address,address,uint256,address)"
CALL, DELEGATECALL = 0, 1
MASTER_COPY_SLOT = bytes(WORD)
GUARD_SLOT = keccak(b"guard_manager.guard.address")
LOCKED_ERROR = selector("SafeIsLocked()")
MAX_SALT = 2**32


@dataclass(frozen=True, slots=True)
class Call:
    """What a Safe is to do: operation 0 calls, 1 delegatecalls."""

    to: str
    data: bytes
    operation: int = CALL


@dataclass(frozen=True, slots=True)
class Factory:
    """Safe's own contracts on one chain, in the places that they got there."""

    node: Node
    master_copy: str
    factory: str
    fallback_handler: str

    @classmethod
    def deployed(cls, node: Node) -> "Factory":
        """Put Safe's contracts on a chain."""
        sender = str(node.ask("eth_accounts")[0])
        names = (
            "Safe.sol/Safe.json",
            "proxies/SafeProxyFactory.sol/SafeProxyFactory.json",
            "handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json",
        )
        return cls(node, *(node.deploy(bytecode(safe_artifact(name)), sender) for name in names))

    def create(self, owners: Sequence[str], threshold: int, salt: int) -> "Safe":
        """Create a Safe as people do: a proxy of the master copy, with its owners and the usual fallback handler."""
        setup = call_data(SETUP, list(owners), threshold, ZERO, b"", self.fallback_handler, ZERO, 0, ZERO)
        sender = str(self.node.ask("eth_accounts")[0])
        data = call_data("createProxyWithNonce(address,bytes,uint256)", self.master_copy, setup, salt % MAX_SALT)
        (log,) = [one for one in self.node.make(sender, self.factory, data)["logs"] if one["address"] == self.factory]
        return Safe(self.node, "0x" + str(log["topics"][1])[-40:])


@dataclass(frozen=True, slots=True)
class Safe:
    """One Safe."""

    node: Node
    address: str

    def signed(self, call: Call, sender: str, wallets: Sequence[Wallet]) -> bytes:
        """Return the execTransaction that `sender`, an owner, may send once the wallets have signed."""
        fields = (call.to, 0, call.data, call.operation, 0, 0, 0, ZERO, ZERO)
        nonce = int.from_bytes(self.node.view(self.address, "nonce()"), "big")
        digest = self.node.view(self.address, HASH, *fields, nonce)
        by_owner = {wallet.address: wallet.sign(digest) for wallet in wallets}
        by_owner[sender.lower()] = encode(["address", "uint256"], [sender, 0]) + b"\x01"
        return call_data(EXECUTE, *fields, _sorted(by_owner))

    def add_owners(self, owners: Sequence[str], threshold: int, sender: str, wallets: Sequence[Wallet]) -> None:
        """Let the owners add others, one transaction each."""
        for owner in owners:
            data = call_data("addOwnerWithThreshold(address,uint256)", owner, threshold)
            self.node.make(sender, self.address, self.signed(Call(self.address, data), sender, wallets))

    def master_copy(self) -> str:
        """Return the address of the code that it runs, lower-case."""
        return "0x" + self.node.storage(self.address, MASTER_COPY_SLOT)[-20:].hex()

    def is_locked(self) -> bool:
        """Say whether a guard is in place that says of itself that it lets nothing leave this Safe."""
        guard = "0x" + self.node.storage(self.address, GUARD_SLOT)[-20:].hex()
        if guard == ZERO:
            return False
        try:
            return int.from_bytes(self.node.view(guard, "locked(address)", self.address), "big") == 1
        except EvmError:
            return False

    def refusal(self, sender: str, data: bytes) -> bytes:
        """Return the error's selector with which it refuses a call, empty when it does not."""
        try:
            self.node.tried(sender, self.address, data)
        except RevertedError as error:
            return error.data[:4]
        return b""


def usurping(usurper: str) -> Call:
    """Return what the owners of a Safe were made to sign: it looks like a token transfer and replaces the master copy."""
    return Call(usurper, call_data("transfer(address,uint256)", usurper, 0), DELEGATECALL)


def sweeping(token: str | None, recipient: str, amount: int) -> bytes:
    """Return the call by which anybody empties a Safe that was usurped."""
    return call_data("sweep(address,address,uint256)", token or ZERO, recipient, amount)


def token_slot(holder: str) -> bytes:
    """Return where the drills' token keeps what an address holds: a mapping in slot 0."""
    return keccak(word(holder) + bytes(WORD))


def _sorted(signatures: Mapping[str, bytes]) -> bytes:
    return b"".join(signatures[owner] for owner in sorted(signatures, key=lambda owner: int(owner, 16)))
