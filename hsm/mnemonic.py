"""Seeds from words (BIP-39), for wallets that were made elsewhere and are restored into the vault token.

Rules held here:
- The words are checked, checksum included, before anything is derived; a message names the place of a wrong word,
  never the word.
- Words and passphrase are NFKD-normalised (BIP-39, "From mnemonic to seed"); English words only.
- New seeds do not come from here: they are drawn in the token and backed up as shares (`hsm.shares`).
"""

import unicodedata
from typing import Final

from embit import bip39

from hsm.errors import HsmInputError

LENGTHS: Final = (12, 15, 18, 21, 24)
MAX_PASSPHRASE: Final = 256


def seed_of_words(words: str, passphrase: str = "") -> bytes:
    """Return the 64-byte seed of 12 to 24 English words. Raises HsmInputError naming what is wrong, not the words."""
    if len(passphrase) > MAX_PASSPHRASE:
        raise HsmInputError(f"a passphrase has at most {MAX_PASSPHRASE} characters", field="passphrase")
    parts = unicodedata.normalize("NFKD", words).split()
    if len(parts) not in LENGTHS:
        raise HsmInputError(f"{len(parts)} words: BIP-39 has 12, 15, 18, 21 or 24", field="words")
    for place, word in enumerate(parts, start=1):
        if word not in bip39.WORDLIST:
            raise HsmInputError(f"word {place} is not in the English list of BIP-39", field="words")
    text = " ".join(parts)
    if not bip39.mnemonic_is_valid(text):
        raise HsmInputError("the checksum is wrong: a word is mistyped or misplaced (BIP-39)", field="words")
    return bytes(bip39.mnemonic_to_seed(text, unicodedata.normalize("NFKD", passphrase)))
