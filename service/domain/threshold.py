"""How many owners of a multisig must sign, and raising that: what people ask for, word for word what they approve.

Rules: people tell three numbers, as they read them of the chain: how many signatures it asks for now, how many it is to
ask for, and how many owners it has. The change is made only where the chain says the same of the first and the last, so
nobody approves a number whose meaning changed meanwhile. It raises, never lowers, and never beyond the number of owners
(Safe reverts that, too: GS201). The sentence says what it does to those who sign.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.errors import InputError
from service.domain.safe import MOST_OWNERS, SafeState

BEFORE: Final = "before"
SIGNATURES: Final = "signatures"
OWNERS: Final = "owners"
TOO_FEW: Final = "vault_keys_too_few"
"""In a receipt: by Safe, how many of the needed owners are active keys of the vault, where those are not enough."""
_MOST_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Raise:
    """From `before` signatures to `signatures`, of `owners`: 1 <= before < signatures <= owners <= MOST_OWNERS."""

    before: int
    signatures: int
    owners: int

    def __post_init__(self) -> None:
        if not 1 <= self.before < self.signatures:
            raise InputError(
                f"a threshold of {self.before} is raised to more, not to {self.signatures}", field=SIGNATURES
            )
        if not self.signatures <= self.owners <= MOST_OWNERS:
            raise InputError(
                f"{self.signatures} signatures take as many owners, of whom there are at most {MOST_OWNERS}",
                field=OWNERS,
            )

    @property
    def sentence(self) -> str:
        """What it does to people's ability to sign."""
        spare = self.owners - self.signatures
        left = f"{spare} of them" if spare else "none of them"
        return (
            f"from then on {self.signatures} of its {self.owners} owners must sign whatever it does, instead of"
            f" {self.before}, lowering that again included: {left} may be away or have lost the key, one more and nothing"
            " can be moved or changed for good"
        )

    def differs(self, state: SafeState) -> str | None:
        """Return why it is not made of what the chain says now; None where it is, or is already."""
        if state.threshold >= self.signatures:
            return None
        if (state.threshold, len(state.owners)) == (self.before, self.owners):
            return None
        return (
            f"it asks for {state.threshold} signatures of {len(state.owners)} owners now, and people approved raising"
            f" {self.before} of {self.owners}: ask again with the numbers of now"
        )


def asked(told: Mapping[str, object]) -> Raise:
    """Return what a person asked for. Raises InputError naming the field."""
    return Raise(number(told, BEFORE), number(told, SIGNATURES), number(told, OWNERS))


def number(told: Mapping[str, object], name: str) -> int:
    """Return one of the numbers, not negative. Raises InputError naming it."""
    text = str(told.get(name, ""))
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InputError(f"{name} is a whole number of at most {MOST_OWNERS}", field=name)
    return int(text)
