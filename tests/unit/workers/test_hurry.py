"""What a child begins by itself: the first urgent job of what it left, once, and only what it knows."""

from service.domain.events import IncidentOpened, StepReady, StepVerified
from service.flow.routes import HURRIED, JOBS_OF, QUEUES, URGENT
from workers.broker import HurriedCycle
from workers.hurry import Hurry

CONTAINMENT = ("triage.alert", "respond.plan", "contain.step", "notify.incident")


def test_the_first_urgent_job_is_taken_and_the_rest_is_left_to_others() -> None:
    hurry = Hurry()
    hurry.note([(1, StepVerified("stp_1", "inc_1")), (2, StepReady("stp_2", "containment"))])
    hurry.note([(3, StepReady("stp_3", "containment"))])
    taken = hurry.take(CONTAINMENT)
    assert taken is not None
    assert (taken.job, taken.outbox_id, taken.payload["step_id"]) == ("contain.step", 2, "stp_2")
    assert hurry.take(CONTAINMENT) is None


def test_an_opened_incident_goes_on_to_its_plan_not_to_its_page() -> None:
    hurry = Hurry()
    hurry.note([(1, IncidentOpened("inc_1"))])
    taken = hurry.take(CONTAINMENT)
    assert taken is not None
    assert taken.job == "respond.plan"


def test_a_step_of_the_other_lane_is_not_begun() -> None:
    hurry = Hurry()
    hurry.note([(1, StepReady("stp_1", "keys"))])
    assert hurry.take(CONTAINMENT) is None
    hurry.note([(2, StepReady("stp_2", "containment"))])
    assert hurry.take(("keys.step",)) is None


def test_every_urgent_job_and_hurried_queue_exists() -> None:
    known = {job for jobs in JOBS_OF.values() for job in jobs}
    assert known >= URGENT
    assert set(HURRIED) <= set(QUEUES.values())


def test_the_queues_that_a_hold_waits_for_go_first_and_the_others_are_never_left_out() -> None:
    cycle = HurriedCycle()
    cycle.update(["containment", "alarm", "release", "flow", "delivery"])  # type: ignore[no-untyped-call]  # kombu ships no types for it
    first: list[str] = []
    for _ in range(8):
        order = cycle.consume(5)
        assert sorted(order) == ["alarm", "containment", "delivery", "flow", "release"]
        first.append(order[0])
        cycle.rotate(order[0])  # type: ignore[no-untyped-call]  # kombu ships no types for it
    assert first.count("alarm") >= 4, "accounts that nothing holds yet go first"
    assert first.count("containment") >= 2, "a flood of alerts keeps no step for long"
    assert len(first) - first.count("alarm") - first.count("containment") <= 2
