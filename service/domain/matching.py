"""Filling a quorum: distinct persons to places, by maximum bipartite matching.

Rules: one person fills one place even when he holds several of the roles asked for; which place he fills is chosen so
that as many places as possible are filled. Augmenting paths (Berge 1957, "Two theorems in graph theory"): O(places
by persons), both small.
"""

from collections.abc import Mapping

from service.domain.quorum import Quorum, Role

Holders = Mapping[str, frozenset[Role]]
"""Person id → the roles this person holds."""


def places(quorum: Quorum) -> tuple[Role, ...]:
    """Return one entry for each person it takes: the role he must hold."""
    return tuple(group.role for group in quorum.groups for _ in range(group.count))


def filled(quorum: Quorum, holders: Holders) -> bool:
    """Say whether distinct persons of `holders` fill every place of the quorum."""
    return missing(quorum, holders) == ()


def missing(quorum: Quorum, holders: Holders) -> tuple[Role, ...]:
    """Return the roles of the places that stay empty in a best filling, sorted; empty when the quorum is met."""
    wanted = places(quorum)
    seat_of: dict[str, int] = {}
    for seat in range(len(wanted)):
        _seat(seat, wanted, holders, seat_of, set())
    return tuple(sorted(wanted[seat] for seat in set(range(len(wanted))) - set(seat_of.values())))


def winnable_without_any_one(quorum: Quorum, holders: Holders) -> bool:
    """Say whether the quorum can be filled whoever of the holders is the requester and so does not count."""
    if not filled(quorum, holders):
        return False
    return all(filled(quorum, {p: r for p, r in holders.items() if p != requester}) for requester in holders)


def _seat(seat: int, wanted: tuple[Role, ...], holders: Holders, seat_of: dict[str, int], tried: set[str]) -> bool:
    """Find a person for a seat, moving seated persons to other seats where that frees one."""
    for person in sorted(holders):
        if person in tried or wanted[seat] not in holders[person]:
            continue
        tried.add(person)
        if person not in seat_of or _seat(seat_of[person], wanted, holders, seat_of, tried):
            seat_of[person] = seat
            return True
    return False
