"""Backup shares of a seed (SLIP-39): any `threshold` of `count` people restore it, fewer learn nothing.

Rules held here:
- The arithmetic is that of the standard's reference library, `shamir-mnemonic`; here are the bounds and the errors.
- What is split is the seed itself, without a passphrase: a forgotten one would make every share worthless, and the
  quorum of the holders is the protection. Shares are extendable (SLIP-39 revision of 2023), so the passphrase-less
  restore does not depend on the random identifier.
- One group; a threshold of one is refused: each holder alone would have the seed.
- New shares are combined again before anybody sees them, so a backup that does not restore is never handed out.
- A message names the place of a wrong share, never its words.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.share import Share

from hsm.custodian import MAX_SEED_BYTES, MIN_SEED_BYTES
from hsm.errors import HsmInputError, SealError

MAX_SHARES: Final = 16
MIN_THRESHOLD: Final = 2
MAX_SHARE_TEXT: Final = 1024
MAX_PASSPHRASE: Final = 256


@dataclass(frozen=True, slots=True)
class ShareScheme:
    """How many shares there are (2-16) and how many restore the seed (2-count)."""

    threshold: int
    count: int

    def __post_init__(self) -> None:
        if not MIN_THRESHOLD <= self.count <= MAX_SHARES:
            raise HsmInputError(f"there are {MIN_THRESHOLD} to {MAX_SHARES} shares, not {self.count}", field="shares")
        if not MIN_THRESHOLD <= self.threshold <= self.count:
            raise HsmInputError(
                f"the threshold is {MIN_THRESHOLD} to {self.count}, not {self.threshold}: with one, each holder alone has "
                "the seed",
                field="shares",
            )


@dataclass(frozen=True, slots=True, repr=False)
class BackupShares:
    """The words of each share, and the number that all of them carry. Shown once, kept nowhere."""

    identifier: int
    texts: tuple[str, ...]

    def __repr__(self) -> str:
        return f"BackupShares({len(self.texts)} shares of set {self.identifier})"


def split_seed(seed: bytes, scheme: ShareScheme) -> BackupShares:
    """Split a seed of 16-64 bytes, of even length, into shares. Raises HsmInputError for other lengths."""
    if not MIN_SEED_BYTES <= len(seed) <= MAX_SEED_BYTES or len(seed) % 2:
        raise HsmInputError(
            f"a seed has {MIN_SEED_BYTES} to {MAX_SEED_BYTES} bytes, an even number, to be split (SLIP-39)",
            field="seed",
        )
    texts = tuple(generate_mnemonics(1, [(scheme.threshold, scheme.count)], bytes(seed))[0])
    for start in range(scheme.count):
        chosen = [texts[(start + place) % scheme.count] for place in range(scheme.threshold)]
        if not hmac.compare_digest(combine_mnemonics(chosen), seed):
            raise SealError("the shares do not restore the seed: nothing was handed out, begin the ceremony anew")
    return BackupShares(Share.from_mnemonic(texts[0]).identifier, texts)


def restore_seed(texts: Sequence[str], passphrase: str = "") -> bytes:
    """Return the seed of a threshold of shares; `passphrase` only where another wallet split them with one.

    Raises HsmInputError naming the share that is mistyped, or why these do not belong together. A wrong passphrase gives
    another seed and no error (SLIP-39): compare the addresses.
    """
    if len(passphrase) > MAX_PASSPHRASE or not (passphrase.isascii() and passphrase.isprintable()):
        raise HsmInputError(f"a passphrase is up to {MAX_PASSPHRASE} printable ASCII characters", field="passphrase")
    for place, text in enumerate(texts, start=1):
        check_share(text, place)
    try:
        return bytes(combine_mnemonics([" ".join(text.split()) for text in texts], passphrase.encode()))
    except MnemonicError as refused:
        raise HsmInputError(f"these shares do not restore a seed: {_safe(refused)} (SLIP-39)", field="shares") from None


def check_share(text: str, place: int) -> int:
    """Return how many shares restore the seed, as this one says. Raises HsmInputError if it is mistyped."""
    if not 0 < len(text) <= MAX_SHARE_TEXT:
        raise HsmInputError(f"share {place} is empty or longer than any share", field="shares")
    try:
        return int(Share.from_mnemonic(" ".join(text.split())).member_threshold)
    except MnemonicError:
        raise HsmInputError(
            f"share {place} is mistyped: its words or checksum are wrong (SLIP-39)", field="shares"
        ) from None


def _safe(refused: MnemonicError) -> str:
    """Say what the library means without the words that it quotes."""
    said = str(refused)
    if "Wrong number" in said or "Insufficient" in said:
        return "too few or too many of them"
    if "digest" in said:
        return "one is of another seed"
    return "they are not of one set, or one is there twice"
