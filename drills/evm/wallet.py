"""Keys of people outside: a hardware wallet that signs what it is shown, and who signed a raw transaction.

Rule: a key is derived from a tagged name, so that two runs use the same one; it guards nothing but a drill's own chain.
"""

import sys

from eth_hash.auto import keccak

_limit = sys.getrecursionlimit()
from eth_account import Account  # noqa: E402  its dependency raises the recursion limit; put it back
from eth_typing import Hash32  # noqa: E402  as above

sys.setrecursionlimit(_limit)

TAG = b"portcullis/drill/key/v1\0"


class Wallet:
    """One person's key."""

    def __init__(self, scenario: str, person: str) -> None:
        self._account = Account.from_key(keccak(TAG + f"{scenario}\0{person}".encode()))

    @property
    def address(self) -> str:
        """The 0x address, lower-case."""
        return str(self._account.address).lower()

    def sign(self, digest: bytes) -> bytes:
        """Return r ‖ s ‖ v over 32 bytes, v 27 or 28."""
        return bytes(self._account.unsafe_sign_hash(Hash32(digest)).signature)


def sender_of(raw: bytes) -> str:
    """Return the 0x address that signed a raw transaction; whatever the library raises for one that is none."""
    return str(Account.recover_transaction(raw))
