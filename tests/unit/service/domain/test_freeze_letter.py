"""The letter to an issuer: what it says, what it never can, and the policy's field that names him."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.actions.request_issuer_freeze import RequestIssuerFreeze
from service.domain.errors import InputError
from service.domain.forensics.labels import LabelKind
from service.domain.freeze_letter import ACTION, MOST_LINES, Payment, Stolen, as_html, letter, resting
from service.domain.issuer import MOST_ISSUERS, Issuer
from service.domain.policy import changed_policy, default_policy, parse_policy_text
from service.domain.quorum import Quorum, Role

ASSET = "eip155:1/erc20:0x" + "a0" * 20
FIELDS = {"asset": ASSET, "name": "Example Coin Ltd", "contact": "freeze@example.org", "channel": "mail"}
ISSUER = Issuer(**FIELDS)
AT = datetime(2026, 1, 5, 9, 12, 44, tzinfo=UTC)
THIEF = "eip155:1:0x" + "bb" * 20
DECLARED = {"sweep_to_safe": Quorum.of(2, Role.APPROVER)}


def stolen(*payments: Payment, at: Mapping[str, int] | None = None) -> Stolen:
    return Stolen(ASSET, payments, at or {})


def text_of(found: Stolen) -> str:
    return letter(ISSUER, found, "inc_1", AT)["letter"]


def test_the_steps_that_carry_letters_are_those_of_the_action() -> None:
    assert RequestIssuerFreeze.name == ACTION
    assert set(letter(ISSUER, stolen(), "inc_1", AT)) == set(RequestIssuerFreeze.params)


def test_what_it_says() -> None:
    told = letter(ISSUER, stolen(Payment("0xfeed", AT, THIEF, 5), at={THIEF: 5}), "inc_1", AT)
    assert (told["recipient"], told["channel"], told["issuer"]) == ("freeze@example.org", "mail", "Example Coin Ltd")
    assert told["subject"].endswith("case inc_1")
    lines = told["letter"].splitlines()
    assert f"- 5 to {THIEF}, 2026-01-05 09:12:44 UTC, transaction 0xfeed" in lines
    assert f"- 5 at {THIEF}" in lines
    assert "Case reference: inc_1" in lines


def test_without_a_trace_it_says_so_and_an_untold_amount_is_not_nothing() -> None:
    text = text_of(stolen(Payment("tx", AT, THIEF, None)))
    assert "has not been traced" in text
    assert "an amount that was not told" in text


def test_it_is_cut_at_a_bound_that_it_says_the_largest_first() -> None:
    many = [Payment(f"tx-{n}", AT, THIEF, n) for n in range(MOST_LINES + 7)]
    text = text_of(stolen(*many, at={f"{THIEF}{n}": n + 1 for n in range(MOST_LINES + 3)}))
    assert "and 7 more of smaller amounts" in text
    assert "and 3 more of smaller amounts" in text
    assert f"tx-{MOST_LINES + 6}" in text
    assert "transaction tx-6\n" not in text


def test_payments_that_were_not_even_read_are_told() -> None:
    many = [Payment(f"tx-{n}", AT, THIEF, n) for n in range(MOST_LINES + 7)]
    cut = Stolen(ASSET, many, {}, {}, MOST_LINES + 7 + 40)
    text = text_of(cut)
    assert "and 47 more of smaller amounts" in text
    assert f"there were {MOST_LINES + 47} transfers; this list was made from the {MOST_LINES + 7} largest" in text
    whole = Stolen(ASSET, many, {}, {}, len(many))
    assert "this list was made from" not in text_of(whole)
    assert whole.facts == Stolen(ASSET, many, {}).facts != cut.facts


@settings(deadline=None)
@given(st.text(), st.text())
def test_ids_from_outside_add_no_line_and_no_markup(reference: str, destination: str) -> None:
    found = stolen(Payment(reference, AT, destination, 1))
    text = text_of(found)
    assert len(text.splitlines()) == len(text_of(stolen(Payment("tx", AT, "to", 1))).splitlines())
    assert all(line.isprintable() for line in text.splitlines())
    page = as_html(text, "subject <script>")
    assert page.count("<pre") == page.count("</pre>") == 1
    assert "<script>" not in page


def test_its_facts_change_with_what_it_tells_and_not_with_its_order() -> None:
    one, two = Payment("a", AT, THIEF, 1), Payment("b", AT, THIEF, 2)
    assert stolen(one, two).facts == stolen(two, one).facts
    assert len({stolen(one).facts, stolen(one, two).facts, stolen(one, at={THIEF: 1}).facts}) == 3


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"chains": "none"},
        {"chains": [{"chain": "eip155:2", "addresses": [{"address": "0x1", "resting": {ASSET: {"poison": "5"}}}]}]},
        {"chains": [{"chain": "eip155:1", "addresses": [{"address": "0x1", "resting": {ASSET: {"poison": "-5"}}}]}]},
        {"chains": [{"chain": "eip155:1", "addresses": [{"address": "0x1", "resting": {ASSET: "5"}}]}]},
        {"chains": [{"chain": "eip155:1", "addresses": [{"address": "0x1", "resting": None}]}]},
    ],
)
def test_a_report_without_the_token_tells_of_nothing_that_rests(report: Mapping[str, object]) -> None:
    assert resting(report, ASSET) == ({}, {})


def test_only_what_rests_at_the_mixed_or_our_own_is_spared_and_the_letter_says_so() -> None:
    kinds = [None, *LabelKind]
    addresses = [
        {"address": f"0x{n}", "label": kind and {"name": "A name", "kind": kind}, "resting": {ASSET: {"poison": "5"}}}
        for n, kind in enumerate(kinds)
    ]
    asked, spared = resting({"chains": [{"chain": "eip155:1", "addresses": addresses}]}, ASSET)
    frozen = (None, LabelKind.SANCTIONED, LabelKind.THIEF, LabelKind.SCAM)
    assert set(asked) == {f"eip155:1:0x{kinds.index(kind)}" for kind in frozen}
    assert len(asked) + len(spared) == len(kinds)
    found = Stolen(ASSET, [], asked, spared)
    text = text_of(found)
    for kind in (LabelKind.EXCHANGE, LabelKind.OWN):
        assert f"- 5 at eip155:1:0x{kinds.index(kind)} ({kind})" in text[text.index("do not ask to freeze") :]
    assert found.facts != Stolen(ASSET, [], asked).facts
    assert "has not been traced" not in text_of(Stolen(ASSET, [], {}, spared)), "it was, to those that are spared"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("asset", "eip155:1/slip44:60"),
        ("asset", ASSET.upper()),
        ("name", ""),
        ("name", "x" * 121),
        ("name", "a\u202eb"),
        ("contact", "nobody"),
        ("contact", "a@b\n"),
        ("channel", "Mail Room"),
    ],
)
def test_an_issuer_that_is_wrong_is_refused_by_field(field: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        Issuer(**{**FIELDS, field: value})
    assert refused.value.field == f"issuers.{field}"


def test_the_policy_names_issuers_and_without_any_is_spelt_as_before() -> None:
    policy = default_policy(DECLARED)
    assert "issuers" not in policy.text
    named = changed_policy(policy, {"issuers": [FIELDS]})
    assert named.issuers == (ISSUER,)
    assert named.version == policy.version + 1
    assert parse_policy_text(named.text) == named
    bare = changed_policy(named, {"issuers": []})
    assert "issuers" not in bare.text
    assert default_policy(DECLARED, {"issuers": [FIELDS]}).issuers == (ISSUER,)


def test_issuers_are_bounded_and_distinct() -> None:
    policy = default_policy(DECLARED)
    with pytest.raises(InputError, match="one issuer"):
        changed_policy(policy, {"issuers": [FIELDS, FIELDS]})
    many = [{**FIELDS, "asset": f"eip155:{n}/erc20:0x" + "a0" * 20} for n in range(MOST_ISSUERS + 1)]
    with pytest.raises(InputError, match="at most"):
        changed_policy(policy, {"issuers": many})
    with pytest.raises(InputError):
        changed_policy(policy, {"issuers": [{"asset": ASSET}]})
    assert msgspec.to_builtins(policy)["version"] == 1
