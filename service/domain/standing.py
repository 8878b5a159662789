"""What of a step's work has to stand in its chain until its block is final.

Rules: it is asked once, when the step holds, and kept in the step's receipt: by address the next nonce of what is in blocks,
and which transactions of the step are in one. It stands while no nonce went back and no transaction is missing: a nonce that
is used while ours is gone was taken by another transaction. Where it was never asked, nothing can be told.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.plan import Receipt, Verdict

IN_BLOCKS: Final = "in_blocks"
"""In a receipt: what stood in blocks when the step was done."""
_NONCES: Final = "nonces"
_TRANSACTIONS: Final = "transactions"
_NAMED_IN: Final = (_TRANSACTIONS, "rejections")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in blocks, in the newest or in the newest final one."""

    nonces: Mapping[str, int]
    """By CAIP-10 address, a multisig's or a key's: the next nonce."""
    transactions: Collection[str] = ()
    """Hashes of those that were asked about and are in a block."""

    def still(self, now: "Standing") -> Verdict:
        """Say whether what stood then stands now; CANNOT_TELL where an address was not asked."""
        if not self.nonces.keys() <= now.nonces.keys():
            return Verdict.CANNOT_TELL
        back = any(now.nonces[address] < nonce for address, nonce in self.nonces.items())
        return Verdict.DOES_NOT_HOLD if back or set(self.transactions) - set(now.transactions) else Verdict.HOLDS


def marked(receipt: Receipt | None, key: str, stood: Standing) -> Receipt:
    """Return a step's receipt with what stood when it was done; `key` is its reference where there is no receipt."""
    facts = {} if receipt is None else receipt.facts
    told = {_NONCES: dict(stood.nonces), _TRANSACTIONS: sorted(stood.transactions)}
    return Receipt(key if receipt is None else receipt.reference, {**facts, IN_BLOCKS: told})


def marks(receipt: Receipt | None) -> Standing | None:
    """Return what stood when the step was done; None where nobody asked."""
    told = None if receipt is None else receipt.facts.get(IN_BLOCKS)
    if not isinstance(told, Mapping):
        return None
    nonces, names = told.get(_NONCES), told.get(_TRANSACTIONS)
    if not isinstance(nonces, Mapping) or not all(isinstance(nonce, int) for nonce in nonces.values()):
        return None
    return Standing(dict(nonces), tuple(_texts(names)))


def named(receipt: Receipt | None) -> tuple[str, ...]:
    """Return the transactions that a receipt names, of one wallet or by multisig."""
    if receipt is None:
        return ()
    return tuple(name for fact in _NAMED_IN for name in _texts(receipt.facts.get(fact)))


def _texts(told: object) -> Iterator[str]:
    if isinstance(told, str):
        yield told
    elif isinstance(told, Mapping):
        yield from (name for one in told.values() for name in _texts(one))
    elif isinstance(told, list | tuple):
        yield from (name for one in told for name in _texts(one))
