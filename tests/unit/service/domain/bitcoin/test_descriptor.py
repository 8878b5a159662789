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
    assert Descriptor.of(kind, made.threshold, tuple(reversed(made.keys)), REGTEST).text == made.text
    assert made.address(0, 0) != made.address(0, 1) != made.address(1, 1)


def test_the_keys_of_the_script_are_sorted_as_bip_67_says() -> None:
    place = wallet().place(0, 3)
    keys = sorted(place.keys)
    assert place.script == b"\x52" + b"".join(b"\x21" + key for key in keys) + b"\x53\xae"


def test_the_taproot_script_counts_x_only_keys_below_the_point_that_nobody_has() -> None:
    place = wallet(Kind.TR).place(0, 3)
    first, second, third = sorted(place.keys)
    assert place.script == b"\x20" + first + b"\xac\x20" + second + b"\xba\x20" + third + b"\xba\x52\x9c"
    shown, control = place.shown
    assert shown == place.script
    assert control[1:].hex() == H
    assert control[0] in (0xC0, 0xC1)


# The test vectors of BIP-84 and BIP-86 (sections "Test vectors"), all of the words "abandon … about": account key, with
# BIP-84's written as xpub, and the addresses at 0/0, 0/1 and 1/0.
PUBLISHED = {
    Kind.WPKH: (
        (
            "wpkh([73c5da0a/84h/0h/0h]xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4Z"
            "eZXYVUhLv1VMrjPC7PW6V/<0;1>/*)#qf45pmyh"
        ),
        "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
        "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g",
        "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el",
    ),
    Kind.TR_KEY: (
        (
            "tr([73c5da0a/86h/0h/0h]xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49y"
            "fdDEHGCtMMj92pReUsQ/<0;1>/*)"
        ),
        "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
        "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
        "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7",
    ),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_addresses_of_one_key_are_those_that_bip_84_and_bip_86_publish(kind: Kind) -> None:
    text, *addresses = PUBLISHED[kind]
    found = Descriptor.parse(text, MAIN)
    assert found.kind is kind
    assert (found.threshold, len(found.keys), found.keys[0].path) == (
        1,
        1,
        f"m/{84 if kind is Kind.WPKH else 86}h/0h/0h",
    )
    assert [found.address(*at) for at in ((0, 0), (0, 1), (1, 0))] == addresses


def test_a_wallet_of_one_key_says_what_its_signatures_commit_to_and_are_verified_with() -> None:
    """BIP-143's script code of a key's hash; of BIP-86 the internal and the output key of its first vector."""
    found = Descriptor.parse(PUBLISHED[Kind.WPKH][0], MAIN).place(0, 0)
    point = bytes.fromhex("0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c")
    assert found.script == b"\x76\xa9\x14" + found.script_pubkey[2:] + b"\x88\xac"
    assert (found.shown, tuple(found.keys), found.internal) == ((point,), (point,), b"")
    found = Descriptor.parse(PUBLISHED[Kind.TR_KEY][0], MAIN).place(0, 0)
    assert (found.script, found.shown) == (b"", ())
    assert found.internal.hex() == "cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115"
    assert [key.hex() for key in found.keys] == ["a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"]


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_wallet_of_one_key_has_one(kind: Kind) -> None:
    with pytest.raises(InputError, match="has one key, not 2"):
        Descriptor.of(kind, 1, (cosigner(1), cosigner(2)), REGTEST)
    with pytest.raises(InputError, match="at least one, at most all"):
        Descriptor.of(kind, 2, (cosigner(1),), REGTEST)


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
    "two keys where one is the wallet": lambda: f"wpkh({cosigner(1).text},{cosigner(2).text})",
    "one key with a script": lambda: f"tr({cosigner(1).text},pk({cosigner(2).text}))",
    "one key with a threshold": lambda: f"wpkh(1,{cosigner(1).text})",
    "one key of another form": lambda: f"pkh({cosigner(1).text})",
    "one key, nested": lambda: f"sh(wpkh({cosigner(1).text}))",
    "one key without an origin": lambda: f"tr({cosigner(1).xpub}/<0;1>/*)",
    "a point instead of a key": lambda: f"tr({H})",
    "one key, wrong checksum": lambda: wallet(Kind.WPKH).text.partition("#")[0] + "#qqqqqqqq",
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
