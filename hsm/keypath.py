"""Derivation paths as values (BIP-32 "the key tree", BIP-43 purposes 44, 84 and 86; SLIP-44 coin types).

Rules held here:
- A path is absolute: it starts at the master key and is written `m/84h/0h/0h/0/5`. `'`, `h` and `H` mean hardened when
  read; `h` is written, because a quote is lost in shells and logs.
- An index is 0 … 2^31-1; hardening is a flag, not an offset, everywhere but on the wire.
- A path has at most 10 levels. BIP-32 allows 255; no wallet standard uses more than 6, and the text of a longer one no
  longer fits a token label.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from hsm.errors import DerivationError

HARDENED_OFFSET: Final = 1 << 31
MAX_LEVELS: Final = 10
PURPOSE_BIP44: Final = 44
PURPOSE_BIP84: Final = 84
PURPOSE_BIP86: Final = 86
COIN_BITCOIN: Final = 0
COIN_BITCOIN_TEST: Final = 1
COIN_ETHEREUM: Final = 60
COIN_SOLANA: Final = 501

_LEVEL: Final = re.compile(r"(0|[1-9][0-9]{0,9})([hH']?)", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class PathLevel:
    """One level of a path: an index 0 … 2^31-1, hardened or not."""

    index: int
    hardened: bool

    def __post_init__(self) -> None:
        if not 0 <= self.index < HARDENED_OFFSET:
            raise DerivationError(f"index {self.index} is not in 0 … 2147483647", field="path")

    @property
    def wire(self) -> int:
        """The index as serialised by BIP-32: hardened ones have 2^31 added."""
        return self.index + (HARDENED_OFFSET if self.hardened else 0)

    def __str__(self) -> str:
        return f"{self.index}h" if self.hardened else str(self.index)


@dataclass(frozen=True, slots=True, order=True)
class DerivationPath:
    """An absolute path from the master key. The empty path is the master key itself."""

    levels: tuple[PathLevel, ...] = ()

    def __post_init__(self) -> None:
        if len(self.levels) > MAX_LEVELS:
            raise DerivationError(f"a path has at most {MAX_LEVELS} levels, not {len(self.levels)}", field="path")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `m`, `m/44h/60h/0h` or with `'` for `h`. Raises DerivationError naming the level that is wrong."""
        head, *parts = text.split("/", MAX_LEVELS + 1)
        if head != "m":
            raise DerivationError("a path starts with 'm', for example m/84h/0h/0h/0/5", field="path")
        levels = []
        for position, part in enumerate(parts, start=1):
            match = _LEVEL.fullmatch(part)
            if match is None:
                raise DerivationError(
                    f"level {position} of the path must be a number, then h if hardened", field="path"
                )
            levels.append(PathLevel(int(match[1]), bool(match[2])))
        return cls(tuple(levels))

    @classmethod
    def account(cls, purpose: int, coin: int, account: int) -> Self:
        """Return the account path `m/purpose'/coin'/account'`, all hardened (BIP-44 section "Path levels")."""
        return cls(tuple(PathLevel(index, hardened=True) for index in (purpose, coin, account)))

    def child(self, index: int, *, hardened: bool = False) -> "DerivationPath":
        """Return the path one level further down."""
        return DerivationPath((*self.levels, PathLevel(index, hardened)))

    def leaf(self, change: int, index: int) -> "DerivationPath":
        """Return the address path `…/change/index` below an account path (change: 0 receive, 1 change)."""
        return self.child(change).child(index)

    def below(self, relative: "DerivationPath") -> "DerivationPath":
        """Return the path at `relative` below this one (`m/0/5` below `m/84h/0h/0h` is `m/84h/0h/0h/0/5`)."""
        return DerivationPath((*self.levels, *relative.levels))

    @property
    def parent(self) -> "DerivationPath":
        """The path one level up. Raises DerivationError at the master key."""
        if not self.levels:
            raise DerivationError("the master key has no parent", field="path")
        return DerivationPath(self.levels[:-1])

    @property
    def is_hardened_account(self) -> bool:
        """Whether this is a three-level, all-hardened account path: what a leaked leaf cannot reach beyond."""
        return len(self.levels) == 3 and all(level.hardened for level in self.levels)  # noqa: PLR2004  purpose, coin, account

    def next_account(self) -> "DerivationPath":
        """Return the sibling account with the next index, as a rotation uses.

        Raises DerivationError for other paths.
        """
        if not self.is_hardened_account:
            raise DerivationError("only an account path m/purpose'/coin'/account' has a next account", field="path")
        return self.parent.child(self.levels[-1].index + 1, hardened=True)

    def __str__(self) -> str:
        return "/".join(("m", *map(str, self.levels)))
