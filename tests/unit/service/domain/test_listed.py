"""What lists say of a destination: which label counts, what cannot be told, and what a change of the lists may be."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.observation import LISTINGS
from service.domain.errors import InputError
from service.domain.forensics.labels import LabelKind
from service.domain.listed import (
    WATCHED,
    Labelled,
    ListChange,
    Listings,
    ListKept,
    in_force,
    unlist_item,
    unlisted,
)

EVM = "0x5a0b54d5dc17e0aadc383d2db43b0a0d3e029c4c"
MIXED = "0x5A0b54D5dc17e0AadC383d2db43B0a0D3E029c4c"
SEGWIT = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
OLD_FORM = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
MAINNET = "bip122:000000000019d6689c085ae165831e93"


def row(address: str, kind: str, on: str = "2026-11-01", name: str = "Name") -> Labelled:
    return Labelled(address, LabelKind(kind), on, "A source", name)


def listings(*rows: Labelled) -> Listings:
    found = Listings()
    found.add(rows)
    return found


def test_every_kind_of_listing_is_a_kind_of_label() -> None:
    assert {kind.value for kind in WATCHED} == set(LISTINGS[1:])


@pytest.mark.parametrize("form", [EVM, MIXED, f"eip155:1:{EVM}", f"eip155:137:{MIXED}"])
def test_an_evm_address_is_found_on_every_chain_and_in_every_case(form: str) -> None:
    found = listings(row(EVM, "sanctioned"))
    assert LISTINGS[found.level(form) or 0] == "sanctioned"


@pytest.mark.parametrize("form", [SEGWIT, SEGWIT.upper(), f"{MAINNET}:{SEGWIT}"])
def test_a_segwit_address_is_found_in_both_cases(form: str) -> None:
    assert listings(row(SEGWIT, "mixer")).level(form) == 1


def test_a_base58_address_is_compared_as_it_is_written() -> None:
    found = listings(row(OLD_FORM, "thief"))
    assert found.level(f"{MAINNET}:{OLD_FORM}") == 3
    assert found.level(OLD_FORM.swapcase()) == 0


@pytest.mark.parametrize(
    "destination",
    [
        None,
        "",
        "main/warm-1",
        "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp:7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv",
        "tron:TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
        "starknet:SN_MAIN:0x02dd1b492765c064eac4039e3841aa5f38277359",
    ],
)
def test_of_what_lists_cannot_name_nothing_is_known(destination: str | None) -> None:
    assert listings(row(EVM, "sanctioned")).level(destination) is None


def test_an_address_on_no_list_is_not_listed() -> None:
    assert listings(row(EVM, "sanctioned")).level(f"eip155:1:0x{'9' * 40}") == 0


def test_the_gravest_label_counts_then_the_newest() -> None:
    rows = [
        row(EVM, "mixer", "2026-11-03", "a mixer"),
        row(EVM, "sanctioned", "2026-11-01", "of the old list"),
        row(EVM, "sanctioned", "2026-11-02", "of the new list"),
        row(EVM, "service", "2026-11-04", "a service"),
    ]
    for order in (rows, rows[::-1]):
        found = listings(*order).of(EVM)
        assert found is not None
        assert found.words == "sanctioned by A source, list of 2026-11-02, as of the new list"


def test_labels_that_only_name_are_not_kept() -> None:
    found = listings(*(row(EVM, kind.value) for kind in set(LabelKind) - WATCHED))
    assert len(found) == 0
    assert found.level(EVM) == 0


@given(
    st.lists(st.sampled_from(["lst_a", "lst_b", "lst_c"]), unique=True), st.sampled_from(["lst_a", "lst_b", "lst_d"])
)
def test_adding_loses_no_list_and_removing_loses_one(names: list[str], one: str) -> None:
    added = ListChange(add=one).after(names)
    assert set(added) == {*names, one}
    assert added[: len(names)] == tuple(names)
    assert ListChange(remove=one).after(added) == tuple(name for name in names if name != one)


@pytest.mark.parametrize("change", [ListChange(), ListChange(add="a", remove="b")])
def test_a_change_is_one_thing(change: ListChange) -> None:
    with pytest.raises(InputError, match="adds one or removes one"):
        change.after(())


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'{"lists": [1]}', b"\xff", b'{"lists": [], "more": 1}'])
def test_a_malformed_row_is_no_empty_list(payload: bytes) -> None:
    with pytest.raises(InputError):
        in_force(payload)


def test_a_document_says_which_list_it_withdraws() -> None:
    kept = ListKept("lst_1", "Treasury", "2026-11-01", 7, "per_ada", "00", in_force=True)
    item = unlist_item(kept)
    assert unlisted(item) == "lst_1"
    assert "7 labelled addresses of Treasury, dated 2026-11-01" in item.sentence
    with pytest.raises(InputError):
        unlisted(msgspec.structs.replace(item, action="blind.suppress"))
