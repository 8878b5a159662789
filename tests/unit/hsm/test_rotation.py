"""The rotation machine, with every order of events that hypothesis can think of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import DerivationError, RotationError
from hsm.keypath import DerivationPath
from hsm.rotation import (
    FAILABLE,
    OVERTAKABLE,
    TRANSITIONS,
    Destroy,
    Event,
    Fail,
    Generate,
    Loss,
    Overtake,
    Retire,
    Rotation,
    State,
    Sweep,
    Verify,
    allowed_events,
    apply,
    propose,
    remaining,
    replay,
)

ACCOUNT = DerivationPath.account(84, 0, 0)
HAPPY: tuple[Event, ...] = (
    Generate("xpub1"),
    Verify("xpub1"),
    Sweep("approval-2", "0xabc"),
    Retire("approval-3"),
    Destroy("approval-4"),
)
EVENTS = st.sampled_from(
    [
        *HAPPY,
        Fail("lost interest"),
        Overtake("rot_2"),
        Verify("xpub2"),
        Sweep("a", ""),
        Retire(""),
        Destroy(""),
        Fail(""),
    ]
)
GIVEN_UP = (State.FAILED, State.OVERTAKEN)
ORDER = [State.PROPOSED, *(step.end for step in TRANSITIONS)]


def start() -> Rotation:
    return propose(ACCOUNT, Loss.LEAF)


def test_the_whole_way() -> None:
    end = replay(start(), HAPPY)
    assert end.state is State.DESTROYED
    assert end.events == HAPPY
    assert remaining(end) == ()
    assert allowed_events(end) == frozenset()


@given(st.lists(EVENTS, max_size=30))
def test_no_order_of_events_skips_a_step_or_goes_back(events: list[Event]) -> None:
    rotation = start()
    for event in events:
        before = rotation
        try:
            rotation = apply(rotation, event)
        except RotationError:
            assert rotation is before
            continue
        if rotation is not before and rotation.state not in GIVEN_UP:
            assert ORDER.index(rotation.state) == ORDER.index(before.state) + 1
    reached = rotation.events
    if State.FAILED is rotation.state:
        assert not any(isinstance(event, Sweep | Retire | Destroy) for event in reached)
    assert reached[: len(HAPPY)] == HAPPY[: len(reached)] or isinstance(reached[-1], Fail | Overtake)


@given(st.integers(0, len(HAPPY)), st.lists(st.integers(1, 3), min_size=6, max_size=6))
def test_a_crash_anywhere_resumes_and_repeats_change_nothing(crash: int, repeats: list[int]) -> None:
    rotation = start()
    for event in HAPPY[:crash]:
        for _ in range(repeats[0]):
            rotation = apply(rotation, event)
    again = replay(start(), rotation.events)
    assert again == rotation
    assert [step.event for step in remaining(again)] == [type(event) for event in HAPPY[crash:]]
    assert replay(again, HAPPY[crash:]).state is State.DESTROYED


@pytest.mark.parametrize("done", range(len(HAPPY)))
def test_every_other_event_is_refused_and_the_possible_ones_are_named(done: int) -> None:
    rotation = replay(start(), HAPPY[:done])
    for position, event in enumerate(HAPPY):
        if position in (done, done - 1):
            continue
        with pytest.raises(RotationError, match=type(HAPPY[done]).__name__):
            apply(rotation, event)


@pytest.mark.parametrize("event", [Sweep("", "0xabc"), Retire(""), Destroy("")])
def test_from_the_sweep_on_every_step_needs_an_approval(event: Event) -> None:
    position = [type(item) for item in HAPPY].index(type(event))
    with pytest.raises(RotationError) as refused:
        apply(replay(start(), HAPPY[:position]), event)
    assert refused.value.field == "approval"


def test_quorum_marks_are_those_of_the_design() -> None:
    assert [step.quorum for step in TRANSITIONS] == [False, False, True, True, True]
    assert all(step.does and step.undo for step in TRANSITIONS)


def test_the_verified_key_must_be_the_generated_one() -> None:
    with pytest.raises(RotationError, match="not the one that was generated"):
        apply(replay(start(), HAPPY[:1]), Verify("another"))


def test_the_same_event_with_other_facts_is_refused() -> None:
    swept = replay(start(), HAPPY[:3])
    assert apply(swept, Sweep("approval-2", "0xabc")) is swept
    with pytest.raises(RotationError):
        apply(swept, Sweep("approval-9", "0xabc"))


@pytest.mark.parametrize("done", range(len(HAPPY) + 1))
def test_giving_up_is_possible_only_before_anybody_can_be_told(done: int) -> None:
    rotation = replay(start(), HAPPY[:done])
    if rotation.state in FAILABLE:
        failed = apply(rotation, Fail("no quorum"))
        assert failed.state is State.FAILED
        assert remaining(failed) == ()
        assert allowed_events(failed) == frozenset()
    else:
        with pytest.raises(RotationError, match="given up"):
            apply(rotation, Fail("no quorum"))


@pytest.mark.parametrize("done", range(len(HAPPY) + 1))
def test_it_is_overtaken_until_its_keys_are_the_current_ones(done: int) -> None:
    rotation = replay(start(), HAPPY[:done])
    if rotation.state not in OVERTAKABLE:
        with pytest.raises(RotationError, match="begin another"):
            apply(rotation, Overtake("rot_2"))
        return
    overtaken = apply(rotation, Overtake("rot_2"))
    assert (overtaken.state, remaining(overtaken), allowed_events(overtaken)) == (State.OVERTAKEN, (), frozenset())
    with pytest.raises(RotationError, match="it is over"):
        apply(overtaken, HAPPY[min(done, len(HAPPY) - 1)])


@pytest.mark.parametrize("event", [Generate(""), Sweep("approval", ""), Fail(""), Overtake("")])
def test_facts_may_not_be_empty(event: Event) -> None:
    position = {Generate: 0, Sweep: 2, Fail: 0, Overtake: 0}[type(event)]
    with pytest.raises(RotationError):
        apply(replay(start(), HAPPY[:position]), event)


@pytest.mark.parametrize(
    ("loss", "new", "new_seed"),
    [(Loss.LEAF, "m/84h/0h/1h", False), (Loss.ACCOUNT_KEY, "m/84h/0h/0h", True), (Loss.SEED, "m/84h/0h/0h", True)],
)
def test_where_the_new_keys_live_follows_from_what_was_lost(loss: Loss, new: str, new_seed: bool) -> None:  # noqa: FBT001  a test parameter
    rotation = propose(ACCOUNT, loss)
    assert (str(rotation.new), rotation.new_seed) == (new, new_seed)


@pytest.mark.parametrize("loss", list(Loss))
def test_only_hardened_account_paths_are_rotated(loss: Loss) -> None:
    with pytest.raises(DerivationError):
        propose(DerivationPath.parse("m/84h/0h/0"), loss)
