"""A plan through whatever people, workers, platform, chain and clock can do to it; and each transition of the table, walked.

Rules that hold after every single thing that happens: states change only as `domain/plan.py` says, a follower is let go only
when what comes first is done, nobody tightens and loosens one target at once, what another incident holds is not loosened,
votes that come late count nothing; and in the end, all being well, everything ends and what is asked for again is done.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from hsm.pkcs11.authority import AuthorityToken
from service.domain.plan import TRANSITIONS, StepState
from service.domain.secrets import Secret
from service.flow import respond
from service.flow.contain import MOST_ATTEMPTS
from service.store.database import SqlDatabase, create
from tests.integration.containment.conftest import ACTIONS, LEASE_IS_OVER, Scene
from tests.integration.containment.small_plan import (
    CANCEL,
    FREEZE,
    LOCK,
    SUSPEND,
    TOO_LATE_TO_RUN,
    TOO_LATE_TO_VOTE,
    WATCH,
    Here,
    SmallPlan,
)
from tests.support.authority import house_on
from tests.support.fakes import FakePlatform, Ledger

pytestmark = pytest.mark.servers
EVERY = {(old, new) for old, following in TRANSITIONS.items() for new in following}


@pytest.fixture(scope="module")
def here(postgres_url: str, votes_token: AuthorityToken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder: Path = tmp_path_factory.mktemp("small-plan")
    house = house_on(postgres_url, votes_token, folder)
    house.first = replace(house.first, declared={name: action.approval for name, action in ACTIONS.items()})
    house.add_people(4)
    house.complete()
    ledger, pem = Ledger(), house.office.public_key_pem
    containment, keys = house.database("portcullis_containment"), house.database("portcullis_keys")
    scene = Scene(containment, house.clock, ledger, FakePlatform(ledger), lambda: pem, keys)
    every = SqlDatabase(create(Secret(postgres_url), pool_size=2), house.clock)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(WATCH)
    yield Here(scene, house, every)
    every.engine.dispose()
    house.close()


def machine(here: Here) -> type[SmallPlan]:
    return type("OfThisTest", (SmallPlan,), {"here": here})


def go(plan: SmallPlan, *actions: str) -> None:
    """Let a worker do the newest step of each action, as far as it goes, and tell of it."""
    for action in actions:
        plan.the_table_is_kept_and_no_follower_is_let_go_early()
        identity = plan.newest(action, plan.incidents[0])
        plan.work(next(step for step in plan.steps() if step.id == identity))


def clock(plan: SmallPlan, by: timedelta = LEASE_IS_OVER) -> None:
    plan.the_clock_moves(by)


def lost(plan: SmallPlan, *, deaf: bool, blind: bool) -> None:
    """The next call's answer is lost; `deaf`: the call as well; `blind`: and nobody can say what became of it."""
    plan.the_next_answer_is_lost(deaf=deaf)
    plan.the_other_side_is(blind=blind)


def all_goes_well(plan: SmallPlan) -> None:
    go(plan, SUSPEND)
    plan.people_vote(0)
    go(plan, FREEZE, LOCK, CANCEL)
    plan.people_ask(respond.RECOVER)
    plan.people_vote(0)
    go(plan, "resume_withdrawals", "unlock_multisig")


def the_votes_come_first(plan: SmallPlan) -> None:
    plan.people_vote(0)
    go(plan, SUSPEND, FREEZE)


def its_block_is_dropped(plan: SmallPlan) -> None:
    go(plan, LOCK)
    clock(plan)
    plan.the_chain_is_looked_at(dropped=True)
    go(plan, LOCK, CANCEL)


def people_say_no(plan: SmallPlan) -> None:
    go(plan, SUSPEND)
    plan.people_vote(0, "deny")


def people_say_no_before(plan: SmallPlan) -> None:
    plan.people_vote(0, "deny")


def what_comes_first_fails(plan: SmallPlan) -> None:
    plan.the_other_side_is(says_no=True)
    go(plan, SUSPEND)


def nobody_votes(plan: SmallPlan) -> None:
    go(plan, SUSPEND)
    clock(plan, TOO_LATE_TO_VOTE)
    plan.people_vote(0)
    plan.the_votes_are_told()


def nobody_votes_before(plan: SmallPlan) -> None:
    clock(plan, TOO_LATE_TO_VOTE)
    plan.the_votes_are_told()


def approved_and_not_begun(plan: SmallPlan) -> None:
    go(plan, SUSPEND)
    plan.people_vote(0)
    clock(plan, TOO_LATE_TO_RUN)
    plan.the_votes_are_told()


def begun_too_late(plan: SmallPlan) -> None:
    go(plan, SUSPEND)
    plan.people_vote(0)
    clock(plan, TOO_LATE_TO_RUN)
    go(plan, FREEZE)


def nobody_can_tell_for_a_while(plan: SmallPlan) -> None:
    lost(plan, deaf=False, blind=True)
    go(plan, SUSPEND)
    plan.the_other_side_is()
    clock(plan)
    go(plan, SUSPEND)


def it_never_arrived(plan: SmallPlan) -> None:
    lost(plan, deaf=True, blind=True)
    go(plan, SUSPEND)
    plan.the_other_side_is()
    clock(plan)
    go(plan, SUSPEND)


def it_never_arrives(plan: SmallPlan) -> None:
    lost(plan, deaf=True, blind=True)
    go(plan, SUSPEND)
    plan.the_other_side_is()
    plan.here.scene.overwrite(plan.newest(SUSPEND, plan.incidents[0]), attempt=MOST_ATTEMPTS)
    clock(plan)
    go(plan, SUSPEND)


def its_votes_run_out(plan: SmallPlan, *, blind: bool = False) -> None:
    go(plan, SUSPEND)
    plan.people_vote(0)
    lost(plan, deaf=True, blind=blind)
    go(plan, FREEZE)
    clock(plan, TOO_LATE_TO_RUN)
    plan.the_other_side_is()
    go(plan, FREEZE)


def its_votes_run_out_in_doubt(plan: SmallPlan) -> None:
    its_votes_run_out(plan, blind=True)


def there_is_more_to_do(plan: SmallPlan) -> None:
    go(plan, LOCK)
    plan.the_other_side_is(does_nothing=True)
    go(plan, CANCEL)


def it_is_accepted_and_not_done(plan: SmallPlan, *, blind: bool = False) -> None:
    plan.the_other_side_is(does_nothing=True, blind=blind)
    go(plan, SUSPEND)
    clock(plan, TOO_LATE_TO_VOTE)
    go(plan, SUSPEND)


def it_is_accepted_and_nobody_can_tell(plan: SmallPlan) -> None:
    it_is_accepted_and_not_done(plan, blind=True)


def its_row_is_forged(plan: SmallPlan) -> None:
    plan.the_other_side_is(blind=True, does_nothing=True)
    go(plan, SUSPEND)
    plan.here.scene.overwrite(plan.newest(SUSPEND, plan.incidents[0]), effect="loosens")
    clock(plan)
    go(plan, SUSPEND)


WALKS: list[Callable[[SmallPlan], None]] = [
    all_goes_well,
    the_votes_come_first,
    its_block_is_dropped,
    people_say_no,
    people_say_no_before,
    what_comes_first_fails,
    nobody_votes,
    nobody_votes_before,
    approved_and_not_begun,
    begun_too_late,
    nobody_can_tell_for_a_while,
    it_never_arrived,
    it_never_arrives,
    its_votes_run_out,
    its_votes_run_out_in_doubt,
    there_is_more_to_do,
    it_is_accepted_and_not_done,
    it_is_accepted_and_nobody_can_tell,
    its_row_is_forged,
]


def test_every_transition_of_the_table_is_one_that_a_plan_takes(here: Here) -> None:
    """And after each of these walks everything ends, and what is asked for again is done."""
    here.walks.clear()
    for walk in WALKS:
        plan = machine(here)()
        plan.plan_it()
        walk(plan)
        plan.teardown()
    assert EVERY - set(here.walks) == set(), "not walked"


def test_whatever_happens_to_a_plan_its_rules_hold_and_what_is_asked_for_again_is_done(here: Here) -> None:
    here.walks.clear()
    run_state_machine_as_test(
        machine(here),
        settings=settings(
            max_examples=6,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert here.walks[StepState.WAITING_STEP, StepState.READY] > 0, "followers were let go"
