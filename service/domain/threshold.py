"""How many owners of a multisig must sign, and raising that: what people ask for, word for word what they approve.

Rules: people tell three numbers, as they read them of the chain: how many signatures it asks for now, how many it is to
ask for, and how many owners it has. The change is made only where the chain says the same of the first and the last, so
nobody approves a number whose meaning changed meanwhile. It raises, never lowers, and never beyond the number of owners
(Safe reverts that, too: GS201). The sentence says what it does to those who sign.

What a step raised is lowered again and nothing else: its receipt names the Safes whose numbers fitted when it began,
which are those it raises, and lowering goes from exactly what they were raised to, to what they asked for before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.errors import InputError
from service.domain.plan import Json, Receipt, Step, listed
from service.domain.safe import MOST_OWNERS, SafeState

BEFORE: Final = "before"
SIGNATURES: Final = "signatures"
OWNERS: Final = "owners"
TOO_FEW: Final = "vault_keys_too_few"
"""In a receipt: by Safe (CAIP-10), how many of the needed owners are active keys of the vault, where too few are."""
RAISES: Final = "raises"
"""In a receipt: the Safes (CAIP-10) that said what people approved when the step began; it raises these and no other."""
LEFT_ALONE: Final = "left_alone"
"""In a receipt: by Safe (CAIP-10), why the step does not raise it."""
SAFES: Final = "safes"
"""In a plan: by Safe (CAIP-10), the `signatures` that it was raised to and how many it asked for `before`."""
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
            f"where the chain says that it asks for {self.before} of {self.owners} now, and nowhere else, from then on"
            f" {self.signatures} of its {self.owners} owners must sign whatever it does, instead of"
            f" {self.before}, lowering that again included: {left} may be away or have lost the key, one more and nothing"
            " can be moved or changed for good"
        )

    def differs(self, state: SafeState) -> str | None:
        """Return why it is not made of what the chain says now; None where it is."""
        if (state.threshold, len(state.owners)) == (self.before, self.owners):
            return None
        return (
            f"it asks for {state.threshold} signatures of {len(state.owners)} owners now, and people approved raising"
            f" {self.before} of {self.owners}: ask again with the numbers of now"
        )


@dataclass(frozen=True, slots=True)
class Lower:
    """Back from exactly `signatures`, to which a step raised it, to `before`: 1 <= before < signatures."""

    signatures: int
    before: int

    def __post_init__(self) -> None:
        if not 1 <= self.before < self.signatures:
            raise InputError(
                f"a threshold that was raised to {self.signatures} was not {self.before} before", field=SAFES
            )


def raises(receipt: Receipt | None) -> frozenset[str]:
    """Return the Safes (CAIP-10) that a step raises; empty while it has not noted them."""
    return frozenset(listed(receipt, RAISES))


def handed_back(done: Sequence[Step]) -> Json:
    """Return what lowers all that these steps raised, in the order in which they were planned; see `lowers`."""
    found: dict[str, Lower] = {}
    for step in done:
        wanted = asked(step.params)
        for at in sorted(raises(step.receipt)):
            earlier = found.get(at)
            again = earlier is not None and earlier.signatures == wanted.before
            found[at] = Lower(wanted.signatures, earlier.before if earlier and again else wanted.before)
    return {SAFES: {at: {SIGNATURES: one.signatures, BEFORE: one.before} for at, one in found.items()}}


def lowers(told: Mapping[str, object]) -> Mapping[str, Lower]:
    """Return by Safe (CAIP-10) what a plan lowers. Raises InputError where it does not say that."""
    found: dict[str, Lower] = {}
    safes = told.get(SAFES)
    for at, one in safes.items() if isinstance(safes, Mapping) else ():
        if not isinstance(one, Mapping):
            raise InputError(f"{SAFES} does not say what {at} was raised from", field=SAFES)
        found[str(at)] = Lower(number(one, SIGNATURES), number(one, BEFORE))
    if not found:
        raise InputError(f"{SAFES} names no Safe", field=SAFES)
    return found


def asked(told: Mapping[str, object]) -> Raise:
    """Return what a person asked for. Raises InputError naming the field."""
    return Raise(number(told, BEFORE), number(told, SIGNATURES), number(told, OWNERS))


def number(told: Mapping[str, object], name: str) -> int:
    """Return one of the numbers, not negative. Raises InputError naming it."""
    text = str(told.get(name, ""))
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InputError(f"{name} is a whole number of at most {MOST_OWNERS}", field=name)
    return int(text)
