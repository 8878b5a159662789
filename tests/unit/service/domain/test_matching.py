"""Distinct persons to places, against every assignment there is."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from service.domain.matching import filled, missing, places, winnable_without_any_one
from service.domain.quorum import Group, Quorum, Role

ROLES = (Role.RESPONDER, Role.APPROVER, Role.TREASURY)
QUORUMS = st.lists(st.builds(Group, st.integers(1, 2), st.sampled_from(ROLES)), min_size=1, max_size=3).map(
    lambda groups: Quorum(tuple(groups))
)
HOLDERS = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.frozensets(st.sampled_from(ROLES)))


def by_trying_all(quorum: Quorum, holders: dict[str, frozenset[Role]]) -> bool:
    wanted = places(quorum)
    return any(
        all(role in holders[person] for role, person in zip(wanted, chosen, strict=True))
        for chosen in permutations(sorted(holders), len(wanted))
    )


@given(QUORUMS, HOLDERS)
def test_filled_agrees_with_trying_every_assignment(quorum: Quorum, holders: dict[str, frozenset[Role]]) -> None:
    assert filled(quorum, holders) == by_trying_all(quorum, holders)
    assert (missing(quorum, holders) == ()) == filled(quorum, holders)


@given(QUORUMS, HOLDERS)
def test_winnable_without_anyone_means_just_that(quorum: Quorum, holders: dict[str, frozenset[Role]]) -> None:
    expected = by_trying_all(quorum, holders) and all(
        by_trying_all(quorum, {p: r for p, r in holders.items() if p != gone}) for gone in holders
    )
    assert winnable_without_any_one(quorum, holders) == expected


def test_a_person_with_both_roles_fills_one_place_only() -> None:
    both = frozenset({Role.RESPONDER, Role.TREASURY})
    quorum = Quorum.of(1, Role.RESPONDER) & Quorum.of(1, Role.TREASURY)
    assert not filled(quorum, {"a": both})
    assert missing(quorum, {"a": both}) in {(Role.RESPONDER,), (Role.TREASURY,)}
    assert filled(quorum, {"a": both, "b": frozenset({Role.RESPONDER})})
