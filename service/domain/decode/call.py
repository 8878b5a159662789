"""What one EVM call does, as far as containment must know, and how it is told to people."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from eth_hash.auto import keccak

WORD: Final = 32
SELECTOR: Final = 4
UNLIMITED: Final = (1 << 96) - 1
"""An allowance of 2^96 - 1 or more is unlimited: 79 thousand million of a token with 18 decimals, above what usual tokens
have, and the least of the constants that stand for everything."""
MOST_PARTIES: Final = 64
_MOST_PARTS: Final = 256
_ADDRESS: Final = (1 << 160) - 1
_SHOWN: Final = 6
_LONGEST: Final = 1_500


@lru_cache(maxsize=256)
def selector(signature: str) -> bytes:
    """Return the first four bytes of keccak-256 of a Solidity signature."""
    return keccak(signature.encode())[:SELECTOR]


@dataclass(frozen=True, slots=True)
class Call:
    """What one call does. Amounts are base units of the token at `to`; addresses lower-case 0x hex."""

    name: str
    """Solidity name, `plain transfer` without calldata, `unknown call` otherwise."""
    told: str = ""
    """What it does, in plain words; the name where empty."""
    recipient: str | None = None
    """Whom it pays, calls or gives rights; None where it takes them away."""
    amount: int | None = None
    unlimited_approval: bool = False
    governance: bool = False
    delegatecall: bool = False
    inners: "tuple[Call, ...]" = ()
    """The calls inside a wallet's transaction or a batch, in order."""
    others: tuple[str, ...] = ()
    """Whom it pays, calls or gives rights besides `recipient`."""
    unknown: bool = False
    """The bytes do not say what it does, or not all of it."""

    @property
    def inner(self) -> "Call | None":
        """The most dangerous call inside, the first of equals."""
        return max(self.inners, key=_danger, default=None)

    def any(self, fact: str) -> bool:
        """Say whether this call or one inside it has the fact: unlimited_approval, governance, delegatecall, unknown."""
        return bool(getattr(self, fact)) or any(inner.any(fact) for inner in self.inners)

    def fact(self, fact: str) -> bool | None:
        """As `any`, None where a call that is not known may have it."""
        return True if self.any(fact) else (None if self.any("unknown") else False)

    def sentence(self) -> str:
        """Return what it does in plain words, at most 1,500 characters."""
        words = self.told or self.name
        if self.inners:
            inside = "; ".join(inner.sentence() for inner in self.inners[:_SHOWN])
            more = len(self.inners) - _SHOWN
            words += f": {inside}" + (f"; and {more} more" if more > 0 else "")
        return words if len(words) <= _LONGEST else words[:_LONGEST] + " …"


class Arguments:
    """The arguments of a call by the Solidity ABI: 32-byte words, dynamic ones by offset from their tuple's start.

    What does not lie within the bytes, or is not of its type, is None.
    """

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._start = start

    @property
    def size(self) -> int:
        """Bytes from the start on."""
        return max(0, len(self._data) - self._start)

    @property
    def words(self) -> int:
        """Whole words from the start on."""
        return (len(self._data) - self._start) // WORD

    @property
    def exact_words(self) -> int | None:
        """As `words`, None where bytes are left over."""
        return self.words if (len(self._data) - self._start) % WORD == 0 else None

    def number(self, index: int) -> int | None:
        """Return a word as an unsigned number."""
        at = self._start + index * WORD
        return int.from_bytes(self._data[at : at + WORD], "big") if 0 <= at <= len(self._data) - WORD else None

    def address(self, index: int) -> str | None:
        """Return a word as an address; one with anything in its upper 12 bytes is none."""
        found = self.number(index)
        return None if found is None or found >> 160 else f"0x{found:040x}"

    def loaded(self, index: int) -> int:
        """Return a word as a contract without checks loads it: what is missing is zero."""
        at = self._start + index * WORD
        return int.from_bytes(self._data[at : at + WORD].ljust(WORD, b"\0"), "big")

    def masked(self, index: int) -> str:
        """Return a word as an address as a contract without checks reads it: by its lower 20 bytes."""
        return f"0x{self.loaded(index) & _ADDRESS:040x}"

    def data(self, index: int) -> bytes | None:
        """Return a dynamic `bytes`."""
        at = self._place(index)
        length = None if at is None else Arguments(self._data, at).number(0)
        if at is None or length is None or at + WORD + length > len(self._data):
            return None
        return self._data[at + WORD : at + WORD + length]

    def inside(self, index: int) -> "Arguments | None":
        """Return the parts of a dynamic tuple."""
        at = self._place(index)
        return None if at is None else Arguments(self._data, at)

    def array(self, index: int) -> "tuple[int, Arguments] | None":
        """Return the length of a dynamic array and its elements, from whose start their offsets count."""
        at = self._place(index)
        length = None if at is None else Arguments(self._data, at).number(0)
        if at is None or length is None or length > _MOST_PARTS:
            return None
        return length, Arguments(self._data, at + WORD)

    def _place(self, index: int) -> int | None:
        offset = self.number(index)
        if offset is None or self._start + offset + WORD > len(self._data):
            return None
        return self._start + offset


def parties(call: Call) -> tuple[str, ...]:
    """Return whom the call and those inside it pay, call or give rights: distinct lower-case 0x addresses, in order.

    At most 64; `more_parties` says whether there are more. Of calls that are not known nobody is told.
    """
    return tuple(dict.fromkeys(_named(call)))[:MOST_PARTIES]


def more_parties(call: Call) -> bool:
    """Say whether `parties` leaves somebody out."""
    return len(set(_named(call))) > MOST_PARTIES


def _named(call: Call) -> Iterator[str]:
    if call.recipient is not None:
        yield call.recipient
    yield from call.others
    for inner in call.inners:
        yield from _named(inner)


def units(amount: int) -> str:
    """Return what may be spent in words."""
    return "without limit" if amount >= UNLIMITED else f"{amount} base units"


def _danger(call: Call) -> int:
    return 4 * call.any("delegatecall") + 2 * call.any("governance") + call.any("unlimited_approval")
