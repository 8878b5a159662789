"""Phones show a code once; quorums are seated with distinct people."""

import pyotp
import pytest

from drills.runner.crew import STAND_INS, Member, crew_of, seats_of, voters
from drills.runner.errors import DrillError
from drills.runner.phones import Phone, from_uri
from drills.scenario import load_named, names

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def phone() -> Phone:
    return from_uri(pyotp.TOTP(SEED).provisioning_uri(name="a@b.c", issuer_name="Portcullis"))


def member(key: str, *roles: str) -> Member:
    return Member(key, key, roles, None, person=f"per_{key}", phone=phone())


def test_the_code_is_that_of_rfc_6238_and_used_once() -> None:
    mine = phone()

    assert mine.code(1_000_000.9) == pyotp.TOTP(SEED).at(1_000_000)
    assert not mine.is_free(1_000_001)
    assert mine.wait_s(1_000_000) == pytest.approx(20)
    with pytest.raises(DrillError, match="used"):
        mine.code(1_000_001)
    assert mine.code(1_000_020) == pyotp.TOTP(SEED).at(1_000_020)


def test_a_code_typed_late_leaves_the_one_shown_now() -> None:
    mine = phone()

    assert mine.code_shown_before(1_000_005.0) == pyotp.TOTP(SEED).at(999_975)
    assert mine.code(1_000_005.0) == pyotp.TOTP(SEED).at(1_000_005)


def test_at_the_end_of_a_step_the_code_shown_now_is_used() -> None:
    mine = phone()

    assert mine.code_shown_before(1_000_019.0) == pyotp.TOTP(SEED).at(1_000_019)
    assert mine.wait_s(1_000_019.0) == pytest.approx(1.0)


@pytest.mark.parametrize("uri", ["https://example.org", pyotp.HOTP(SEED).provisioning_uri(name="x")])
def test_a_link_that_is_no_totp_is_refused(uri: str) -> None:
    with pytest.raises(DrillError, match="enrolment link"):
        from_uri(uri)


def test_a_phone_does_not_show_its_seed() -> None:
    assert SEED not in repr(phone())


def test_seats_are_the_most_that_any_action_needs() -> None:
    quorum = {"a": [(2, "approver")], "b": [(1, "approver"), (1, "treasury")]}

    assert seats_of(quorum) == ("approver", "approver", "treasury")


def test_voters_are_distinct_and_the_least_able_go_first() -> None:
    able, plain = member("able", "approver", "treasury"), member("plain", "approver")

    assert [m.key for m in voters(("approver", "treasury"), [able, plain], 0.0)] == ["plain", "able"]


def test_who_voted_in_this_step_or_is_barred_does_not_vote() -> None:
    used, barred, free = member("used", "approver"), member("barred", "approver"), member("free", "approver")
    assert used.phone is not None
    used.phone.code(100.0)

    assert voters(("approver", "approver"), [used, barred, free], 100.0, without=["per_barred"]) == [free]


@pytest.mark.parametrize("name", names())
def test_every_scenario_has_enough_people(name: str) -> None:
    crew = crew_of(load_named(name).people)

    assert sum("approver" in m.roles for m in crew) >= STAND_INS + 1
    assert sum("admin" in m.roles for m in crew) >= 3
    assert any(m.oncall_level == 1 for m in crew)
    assert len({m.mail for m in crew}) == len(crew)
    assert any(m.strongest == "responder" for m in crew)
