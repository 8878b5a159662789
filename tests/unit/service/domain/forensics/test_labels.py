"""Lists of addresses: both forms, every mistake with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InputError
from service.domain.forensics.labels import Label, LabelKind, foremost, normalised, read_list

EVM = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
BTC = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"


def read(text: str) -> tuple[Label, ...]:
    return read_list(text.encode(), "A list", LabelKind.SANCTIONED).labels


def test_a_plain_list_names_all_its_addresses_alike() -> None:
    found = read(f"# published 2026-10-01\n\n{EVM}\n{BTC.upper()}  # noted\n{EVM.lower()}\n")
    assert found == (
        Label(EVM.lower(), "A list", LabelKind.SANCTIONED),
        Label(BTC, "A list", LabelKind.SANCTIONED),
    )


def test_a_table_names_each() -> None:
    found = read(f'Address, name ,KIND\n{EVM},"Exchange, big",exchange\n{BTC},Own,OWN\n')
    assert found == (
        Label(EVM.lower(), "Exchange, big", LabelKind.EXCHANGE),
        Label(BTC, "Own", LabelKind.OWN),
    )


WRONG = {
    "mistyped": (f"{EVM.replace('A', 'a', 1)}\n", "line 1: .*checksum is wrong"),
    "unknown kind of address": ("\nTN3W4H6rK2ce4vX9YnFQHwKENnHjoxb3m9\n", "line 2: .*of no kind that is known"),
    "columns": (f"address,name,kind\n{EVM},x\n", "line 2: has 2 columns"),
    "kind": (f"address,name,kind\n{EVM},x,bank\n", "line 2: kind is one of"),
    "no name": (f"address,name,kind\n{EVM},,mixer\n", "line 2: a name is"),
    "twice": (f"address,name,kind\n{EVM},a,mixer\n{EVM},b,mixer\n", "line 3: .*twice, named differently"),
    "nothing": ("# nothing\n", "holds no address"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_told_with_its_line(what: str) -> None:
    text, told = WRONG[what]
    with pytest.raises(InputError, match=told):
        read(text)


def test_what_is_too_large_or_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        read_list(b"\xff\xfe", "x", LabelKind.MIXER)
    with pytest.raises(InputError, match="bytes"):
        read_list(b"", "x", LabelKind.MIXER)
    lines = "\n".join(f"0x{number:040x}" for number in range(100_001))
    with pytest.raises(InputError, match=r"line 100001: .*at most 100000"):
        read(lines)


def test_the_gravest_label_comes_first() -> None:
    one = Label(EVM.lower(), "Exchange", LabelKind.EXCHANGE)
    other = Label(EVM.lower(), "Sanctions list", LabelKind.SANCTIONED)
    assert foremost([one, other]) == foremost([other, one]) == {EVM.lower(): other}


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_an_input_error(text: str) -> None:
    try:
        found = normalised(text)
    except InputError:
        return
    assert normalised(found) == found
