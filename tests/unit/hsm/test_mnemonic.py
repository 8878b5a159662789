"""BIP-39 words to seeds: vectors of the standard, and words that are wrong."""

import pytest

from hsm.errors import HsmInputError
from hsm.mnemonic import seed_of_words

WORDS = " ".join(["abandon"] * 11 + ["about"])
LONG = " ".join(["zoo"] * 23 + ["vote"])


def test_the_standard_s_vectors() -> None:
    assert seed_of_words(WORDS, "TREZOR").hex() == (
        "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04"
    )
    assert seed_of_words(LONG, "TREZOR").hex() == (
        "dd48c104698c30cfe2b6142103248622fb7bb0ff692eebb00089b32d22484e1613912f0a5b694407be899ffd31ed3992c456cdf60f5d4564b8ba3f05a69890ad"
    )


def test_blanks_and_unicode_forms_do_not_matter() -> None:
    assert seed_of_words(f"  {WORDS.replace(' ', '   ')}\n") == seed_of_words(WORDS)
    assert seed_of_words(WORDS, "caf\u00e9") == seed_of_words(WORDS, "cafe\u0301")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (WORDS.replace("about", "abandon"), "checksum"),
        (WORDS.replace("about", "aboot"), "word 12 is not"),
        ("abandon about", "2 words"),
        ("", "0 words"),
    ],
)
def test_wrong_words_are_named_by_place_only(words: str, said: str) -> None:
    with pytest.raises(HsmInputError, match=said) as refused:
        seed_of_words(words)
    assert "abandon" not in str(refused.value)
    assert "aboot" not in str(refused.value)


def test_a_passphrase_is_bounded() -> None:
    with pytest.raises(HsmInputError, match="256"):
        seed_of_words(WORDS, "x" * 257)
