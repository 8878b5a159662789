"""What has to stand in its chain, as a receipt keeps it, and what any receipt may hold in its place."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.plan import Receipt, Verdict
from service.domain.standing import IN_BLOCKS, Standing, marked, marks, named

KEY = "eip155:1:0xaa"
HOLDS, NOT, CANNOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.CANNOT_TELL
nonces = st.dictionaries(st.text(max_size=3), st.integers(0, 2**60), max_size=3)
names = st.sets(st.text(max_size=3), max_size=3)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


def test_it_stands_while_no_nonce_went_back_and_none_of_ours_is_missing() -> None:
    stood = Standing({KEY: 7}, ("0x1",))
    assert stood.still(stood) is HOLDS
    assert stood.still(Standing({KEY: 9}, ("0x1", "0x2"))) is HOLDS
    assert stood.still(Standing({KEY: 6}, ("0x1",))) is NOT
    assert stood.still(Standing({KEY: 7})) is NOT, "another transaction took the nonce"
    assert stood.still(Standing({}, ("0x1",))) is CANNOT


@given(nonces, names, st.none() | st.builds(Receipt, st.text(max_size=3), st.just({"rejections": {"a": ["0x1"]}})))
def test_a_receipt_keeps_it(found: dict[str, int], ours: set[str], receipt: Receipt | None) -> None:
    kept = marked(receipt, "key-1", Standing(found, ours))
    assert marks(kept) == Standing(found, tuple(sorted(ours)))
    assert kept.reference == ("key-1" if receipt is None else receipt.reference)
    assert named(kept) == named(receipt) == (() if receipt is None else ("0x1",))


@given(documents, documents)
def test_a_receipt_of_any_other_form_says_nothing(one: object, other: object) -> None:
    found = marks(Receipt("r", {IN_BLOCKS: one}))
    assert found is None or found.still(found) is HOLDS
    assert all(isinstance(name, str) for name in named(Receipt("r", {"transactions": one, "rejections": other})))
    assert marks(None) is None
    assert named(None) == ()
