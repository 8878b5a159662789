"""Where funds or rights go, as text: one spelling for each place, and one name for each address.

Rules: a sender's way of writing an address changes nothing. EVM addresses are kept in lower case (EIP-55 is a checksum), a
bech32 address that is written in capitals too (BIP-173 allows both); Base58 tells letters apart and stays. The same EVM
address on another chain belongs to the same key, so that what is locked is locked on all of them.
"""

import re
from typing import Final

_EVM: Final = re.compile(r"(?:eip155:[0-9]{1,32}:)?(0[xX][0-9a-fA-F]{40})", re.ASCII)
_BECH32_CAPITALS: Final = re.compile(r"(bip122:[0-9a-f]{32}:)?((?:BC|TB|BCRT)1[0-9A-Z]{8,87})", re.ASCII)


def spelt(place: str) -> str:
    """Return a place (CAIP-10, a bare address or a platform's own id) in the spelling in which it is kept."""
    if _EVM.fullmatch(place) is not None:
        return place.lower()
    return place.lower() if _BECH32_CAPITALS.fullmatch(place) is not None else place


def address_of(place: str) -> str:
    """Return what two places have in common if whoever has the one has the other: the address alone, or the id."""
    found = _EVM.fullmatch(place)
    if found is not None:
        return found[1].lower()
    head, _, tail = place.rpartition(":")
    return spelt(tail) if head.startswith("bip122:") else spelt(place)
