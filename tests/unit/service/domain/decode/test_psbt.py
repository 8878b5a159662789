"""PSBTs: what embit, an implementation that is not ours, writes is read the same; everything else is refused."""

import hashlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from embit import compact
from embit.networks import NETWORKS
from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.bitcoin.network import MAIN, address_of
from service.domain.decode.bitcoin import read_transaction
from service.domain.decode.psbt import MAGIC, MAX_PSBT_BYTES, Psbt, describe_psbt, digest_of
from service.domain.errors import InputError

MAINNET = "bip122:000000000019d6689c085ae165831e93"
REGTEST = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"
OURS = b"\x00\x14" + bytes(range(20))
THEIRS = b"\x00\x20" + bytes(range(32))
TAPROOT = b"\x51\x20" + bytes(range(32))
HASHED = b"\xa9\x14" + bytes(range(20)) + b"\x87"
OLD = b"\x76\xa9\x14" + bytes(range(20)) + b"\x88\xac"


def previous(*outputs: tuple[int, bytes], witness: bool = False) -> Any:
    spent = TransactionInput(bytes(32), 7)
    if witness:
        spent.witness.items.append(b"\x01\x02")
    return Transaction(vin=[spent], vout=[TransactionOutput(amount, Script(script)) for amount, script in outputs])


def psbt(
    coins: list[tuple[Any, int]], outputs: list[tuple[int, bytes]], *, version: int = 0, whole: bool = True
) -> Any:
    vin = [TransactionInput(parent.txid(), index, sequence=0xFFFFFFFD) for parent, index in coins]
    made = PSBT(Transaction(vin=vin, vout=[TransactionOutput(a, Script(s)) for a, s in outputs]))
    for scope, (parent, index) in zip(made.inputs, coins, strict=True):
        if whole:
            scope.non_witness_utxo = parent
        else:
            scope.witness_utxo = parent.vout[index]
    made.version = version or None
    return made


def read(made: Any, own: frozenset[bytes] = frozenset({OURS}), chain: str = MAINNET) -> Psbt:
    return describe_psbt(made.serialize(), chain=chain, own_scripts=own)


PARENT = previous((5_000_000, THEIRS), (1_000_000, OURS))


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("whole", [True, False])
def test_payments_change_and_fee(version: int, *, whole: bool) -> None:
    made = psbt([(PARENT, 1)], [(700_000, THEIRS), (299_000, OURS)], version=version, whole=whole)
    found = read(made)
    assert (found.version, found.txid, found.fee_sats) == (version, made.tx.txid().hex(), 1_000)
    assert (found.fee_proven, found.inputs[0].proven) == (whole, whole)
    assert [one.address for one in found.paid] == [Script(THEIRS).address()]
    assert (sum(one.amount_sats for one in found.paid), found.foreign, found.replaceable, found.open_signatures) == (
        700_000,
        (),
        True,
        False,
    )
    told = "" if whole else " as told, not proven"
    assert found.sentence() == f"pays 700000 sat to {Script(THEIRS).address()}, fee 1000 sat{told}"


def test_a_taproot_coin_is_proven_by_its_signature() -> None:
    parent = previous((1_000, TAPROOT))
    assert read(psbt([(parent, 0)], [(900, THEIRS)], whole=False)).fee_proven


def test_a_foreign_input_and_an_open_signature_are_named() -> None:
    made = psbt([(PARENT, 0), (PARENT, 1)], [(5_999_000, THEIRS)])
    made.inputs[0].sighash_type = 0x83
    found = read(made)
    assert [one.vout for one in found.foreign] == [0]
    assert found.open_signatures
    assert found.sentence().endswith("spends 1 foreign input, signatures leave outputs or inputs open")


def test_an_amount_that_is_not_told_leaves_the_fee_unknown() -> None:
    made = psbt([(PARENT, 1)], [(10, THEIRS)])
    made.inputs[0].non_witness_utxo = None
    found = read(made)
    assert (found.fee_sats, found.fee_proven, len(found.foreign)) == (None, False, 1)
    assert "fee unknown" in found.sentence()


def test_a_previous_transaction_with_witnesses_keeps_its_id() -> None:
    parent = previous((1_000, OURS), witness=True)
    assert read(psbt([(parent, 0)], [(900, THEIRS)])).fee_sats == 100


def lying(made: Any) -> None:
    made.inputs[0].non_witness_utxo = previous((9_000_000, OURS), (9_000_000, OURS))


def two_stories(made: Any) -> None:
    made.inputs[0].witness_utxo = TransactionOutput(2_000_000, Script(OURS))


def overspending(made: Any) -> None:
    made.outputs[0].value = 10**9


def twice(made: Any) -> None:
    made.inputs[1].txid, made.inputs[1].vout = made.inputs[0].txid, made.inputs[0].vout


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lying, "not the one it spends"),
        (two_stories, "two amounts"),
        (overspending, "more than it spends"),
        (twice, "one coin twice"),
    ],
)
def test_what_contradicts_itself_is_refused(spoil: Any, words: str) -> None:
    made = psbt([(PARENT, 1), (PARENT, 0)], [(10, THEIRS)])
    spoil(made)
    with pytest.raises(InputError, match=words) as caught:
        read(made)
    assert caught.value.field == "psbt"


def v2(head: dict[bytes, bytes], *scopes: dict[bytes, bytes]) -> bytes:
    def scope(fields: dict[bytes, bytes]) -> bytes:
        parts = [compact.to_bytes(len(k)) + k + compact.to_bytes(len(v)) + v for k, v in fields.items()]
        return b"".join(parts) + b"\x00"

    return MAGIC + b"".join(scope(one) for one in ({b"\xfb": b"\x02\0\0\0", b"\x02": b"\x02\0\0\0", **head}, *scopes))


def test_a_count_without_parts_costs_nothing() -> None:
    bomb = v2({b"\x04": b"\xff" + b"\xff" * 8, b"\x05": b"\x01"})
    with pytest.raises(InputError, match="1 to 5000"):
        describe_psbt(bomb, chain=MAINNET)
    whole = (2).to_bytes(4, "little") + b"\xfe\xff\xff\xff\xff"
    with pytest.raises(InputError, match="counts more"):
        read_transaction(whole, "psbt", witness=False)


COIN = {b"\x0e": bytes(32), b"\x0f": bytes(4)}
PAID = {b"\x03": (5).to_bytes(8, "little"), b"\x04": THEIRS}
COUNTS = {b"\x04": b"\x01", b"\x05": b"\x01"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        MAGIC,
        b"psbt\x00" + bytes(100),
        MAGIC + bytes(MAX_PSBT_BYTES),
        v2(COUNTS, COIN, PAID) + b"\x00",
        v2({**COUNTS, b"\x00": b""}, COIN, PAID),
        v2({**COUNTS, b"\xfb": b"\x01\0\0\0"}, COIN, PAID),
        v2(COUNTS, {**COIN, b"\x11": bytes(4)}, PAID),
        v2(COUNTS, {b"\x0e": bytes(31), b"\x0f": bytes(4)}, PAID),
        v2(COUNTS, COIN, {b"\x04": THEIRS}),
        v2(COUNTS, COIN, {**PAID, b"\x03": (22_000_000 * 10**8).to_bytes(8, "little")}),
        v2({**COUNTS, b"\x04": b"\xfd\x01\x00"}, COIN, PAID),
        v2(COUNTS, {**COIN, b"\x01": (5).to_bytes(8, "little") + b"\x00\x00"}, PAID),
    ],
    ids=range(13),
)
def test_bytes_that_are_not_exactly_one_psbt_are_refused(raw: bytes) -> None:
    with pytest.raises(InputError):
        describe_psbt(raw, chain=MAINNET)


def test_a_version_0_psbt_may_not_name_another_coin_beside_its_transaction() -> None:
    made = psbt([(PARENT, 1)], [(10, THEIRS)])
    made.inputs[0].unknown = {b"\x0e": bytes(32)}
    with pytest.raises(InputError, match="another version"):
        read(made)


def test_a_signed_transaction_inside_is_refused() -> None:
    made = PSBT(
        Transaction(vin=[TransactionInput(bytes(32), 0, Script(b"\x51"))], vout=[TransactionOutput(1, Script(OURS))])
    )
    raw = bytearray(made.serialize())
    assert read(made).version == 0, "embit drops the script, so it is put back"
    at = raw.index(bytes(32) + bytes(4) + b"\x00") + 36
    raw[at : at + 1] = b"\x01\x51"
    raw[len(MAGIC) + 2] += 1
    with pytest.raises(InputError, match="signed already"):
        describe_psbt(bytes(raw), chain=MAINNET)


def test_the_digest_is_of_what_it_does() -> None:
    made = psbt([(PARENT, 1)], [(10, THEIRS)])
    before = digest_of(read(made))
    made.inputs[0].sighash_type = 1
    assert digest_of(read(made)) == before
    made.outputs[0].value = 11
    assert digest_of(read(made)) != before


@pytest.mark.parametrize(("chain", "network"), [(MAINNET, "main"), (REGTEST, "regtest"), ("bip122:other", "test")])
@pytest.mark.parametrize("script", [OURS, THEIRS, TAPROOT, HASHED, OLD])
def test_addresses_are_those_of_another_library(script: bytes, chain: str, network: str) -> None:
    (found,) = read(psbt([(PARENT, 1)], [(10, script)]), chain=chain).outputs
    assert found.address == Script(script).address(NETWORKS[network])


@pytest.mark.parametrize("script", [b"", b"\x6a\x04data", b"\x00\x13" + bytes(19), b"\x51" + bytes(33), bytes(25)])
def test_other_scripts_have_no_address(script: bytes) -> None:
    assert address_of(script, MAIN) is None


amounts = st.integers(0, 10**12)
scripts = st.one_of(st.sampled_from([OURS, THEIRS, TAPROOT, HASHED, OLD]), st.binary(max_size=60))
paid_out = st.lists(st.tuples(amounts, scripts), min_size=1, max_size=4)


@given(paid_out, paid_out, st.sampled_from([0, 2]), st.booleans())
def test_whatever_another_library_writes_is_read_the_same(
    coins: list[tuple[int, bytes]],
    outputs: list[tuple[int, bytes]],
    version: int,
    whole: bool,  # noqa: FBT001  drawn
) -> None:
    parent = previous(*coins)
    made = psbt([(parent, i) for i in range(len(coins))], outputs, version=version, whole=whole)
    if made.fee() < 0:
        with pytest.raises(InputError):
            read(made)
        return
    found = read(made)
    assert (found.fee_sats, found.txid) == (made.fee(), made.tx.txid().hex())
    assert [(one.amount_sats, one.script) for one in found.outputs] == outputs


@given(st.binary(max_size=300))
@example(b"\x01\x00\x00")
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with suppress(InputError):
        describe_psbt(MAGIC + raw, chain=MAINNET)


@given(st.data())
def test_a_damaged_psbt_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(psbt([(PARENT, 1), (PARENT, 0)], [(700_000, THEIRS), (9_000, OURS)]).serialize())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        describe_psbt(bytes(raw), chain=MAINNET)


def test_a_transaction_is_read_whole_and_its_id_is_double_sha256() -> None:
    stream = BytesIO()
    PARENT.write_to(stream)
    found = read_transaction(stream.getvalue(), "raw", witness=True)
    assert found.txid == hashlib.sha256(hashlib.sha256(stream.getvalue()).digest()).digest()
    with pytest.raises(InputError):
        read_transaction(stream.getvalue() + b"\x00", "raw", witness=True)
