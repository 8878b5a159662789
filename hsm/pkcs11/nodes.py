"""A BIP-32 node that a token derived by itself."""

from dataclasses import dataclass

from hsm.pkcs11.session import Handle


@dataclass(frozen=True, slots=True)
class Node:
    """Handles of both halves, and the chain code (32 bytes)."""

    private: Handle
    public: Handle
    chain_code: bytes
