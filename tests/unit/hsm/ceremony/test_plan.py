"""A ceremony's file is read strictly; its digest is of what it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.ceremony.plan import MAX_FILE_BYTES, SeedSource, read_plan
from hsm.errors import CeremonyError
from tests.support.ceremony import PLAN, plan_text


def test_a_plan_is_read_whole() -> None:
    plan = read_plan(PLAN)
    assert (plan.ceremony, plan.wallet, plan.seed) == ("treasury-2026", "treasury", SeedSource.NEW)
    assert [account.path for account in plan.accounts] == ["m/84h/0h/0h", "m/44h/60h/0h", "m/44h/501h/0h"]
    assert plan.scheme is not None
    assert (plan.scheme.threshold, plan.scheme.count) == (2, 3)


def test_the_digest_is_of_the_meaning() -> None:
    same = read_plan(
        "# a remark\n"
        + PLAN.replace("84h/0h/0h", "84'/0'/0'").replace("{shares: 3, threshold: 2}", "{threshold: 2, shares: 3}")
    )
    assert same.digest == read_plan(PLAN).digest
    others = [
        plan_text(wallet="wallet: other"),
        plan_text(purpose="purpose: Another."),
        plan_text(backup="backup: {shares: 3, threshold: 3}"),
        plan_text(backup=""),
        plan_text(witnesses="witnesses: [second-officer, first-officer]"),
        PLAN.replace("m/84h/0h/0h", "m/84h/0h/1h"),
    ]
    assert len({read_plan(text).digest for text in (PLAN, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (plan_text(wallet=""), "wallet"),
        (plan_text(wallet="wallet: UPPER"), "wallet id"),
        (plan_text(ceremony="ceremony: ../../etc"), "ceremony"),
        (plan_text(seed="seed: guessed"), "seed"),
        (plan_text(purpose="purpose: ''"), "purpose"),
        (plan_text(witnesses="witnesses: [one]"), "2 to 5 witnesses"),
        (plan_text(witnesses="witnesses: [one, one]"), "named twice"),
        (plan_text(witnesses="witnesses: [a, b, c, d, e, f]"), "2 to 5 witnesses"),
        (plan_text(backup="backup: {shares: 3, threshold: 1}"), "threshold"),
        (plan_text(backup="backup: {shares: 99, threshold: 2}"), "shares"),
        (plan_text(backup="backup: {shares: 3, threshold: 2, kept: true}"), "kept"),
        (plan_text(seed="seed: words"), "has its backup already"),
        (PLAN + "pin: 1234\n", "pin"),
        (PLAN + "wallet: other\n", "stands twice"),
        (PLAN.replace("first-officer", "&a first-officer").replace("second-officer", "*a"), "aliases"),
        (PLAN.replace("m/84h/0h/0h", "m/84h/0h"), "no account path"),
        (PLAN.replace("m/84h/0h/0h", "m/84/0/0"), "no account path"),
        (PLAN.replace("m/84h/0h/0h", "m/x"), "accounts"),
        (PLAN.replace("m/84h/0h/0h", "m/44h/60h/0h"), "each once"),
        ("- a list\n", "plan is wrong"),
        ("", "plan is wrong"),
        ("ceremony: [", "YAML"),
        ("!!python/object/apply:os.system [true]", "YAML"),
        ("#" * (MAX_FILE_BYTES + 1), "at most"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(CeremonyError, match=said):
        read_plan(text)


@given(st.text(max_size=200))
def test_any_text_is_a_plan_or_a_ceremony_error(text: str) -> None:
    with pytest.raises(CeremonyError):
        read_plan(text)
