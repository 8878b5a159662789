"""Descriptors: one wallet has one text, a wrong one says why, a private key is never shown."""

from collections.abc import Callable

import pytest
from embit import bip32
from embit.descriptor.checksum import checksum
from hypothesis import given
from hypothesis import strategies as st

from service.domain.bitcoin.descriptor import Cosigner, Descriptor, H, Kind
from service.domain.bitcoin.network import MAIN, REGTEST
from service.domain.errors import InputError
from tests.unit.service.domain.bitcoin.wallets import cosigner, wallet


@pytest.mark.parametrize("kind", list(Kind))
def test_a_descriptor_is_read_as_it_was_written_in_any_order_of_keys(kind: Kind) -> None:
    made = wallet(kind)
    assert Descriptor.parse(made.text, REGTEST) == made
    assert Descriptor.of(kind, 2, tuple(reversed(made.keys)), REGTEST).text == made.text
    assert made.address(0, 0) != made.address(0, 1) != made.address(1, 1)


def test_the_keys_of_the_script_are_sorted_as_bip_67_says() -> None:
    place = wallet().place(0, 3)
    keys = sorted(place.keys)
    assert place.script == b"\x52" + b"".join(b"\x21" + key for key in keys) + b"\x53\xae"


def test_the_taproot_script_counts_x_only_keys_below_the_point_that_nobody_has() -> None:
    place = wallet(Kind.TR).place(0, 3)
    first, second, third = sorted(place.keys)
    assert place.script == b"\x20" + first + b"\xac\x20" + second + b"\xba\x20" + third + b"\xba\x52\x9c"
    assert place.control[1:].hex() == H
    assert place.control[0] in (0xC0, 0xC1)


def test_the_other_writing_of_hardened_is_the_same_key() -> None:
    text = wallet().text.partition("#")[0].replace("48h/1h/0h/2h", "48'/1'/0'/2'")
    assert Descriptor.parse(f"{text}#{checksum(text)}", REGTEST) == wallet()


def test_rekeying_puts_the_fresh_key_in_the_place_of_the_lost_one() -> None:
    before, lost, fresh = wallet(), cosigner(2), cosigner(9)
    after = before.rekeyed(lost, fresh)
    assert set(after.keys) == {*before.keys, fresh} - {lost}
    with pytest.raises(InputError, match="not of this wallet"):
        after.rekeyed(lost, fresh)
    with pytest.raises(InputError, match="twice"):
        before.rekeyed(lost, cosigner(1))


def _body() -> str:
    return wallet().text.partition("#")[0]


WRONG: dict[str, Callable[[], str]] = {
    "checksum": lambda: _body() + "#qqqqqqqq",
    "another form": lambda: _body().replace("sortedmulti", "multi"),
    "wrapped": lambda: f"sh({_body()})",
    "an internal key that somebody has": lambda: wallet(Kind.TR).text.partition("#")[0].replace(H, "79be" + H[4:]),
    "one branch": lambda: _body().replace("<0;1>", "0"),
    "threshold over keys": lambda: _body().replace("sortedmulti(2", "sortedmulti(4"),
    "threshold of nothing": lambda: _body().replace("sortedmulti(2", "sortedmulti(0"),
    "no origin": lambda: _body().replace(f"[{cosigner(1).fingerprint}/48h/1h/0h/2h]", ""),
    "a key twice": lambda: _body().replace(cosigner(1).text, cosigner(2).text),
    "a mistyped key": lambda: _body().replace(cosigner(1).xpub[20:24], "1111", 1),
    "another network": lambda: wallet(network=MAIN).text,
    "rest": lambda: _body() + "x",
    "nothing": str,
    "long": lambda: "wsh(" + "a" * 5000,
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_descriptor_is_refused(what: str) -> None:
    with pytest.raises(InputError):
        Descriptor.parse(WRONG[what](), REGTEST)


def test_a_private_key_is_refused_and_not_shown() -> None:
    private = str(bip32.HDKey.from_seed(bytes(32)).to_base58())
    with pytest.raises(InputError, match="private") as caught:
        Descriptor.parse(_body().replace(cosigner(1).xpub, private), REGTEST)
    assert private not in str(caught.value)
    with pytest.raises(InputError, match="private"):
        Cosigner.parse(cosigner(1).text.replace(cosigner(1).xpub, private), REGTEST)


@pytest.mark.parametrize(("branch", "index"), [(2, 0), (-1, 0), (0, -1), (0, 2**31)])
def test_places_outside_the_wallet_do_not_exist(branch: int, index: int) -> None:
    with pytest.raises(InputError):
        wallet().place(branch, index)


@given(st.text(alphabet="wshtr(),/<>;*#[]'0123456789abcdefpubT" + H[:4], max_size=200))
def test_any_text_is_a_wallet_or_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        Descriptor.parse(text, REGTEST)
