"""A short seeded run of bench/chaos.py: everything is killed or cut while incidents are contained, and all proofs hold.

Each kind of fault happens once. A platform that forgets what it did is in the long run alone (`make bench-chaos`): its
steps become `unknown` only after two minutes.
"""

from itertools import pairwise

import pytest
from rich.console import Console

from bench.chaos import SMALL, Wish, carry_out, picture, report
from bench.chaos_faults import ANSWERS, APART_S, KILLS, MINUTE_S, MOST_KILLS, plan

SEED = 3
KINDS = {*KILLS, *ANSWERS}


@pytest.mark.servers
@pytest.mark.timeout(600)
def test_a_short_run_loses_nothing_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)  # a process that is killed measures nothing
    wish = Wish(SEED, faults=len(KINDS), seconds=24.0, per_s=50.0, warm_up_s=1.0, cast=SMALL, votes=1)
    assert {fault.kind for fault in plan(SEED, wish.faults, wish.seconds)} == KINDS
    happened = carry_out(wish, Console(stderr=True))
    told = report(happened, wish)
    assert [(one.name, one.found) for one in happened.proofs if not one.holds] == []
    assert len(happened.done) + happened.missed == wish.faults
    assert len(happened.done) > wish.faults / 2, "a fault whose victim is not there just now is no fault"
    assert happened.webhooks > wish.per_s, "more than a second's, however slow the machine"
    assert told["holds"] is True
    assert happened.questions.get("REJECT"), "the deceived account's"
    assert happened.questions.get("APPROVE"), "usual payments"
    assert "<svg" in picture(happened, wish)


def test_the_same_seed_draws_the_same_faults_of_every_kind() -> None:
    drawn = plan(7, 400, 4000.0)
    assert drawn == plan(7, 400, 4000.0)
    assert drawn != plan(8, 400, 4000.0)
    assert {fault.kind for fault in drawn} == KINDS
    assert list(drawn) == sorted(drawn, key=lambda fault: fault.at_s)


def test_a_run_of_as_many_faults_as_there_are_kinds_has_each() -> None:
    for seed in range(50):
        for count in (len(KINDS), 34):
            drawn = plan(seed, count, 130.0)
            assert {fault.kind for fault in drawn} == KINDS
            assert len(drawn) == count


def test_no_part_is_killed_so_often_that_the_supervisor_gives_up() -> None:
    for seed in range(20):
        drawn = plan(seed, 32, 150.0)
        for part in {kind.partition(" ")[0] for kind in KILLS}:
            at = [fault.at_s for fault in drawn if fault.kind in KILLS and fault.kind.partition(" ")[0] == part]
            assert all(sum(0 <= later - one < MINUTE_S for later in at) <= MOST_KILLS for one in at)
            assert all(b - a > APART_S.get(part, 0.0) for a, b in pairwise(at))
