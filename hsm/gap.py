"""Finding the used addresses of an account (BIP-44, "Address gap limit"): pure, the chain is asked through a function.

Rules held here:
- Both chains of an account are walked, receiving (0) and change (1), from index 0 until `gap` addresses in a row are
  unused. BIP-44 says 20.
- The walk is bounded: a chain that calls everything used ends the scan with an error instead of holding the worker.
- "Cannot tell" is never "unused": what `is_used` raises goes through, and nothing that was found so far is returned.
- Addresses come from the account's public side, so no seed is opened for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError
from hsm.keypath import DerivationPath

GAP_LIMIT: Final = 20
MAX_SCANNED: Final = 1000
"""Addresses of one chain of one account that are asked for."""


@dataclass(frozen=True, slots=True)
class UsedLeaf:
    """An address that was used: its path below the account (`m/0/5`) and its compressed public key."""

    below: DerivationPath
    public_key: bytes


def used_leaves(
    account: ExtendedKey,
    is_used: Callable[[bytes], bool],
    changes: Sequence[int] = (0, 1),
    gap: int = GAP_LIMIT,
    most: int = MAX_SCANNED,
) -> tuple[UsedLeaf, ...]:
    """Return the used leaves of an account, in order of their paths.

    `is_used` is given a compressed public key. Raises HsmInputError when a chain of the account has more than `most`
    addresses to ask for, or `gap` is not 1-1000.
    """
    if not 1 <= gap <= MAX_SCANNED:
        raise HsmInputError(f"the gap limit is 1 to {MAX_SCANNED}, not {gap}", field="gap")
    found: list[UsedLeaf] = []
    for change in changes:
        chain = account.derive(DerivationPath().child(change))
        index, unused = 0, 0
        while unused < gap:
            if index >= most:
                raise HsmInputError(
                    f"more than {most} addresses are in use or the chain calls all of them used: register the account's "
                    "addresses one by one",
                    field="gap",
                )
            key = chain.derive(DerivationPath().child(index)).public_key
            if is_used(key):
                found.append(UsedLeaf(DerivationPath().leaf(change, index), key))
                unused = 0
            else:
                unused += 1
            index += 1
    return tuple(found)
