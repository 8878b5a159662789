"""What is signed of a Bitcoin transaction: entries that embit hashes are read the same; everything else is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.bitcoin.network import MAX_SATS
from service.domain.decode.bitcoin import double_sha256
from service.domain.decode.preimage import MAX_INPUTS, Preimage, hash_of, one_spend, read_preimage
from service.domain.errors import InputError
from tests.support.cosigner_bitcoin import entries, witness

KEY, OTHER, PAID = b"\x11" * 20, b"\x22" * 20, (40_000, b"\x00\x14" + b"\x33" * 20)
COINS = [(KEY, 50_000), (KEY, None), (OTHER, 7)]


def read(coins: list[tuple[bytes, int | None]] = COINS, locktime: int = 0) -> list[Preimage]:
    return [read_preimage(bytes.fromhex(one.raw_tx), "it") for one in entries(coins, [PAID], locktime=locktime)]


def test_both_forms_of_one_transaction_are_one_spend() -> None:
    told, found = entries(COINS, [PAID], locktime=9), read(locktime=9)
    assert [one.digest.hex() for one in found] == [one.payload for one in told]
    assert [(one.amount_sats, one.key_hash) for one in found] == [(50_000, KEY), (None, KEY), (7, OTHER)]
    spend = one_spend(found, "it")
    assert spend.outputs is not None
    assert [(one.amount_sats, one.script) for one in spend.outputs] == [PAID]
    assert (spend.total_sats, spend.key_hash, spend.committed.locktime) == (None, None, 9)
    assert hash_of(spend.outputs) == spend.committed.outputs
    assert len(spend.coins) == 3 * 36


def test_amounts_and_the_key_are_told_where_every_coin_tells_them() -> None:
    spend = one_spend(read([(KEY, 5), (KEY, 6)]), "it")
    assert (spend.total_sats, spend.key_hash, spend.outputs) == (11, KEY, None)
    assert spend.digest != one_spend(read([(KEY, 5), (KEY, 6)], locktime=1), "it").digest
    assert one_spend(read([(KEY, None)]), "it").digest == one_spend(read([(KEY, 5)]), "it").digest, "one coin, one deed"


def test_a_coin_of_another_kind_has_no_key() -> None:
    found = replace(read()[0], script=witness(KEY))
    assert found.key_hash is None


def test_entries_that_are_not_one_whole_transaction_are_refused() -> None:
    whole = read()
    for wrong, why in (
        (whole[:2], "other coins"),
        (whole[::-1], "other coins"),
        ([*whole[:2], *read(locktime=1)[2:]], "several"),
        ([whole[0], whole[0]], "twice"),
        ([replace(whole[0], sequence=1), *whole[1:]], "other coins"),
        ([], "inputs"),
        (whole * MAX_INPUTS, "inputs"),
    ):
        with pytest.raises(InputError, match=why) as refused:
            one_spend(wrong, "it")
        assert refused.value.field == "it"


@pytest.mark.parametrize("index", range(2))
def test_a_signature_that_leaves_something_open_is_refused(index: int) -> None:
    raw = bytes.fromhex(entries(COINS, [PAID])[index].raw_tx)
    for kind in (0, 2, 3, 0x81, 0x100):
        with pytest.raises(InputError):
            read_preimage(raw[:-4] + kind.to_bytes(4, "little"), "it")


def test_no_coin_has_more_than_there_is_or_a_script_that_none_has() -> None:
    raw = bytes.fromhex(entries(COINS, [PAID])[0].raw_tx)
    front, back = raw[:104], raw[130:]
    assert read_preimage(front + b"\xfd\x10\x27" + bytes(10_000) + back, "it").amount_sats == 50_000
    assert read_preimage(raw[:130] + MAX_SATS.to_bytes(8, "little") + raw[138:], "it").amount_sats == MAX_SATS
    for wrong in (
        front + b"\xfd\x11\x27" + bytes(10_001) + back,
        raw[:130] + (MAX_SATS + 1).to_bytes(8, "little") + raw[138:],
    ):
        with pytest.raises(InputError):
            read_preimage(wrong, "it")


def attempt(raw: bytes) -> Preimage | str | None:
    """What is read, or the field that is refused."""
    try:
        return read_preimage(raw, "it")
    except InputError as error:
        return error.field


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused_with_its_field(raw: bytes) -> None:
    found = attempt(raw)
    assert found == "it" or (isinstance(found, Preimage) and found.digest == double_sha256(raw))


@given(st.sampled_from(range(3)), st.data())
def test_a_changed_byte_is_refused_or_another_digest(index: int, data: st.DataObject) -> None:
    told = entries(COINS, [PAID])[index]
    raw = bytearray.fromhex(told.raw_tx)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    found = attempt(bytes(raw))
    assert found == "it" or (isinstance(found, Preimage) and found.digest.hex() != told.payload)


def test_bytes_that_both_forms_fit_are_refused() -> None:
    """One legacy input and one payment; the last byte of its script is where the other form counts its own."""
    script = bytes(62) + bytes([40])
    front = (2).to_bytes(4, "little") + b"\x01" + bytes(36) + bytes([len(script)]) + script
    assert front[104] == 40
    front += (9).to_bytes(4, "little") + b"\x01" + bytes(8)
    paid = 104 + 1 + 40 + 8 + 4 + 32 - len(front) - 1
    both = front + bytes([paid]) + bytes(paid) + bytes(4) + (1).to_bytes(4, "little")
    with pytest.raises(InputError, match="two ways"):
        read_preimage(both, "it")
