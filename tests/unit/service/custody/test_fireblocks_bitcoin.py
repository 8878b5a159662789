"""A co-signer's Bitcoin entries beside what is shown: compared, refused where they lie, doubted where nobody can tell."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.custody.fireblocks.assets import read_assets
from service.custody.fireblocks.bitcoin import read_change
from service.custody.fireblocks.display import compare
from service.custody.fireblocks.gate import FireblocksDoor
from service.custody.fireblocks.seen import RawTx, Seen, Shown, ShownDestination
from service.domain.bitcoin.network import MAIN, TEST, address_of
from service.domain.decode.bitcoin import double_sha256
from service.domain.decode.preimage import MAX_INPUTS
from service.domain.errors import InputError
from service.domain.gate import GateCall
from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig
from tests.support.cosigner_bitcoin import Coin, as_json, entries, of_key, witness
from tests.support.fireblocks import callback, pem, rsa_key, sign_request

ASSETS = read_assets({})
KEY, ELSE, FRIEND, THIEF = (bytes([number]) * 20 for number in range(1, 5))
SEGWIT: list[Coin] = [(KEY, 60_000), (KEY, 50_000)]
LEGACY: list[Coin] = [(KEY, None), (KEY, None)]
MIXED: list[Coin] = [(KEY, None), (KEY, 50_000)]
PAID, CHANGE = (80_000, witness(FRIEND)), (27_000, witness(KEY))
FORMS = pytest.mark.parametrize("coins", [SEGWIT, LEGACY, MIXED], ids=["segwit", "legacy", "mixed"])

# Fireblocks' published examples of one question in either form: hex values of the two entries, and their hashes.
LEGACY_HEAD = "0100000002c845e228b169e8713414f51f5a60a1c670aaf57138811279ddc3b530fe4c4ac800000000"
LEGACY_SECOND = "ffffffffa3d781905b0122466f72efa1f751cf8e2cb9f6fda8efedf989443bd358ec5f4800000000"
LEGACY_TAIL = (
    "ffffffff0230560100000000001976a9148ca80d9b17cdba4b0f9b117c92852ca04a69783988ac2b49010000000000160014"
    "95f6fbf9976938f6bffc646adf8b54a8f70620eb0000000001000000"
)
SCRIPT = "1976a91495f6fbf9976938f6bffc646adf8b54a8f70620eb88ac"
SEGWIT_HEAD = (
    "01000000b10723f7207447d6df6cfe68dde56180f8dfb5beef0fbf4fc3835c16a8d40195"
    "752adad0a7b9ceca853768aebb6965eca126a62965f698a0c1bc43d83db632ad"
)
SEGWIT_TAIL = (
    "000000001976a91484d685df1cf10dd7849402eef1d902bbbeec721a88ac50c3000000000000ffffffff"
    "f04d4108c16d20695cd2617917f6fd12ccb88a95faee6ba0ff8908a74fbdfba10000000001000000"
)
PUBLISHED = {
    "legacy": (
        (
            RawTx(
                LEGACY_HEAD + SCRIPT + LEGACY_SECOND + "00" + LEGACY_TAIL,
                "74bac76ffa277c14ba33ff1be302ed07e0a1e5dceebdc5f161df8d9d688b613c",
            ),
            RawTx(
                LEGACY_HEAD + "00" + LEGACY_SECOND + SCRIPT + LEGACY_TAIL,
                "ea70ff4dd53c7e99948ee3a27e070fe4efea2e3d9dd793eadea86cb04c8103be",
            ),
        ),
        ("0.000876", "0.00004164", of_key(bytes.fromhex("8ca80d9b17cdba4b0f9b117c92852ca04a697839"))),
        "fee unknown",
    ),
    "segwit": (
        (
            RawTx(
                SEGWIT_HEAD + "f0c9e8670413c6c965f9e2a8de2bf881512b8e7ebc067cbf6078d20c18f86086" + SEGWIT_TAIL,
                "29d5a9b584b6f34d0f6b8c3e63b8b8d995b35efc7ccae7efb09ac59c00f6690d",
            ),
            RawTx(
                SEGWIT_HEAD + "dab66c1c2cb4ff9b4aee2dffd89202728612859b5c8804b790f7719f91df380a" + SEGWIT_TAIL,
                "77b3e791aeadca9498701ceb6b58fc84efb96ca787c8220fb9c622b97c101596",
            ),
        ),
        ("0.0005", "0.00002598", witness(bytes.fromhex("95f6fbf9976938f6bffc646adf8b54a8f70620eb"))),
        "fee 2598 sat",
    ),
}


def address(script: bytes) -> str:
    return address_of(script, MAIN) or ""


def shown(
    amount: str = "0.0008", fee: str | None = "0.00003", to: bytes = PAID[1], change: tuple[bytes, ...] = ()
) -> Shown:
    there = ShownDestination(amount_native_str=amount, display_dst_address=address(to))
    return Shown("TRANSFER", "BTC", (there,), fee, tuple(address(one) for one in change))


def look(what: Shown, raw: tuple[RawTx, ...]) -> Seen:
    return compare(what, raw, ASSETS)


def mismatch(seen: Seen) -> bool | None:
    return None if seen.facts is None else seen.facts.display_mismatch


def summary(seen: Seen) -> str:
    return "" if seen.facts is None else seen.facts.summary or ""


@pytest.mark.parametrize("form", PUBLISHED)
def test_the_published_examples_pay_what_they_show(form: str) -> None:
    raw, (amount, fee, to), words = PUBLISHED[form]
    seen = look(shown(amount, fee, to), raw)
    assert (mismatch(seen), seen.doubt, seen.recipient) == (False, None, None)
    assert f"sat to {address(to)}" in summary(seen)
    assert words in summary(seen)


@FORMS
def test_a_payment_with_change_to_the_key_that_spends_is_compared(coins: list[Coin]) -> None:
    for outputs in ([PAID, CHANGE], [CHANGE, PAID], [PAID, (27_000, of_key(KEY))]):
        seen = look(shown(), entries(coins, outputs))
        assert (mismatch(seen), seen.doubt) == (False, None)
        assert "27000 sat to" in summary(seen)
        assert seen.payload_digest is not None


@FORMS
def test_a_whole_balance_is_sent_less_its_fee(coins: list[Coin]) -> None:
    seen = look(shown("0.0011"), entries(coins, [(107_000, PAID[1])]))
    assert (mismatch(seen), seen.doubt) == (False, None)


@pytest.mark.parametrize(
    "outputs",
    [
        [(80_000, witness(THIEF)), CHANGE],
        [(79_999, PAID[1]), (27_001, witness(THIEF))],
        [CHANGE],
        [(107_000, witness(THIEF))],
    ],
)
def test_another_payment_is_a_mismatch_where_payments_are_told_and_a_doubt_where_their_hash_is(
    outputs: list[tuple[int, bytes]],
) -> None:
    for coins in (LEGACY, MIXED):
        seen = look(shown(), entries(coins, outputs))
        assert (mismatch(seen), seen.doubt) == (True, None)
        stolen = [script for _, script in outputs if script == witness(THIEF)]
        assert seen.recipient == address(stolen[0] if stolen else CHANGE[1])
    hidden = look(shown(), entries(SEGWIT, outputs))
    assert mismatch(hidden) is None
    assert "of which the hash is signed" in (hidden.doubt or "")
    assert "only a hash tells" in summary(hidden)


@FORMS
def test_another_hash_than_that_of_the_entry_is_a_mismatch(coins: list[Coin]) -> None:
    good = entries(coins, [PAID, CHANGE])
    other = entries(coins, [(80_000, witness(THIEF)), CHANGE])
    for wrong in (other[1].payload, "00" * 32, good[1].payload[:62], bytes.fromhex(good[1].payload)[::-1].hex()):
        assert mismatch(look(shown(), (good[0], replace_payload(good[1], wrong)))) is True
    assert mismatch(look(shown(to=b"\x6a"), (good[0], replace_payload(good[1], "00")))) is True, "told or not"


def replace_payload(entry: RawTx, payload: str) -> RawTx:
    return RawTx(entry.raw_tx, payload)


@FORMS
def test_change_elsewhere_is_known_only_where_the_connection_names_it(coins: list[Coin]) -> None:
    elsewhere = entries(coins, [PAID, (27_000, witness(ELSE))])
    assert look(shown(), elsewhere).doubt is not None
    assert mismatch(look(shown(), elsewhere)) is not True, "it may be change: no proof"
    named = look(shown(change=(witness(ELSE),)), elsewhere)
    assert (mismatch(named), named.doubt) == (False, None)
    other = replace(shown(), change=(address_of(witness(ELSE), TEST) or "",))
    assert look(other, elsewhere).doubt is not None, "an address of another network is none of this one"


def test_change_is_known_for_its_own_vault_account_alone() -> None:
    settings = {
        "cosigner_public_key": pem(rsa_key("cosigner")),
        "change_addresses": json.dumps({"0": [address(witness(ELSE))]}),
    }
    door = FireblocksDoor(ConnectionConfig(ConnectionId("fb"), "fireblocks", settings, lambda _: b"", ()))
    there = dict(sign_request()["destinations"][0], amountNativeStr="0.0008", displayDstAddress=address(PAID[1]))  # type: ignore[index]  # the sample is a plain dict
    raw = as_json(entries(SEGWIT, [PAID, (27_000, witness(ELSE))]))
    told = {"asset": "BTC", "amountStr": "0.0008", "fee": "0.00003", "destinations": [there], "rawTx": raw}
    for account, doubted in (("0", False), ("1", True)):
        body = callback(sign_request(sourceId=account, **told), rsa_key("cosigner"))
        question = door.question(GateCall("v2/tx_sign_request", {}, body, 0.0))
        assert (question.doubt is not None) == doubted
        assert question.activity.kind == ("signing.requested" if doubted else "withdrawal.requested")


def test_coins_of_several_keys_have_no_change_of_their_own() -> None:
    for amount in (50_000, None):
        two: list[Coin] = [(KEY, 60_000), (THIEF, amount)]
        for back in (witness(KEY), witness(THIEF)):
            assert look(shown(), entries(two, [PAID, (27_000, back)])).doubt is not None
        named = look(shown(change=(witness(KEY),)), entries(two, [PAID, CHANGE]))
        assert (mismatch(named), named.doubt) == (False, None)


def test_a_fee_that_is_seen_must_be_the_told_one_and_small() -> None:
    alone = entries([(KEY, 90_000)], [PAID])
    assert look(shown(fee="0.0001"), alone).doubt is None
    assert "fee is not" in (look(shown(fee="0.00002"), alone).doubt or "")
    assert look(shown(fee=None), alone).doubt is not None
    large = look(shown(fee="0.001"), entries([(KEY, 180_000)], [PAID]))
    assert "large" in (large.doubt or "")
    assert look(shown(fee="0.001"), entries([(KEY, None)], [PAID])).doubt is None, "the legacy form tells no amounts"
    assert look(shown(fee=None), entries(SEGWIT, [PAID, CHANGE])).doubt is not None


def test_what_is_no_whole_transaction_is_a_doubt() -> None:
    whole = entries(SEGWIT, [PAID, CHANGE])
    later = entries(SEGWIT, [PAID, CHANGE], locktime=5)
    cases = [
        (),
        whole[:1],
        whole[::-1],
        (whole[0], later[1]),
        (whole[0], RawTx("00", "00")),
        (whole[0], RawTx(whole[1].raw_tx, "no hex")),
        (whole[0], RawTx("zz", whole[1].payload)),
        whole * MAX_INPUTS,
    ]
    for wrong in cases:
        seen = look(shown(), wrong)
        assert seen.doubt is not None
        assert mismatch(seen) is not True


def test_what_is_shown_must_be_a_payment() -> None:
    raw = entries(SEGWIT, [PAID, CHANGE])
    for wrong in (
        shown("many"),
        shown("0.000000001"),
        shown("1e59"),
        shown(to=b"\x6a"),
        replace(shown(), destinations=()),
    ):
        seen = look(wrong, raw)
        assert (mismatch(seen), seen.doubt is None) == (None, False)
    other = ShownDestination(amount_native_str="0.0008", display_dst_address=address(PAID[1]))
    assert look(replace(shown(), destinations=(other, other)), raw).doubt is not None


def test_several_destinations_are_all_held_against_the_bytes() -> None:
    more = ShownDestination(amount_native_str="0.0001", display_dst_address=address(witness(ELSE)))
    what = replace(shown(), destinations=(*shown().destinations, more))
    for coins in (SEGWIT, LEGACY):
        seen = look(what, entries(coins, [PAID, (10_000, witness(ELSE)), (17_000, witness(KEY))]))
        assert (mismatch(seen), seen.doubt) == (False, None)
    assert mismatch(look(what, entries(LEGACY, [PAID, CHANGE]))) is True


def test_change_addresses_are_read_and_bounded() -> None:
    good = address(witness(KEY))
    assert read_change({"change_addresses": json.dumps({"0": [good]})}) == {"0": (good,)}
    assert read_change({}) == {}
    for wrong in (
        "[]",
        '{"0": ["nobody"]}',
        json.dumps({"0": [good] * 21}),
        json.dumps({str(n): [] for n in range(5_001)}),
    ):
        with pytest.raises(InputError) as refused:
            read_change({"change_addresses": wrong})
        assert refused.value.field == "change_addresses"


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_whatever_comes_is_answered_and_never_taken_for_the_payment(raw: list[bytes]) -> None:
    seen = look(shown(), tuple(RawTx(one.hex(), double_sha256(one).hex()) for one in raw))
    assert seen.doubt is not None or mismatch(seen) is True


@given(st.sampled_from([(SEGWIT, 0), (SEGWIT, 1), (LEGACY, 0), (LEGACY, 1), (MIXED, 0)]), st.data())
def test_no_changed_byte_passes_even_with_its_own_hash(which: tuple[list[Coin], int], data: st.DataObject) -> None:
    coins, index = which
    whole = list(entries(coins, [PAID, CHANGE]))
    raw = bytearray.fromhex(whole[index].raw_tx)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    whole[index] = RawTx(raw.hex(), double_sha256(bytes(raw)).hex())
    seen = look(shown(), tuple(whole))
    assert seen.doubt is not None or mismatch(seen) is True


def test_an_amount_beside_legacy_coins_proves_no_fee() -> None:
    """A false one passes as no fee is compared; it makes a signature that no node takes (BIP-143)."""
    for amount in (50_000, 50_001):
        seen = look(shown(), entries([(KEY, None), (KEY, amount)], [PAID, CHANGE]))
        assert (mismatch(seen), seen.doubt) == (False, None)
        assert "fee unknown" in summary(seen)
