"""What one detector makes of a measured frame: statuses, canary shares, exceptions, failing closed."""

from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.conformance import vectors
from rules.declaration import Status
from rules.detector import Detector, bucket
from rules.event import E_ACCOUNT, E_ACTOR, E_DESTINATION, E_GROUP, write_row
from rules.features.frame import N_GROUP, N_NOW_US, Frame, new_frame
from rules.guards import OP_EQ, OP_GE, OP_GT, OP_LE, OP_LT, OPERATORS, passes
from rules.loader import DEFAULT_DIRECTORY, parse
from rules.observation import Observation
from rules.signal import Decision, Signal

SALT = "pepper"
DAY_US = 86_400_000_000
NOW_US = 20_000 * DAY_US
UNTIL = "2024-10-05T00:00:00+02:00"
UNTIL_US = 1_728_079_200_000_000
EXCEPTION = f"exceptions: [{{entity: 'ENTITY', owner: ada, reason: weekly payout, expires: '{UNTIL}'}}]\ncases:"


def detector(*changes: tuple[str, str], file: str = "drain-fan-in") -> Detector:
    """What ships, with some of its text changed."""
    text = (DEFAULT_DIRECTORY / f"{file}.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return parse(f"{file}.yaml", text.encode())


def measured(firing: Detector, *, at_us: int = NOW_US, **told: object) -> Frame:
    """A frame as if the first case of a detector that fires had been measured."""
    case = next(one for one in firing.declaration.cases if one.expect == "fires")
    fields: dict[str, object] = {
        "account": "main/hot-1",
        "destination": "thief",
        "destination_kind": "one_time",
        **told,
    }
    frame = new_frame()
    write_row(
        frame.event,
        Observation(event_id="e", kind=case.kind, occurred_at_us=at_us, received_at_us=at_us, **fields),  # type: ignore[arg-type]  # a table of cases
        SALT,
    )
    values, surprise = vectors(case.features)
    frame.values[:], frame.surprise[:] = values, surprise
    frame.now[N_NOW_US] = at_us
    return frame


def finding(firing: Detector, frame: Frame) -> Signal:
    """The signal of a detector that fires."""
    found = firing.evaluate(frame, {}, SALT)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("status", "decision", "shadow"),
    [("live", Decision.HOLD, False), ("shadow", Decision.ALLOW, True)],
)
def test_status_bounds_what_a_finding_causes(status: str, decision: Decision, shadow: bool) -> None:  # noqa: FBT001 -- a table of cases
    firing = detector(("status: live", f"status: {status}"))
    found = finding(firing, measured(firing))
    assert (found.decision, found.shadow, found.status, found.silenced) == (decision, shadow, status, None)
    assert "fan_in_accounts" in {reason.feature for reason in found.reasons}
    assert all(reason.detector == "drain-fan-in" for reason in found.reasons)


@pytest.mark.parametrize("status", ["draft", "retired"])
def test_what_does_not_run_has_no_guard(status: str) -> None:
    assert not detector(("status: live", f"status: {status}")).runs


def test_a_canary_decides_in_full_for_its_share_and_is_a_recorded_shadow_elsewhere() -> None:
    firing = detector(("status: live", "status: canary\ncanary: 25"))
    found = [finding(firing, measured(firing, account=f"main/{n}")) for n in range(2000)]
    inside = [one for one in found if one.decision is Decision.HOLD]
    assert {one.status for one in found} == {"canary 25 %"}
    assert all(one.shadow == (one.decision is Decision.ALLOW) for one in found)
    assert 0.22 < len(inside) / len(found) < 0.28


def test_a_wider_canary_keeps_whom_it_had() -> None:
    narrow, wide = (detector(("status: live", f"status: canary\ncanary: {share}")) for share in (10, 60))
    accounts = [f"main/{n}" for n in range(400)]
    had, has = (
        {name for name in accounts if finding(one, measured(one, account=name)).decision is Decision.HOLD}
        for one in (narrow, wide)
    )
    assert had < has


def test_a_canary_goes_by_actor_where_there_is_no_account_and_spares_what_names_neither() -> None:
    firing = detector(("status: live", "status: canary\ncanary: 99"), file="takeover-new-place")
    named = [finding(firing, measured(firing, account=None, actor=f"a{n}")).decision for n in range(50)]
    assert named.count(Decision.ALERT) > 40
    assert firing.status_for(measured(firing, account=None)) is Status.SHADOW


def test_shares_of_two_detectors_are_drawn_apart() -> None:
    together = sum(bucket("one", n) < 50 and bucket("two", n) < 50 for n in range(2000))
    assert 400 < together < 600


@pytest.mark.parametrize(
    ("entity", "excepted"),
    [
        ("account:main/hot-1", True),
        ("account:main/hot-10", False),
        ("account:main/hot-", False),
        ("actor:ops", True),
        ("destination:thief", True),
        ("destination:main/hot-1", False),
        ("device:laptop", True),
        ("network:as64500", True),
        ("network:as6450", False),
        ("network:203.0.113.0/24", True),
        ("network:203.0.112.0/24", False),
        ("peer_group:hot", True),
        ("peer_group:cold", False),
    ],
)
def test_an_exception_silences_exactly_its_entity(entity: str, excepted: bool) -> None:  # noqa: FBT001 -- a table of cases
    firing = detector(("cases:", EXCEPTION.replace("ENTITY", entity)))
    place = {"actor": "ops", "device": "laptop", "asn": 64_500, "ip": "203.0.113.7"}
    frame = measured(firing, at_us=UNTIL_US - 1, peer_group="hot", **place)
    frame.now[N_GROUP] = frame.event[E_GROUP]
    found = finding(firing, frame)
    assert (found.decision is Decision.ALLOW) is excepted
    assert (found.silenced is not None) is excepted
    if found.silenced is not None:
        assert found.silenced == f"exception: {entity} until {UNTIL}, ada: weekly payout"
    assert not found.shadow


def test_an_exception_ends_at_its_moment_in_event_time() -> None:
    firing = detector(("cases:", EXCEPTION.replace("ENTITY", "account:main/hot-1")))
    assert finding(firing, measured(firing, at_us=UNTIL_US - 1)).silenced
    assert finding(firing, measured(firing, at_us=UNTIL_US)).decision is Decision.HOLD
    late = measured(firing, at_us=UNTIL_US - 1)
    late.now[N_NOW_US] = UNTIL_US
    assert finding(firing, late).decision is Decision.HOLD, "an event told late does not revive an exception"


def test_an_exception_is_its_own_detectors_alone() -> None:
    excepted = detector(("cases:", EXCEPTION.replace("ENTITY", "account:main/hot-1")))
    other = detector(file="dust-then-large")
    frame = measured(excepted, at_us=UNTIL_US - 1)
    values, surprise = vectors(other.declaration.cases[0].features)
    both = [value if value == value else was for value, was in zip(values, frame.values, strict=True)]  # noqa: PLR0124 -- false only for NaN
    frame.values[:], frame.surprise[:] = both, np.maximum(frame.surprise, surprise)
    assert finding(excepted, frame).decision is Decision.ALLOW
    assert finding(other, frame).decision is Decision.HOLD


@pytest.mark.parametrize(
    ("file", "decision"), [("drain-fan-in", Decision.HOLD), ("takeover-new-place", Decision.ALERT)]
)
def test_a_rule_without_an_answer_fails_closed_and_is_counted(file: str, decision: Decision) -> None:
    firing = detector(("expr: >-\n  ", "expr: >-\n  1 / (kind.size() - kind.size()) == 1 && "), file=file)
    found = finding(firing, measured(firing))
    assert (found.error, found.decision, firing.errors) == (True, decision, 1)
    assert "failing closed" in found.title
    shadow = detector(
        ("status: live", "status: shadow"),
        ("expr: >-\n  ", "expr: >-\n  1 / (kind.size() - kind.size()) == 1 && "),
        file=file,
    )
    assert finding(shadow, measured(shadow)).decision is Decision.ALLOW


def test_nothing_is_found_where_the_expression_is_false() -> None:
    firing = detector()
    frame = measured(firing)
    frame.values[:] = nan
    assert firing.evaluate(frame, {}, SALT) is None


@settings(max_examples=300, deadline=None)
@given(st.floats(), st.floats(allow_nan=False), st.integers(0, len(OPERATORS) - 1))
def test_comparisons_are_those_of_their_codes(value: float, number: float, op: int) -> None:
    wanted = {
        OP_GE: value >= number,
        OP_GT: value > number,
        OP_LE: value <= number,
        OP_LT: value < number,
        OP_EQ: value == number,
    }
    assert passes(value, op, number) is wanted[op]


def test_the_share_of_a_canary_cannot_be_told_from_the_name_alone() -> None:
    firing = detector(("status: live", "status: canary\ncanary: 50"))
    statuses = set()
    for salt in ("one", "two", "three", "four", "five", "six"):
        frame = new_frame()
        told = Observation(
            event_id="e", kind="withdrawal.requested", occurred_at_us=0, received_at_us=0, account="main/hot-1"
        )
        write_row(frame.event, told, salt)
        assert frame.event[E_ACCOUNT]
        assert not frame.event[E_ACTOR]
        assert not frame.event[E_DESTINATION]
        statuses.add(firing.status_for(frame))
    assert statuses == {Status.LIVE, Status.SHADOW}


def test_every_runbook_says_what_a_person_needs_at_night() -> None:
    headings = ("## What it saw", "## Look first", "## Do now", "## Innocent causes", "## Tune", "## When it is over")
    for path in sorted((Path(__file__).parents[3] / "docs/runbooks/detector").glob("*.md")):
        text = path.read_text()
        places = [text.find(heading) for heading in headings]
        assert places == sorted(places), path.name
        assert places[0] > 0, path.name
        assert all(len(part.strip()) > 30 for part in text.split("## ")[1:]), path.name
