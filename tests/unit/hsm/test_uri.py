from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import TokenUriError
from hsm.uri import Pkcs11Uri

FULL = (
    "pkcs11:token=portcullis-vault;serial=ab%3Bcd?module-path=/usr/lib/softhsm/libsofthsm2.so"
    "&pin-source=file:/etc/portcullis/pin&x-softhsm-conf=/etc/portcullis/softhsm2.conf"
)
TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=40)


def test_attributes_are_decoded() -> None:
    uri = Pkcs11Uri.parse(FULL)
    assert uri.need("token") == "portcullis-vault"
    assert uri.need("serial") == "ab;cd"
    assert uri.need_file("module-path") == Path("/usr/lib/softhsm/libsofthsm2.so")
    assert uri.need_file("pin-source") == Path("/etc/portcullis/pin")
    assert str(uri) == FULL


@given(TEXT, TEXT)
def test_what_is_written_reads_back(token: str, source: str) -> None:
    uri = Pkcs11Uri((("token", token),), (("pin-source", source), ("x-note", token)))
    assert Pkcs11Uri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("token=a", "uri"),
        ("pkcs11:token", "uri"),
        ("pkcs11:token=a;token=b", "token"),
        ("pkcs11:tokn=a", "uri"),
        ("pkcs11:token=a?pinsource=b", "uri"),
        ("pkcs11:token=%ff", "token"),
        ("pkcs11:token=a%0ab", "token"),
        ("pkcs11:" + "x" * 5000, "uri"),
    ],
)
def test_malformed_uris_name_the_attribute(text: str, field: str) -> None:
    with pytest.raises(TokenUriError) as refused:
        Pkcs11Uri.parse(text)
    assert refused.value.field == field


def test_a_pin_in_the_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(TokenUriError) as refused:
        Pkcs11Uri.parse("pkcs11:token=a?pin-value=839217")
    assert "839217" not in str(refused.value)
    assert "pin-source" in str(refused.value)


@pytest.mark.parametrize("source", ["|/bin/cat", "relative/pin", "file:pin"])
def test_a_pin_source_is_an_absolute_file(source: str) -> None:
    uri = Pkcs11Uri((("token", "a"),), (("pin-source", source),))
    with pytest.raises(TokenUriError) as refused:
        uri.need_file("pin-source")
    assert refused.value.field == "pin-source"


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(TokenUriError, match="module-path"):
        Pkcs11Uri.parse("pkcs11:token=a").need_file("module-path")
