"""Who must approve: roles, and quorums as an AND of groups whose members are distinct persons.

Rules: every group needs at least one person (a group of zero is refused when it is declared, never treated as met);
one person fills one place; the requester never counts; a denial by anyone who could have approved ends the request.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Role(StrEnum):
    """What a person or API token may do."""

    INGEST = "ingest"
    VIEWER = "viewer"
    ANALYST = "analyst"
    RESPONDER = "responder"
    APPROVER = "approver"
    TREASURY = "treasury"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Group:
    """`count` distinct persons holding `role`."""

    count: int
    role: Role

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a quorum group needs at least one {self.role}, not {self.count}")


@dataclass(frozen=True, slots=True)
class Quorum:
    """All groups must be filled; build with `Quorum.of(2, Role.RESPONDER) & Quorum.of(1, Role.TREASURY)`."""

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError("a quorum needs at least one group")

    @classmethod
    def of(cls, count: int, role: Role) -> "Quorum":
        """Return a quorum of one group."""
        return cls((Group(count, role),))

    def __and__(self, other: "Quorum") -> "Quorum":
        return Quorum(self.groups + other.groups)

    @property
    def size(self) -> int:
        """How many distinct persons it takes."""
        return sum(group.count for group in self.groups)


def at_least(one: Quorum, other: Quorum) -> Quorum:
    """Return the smallest quorum that fills both: of each role the greater count."""
    counts: dict[Role, int] = {}
    for quorum in (one, other):
        own: dict[Role, int] = {}
        for group in quorum.groups:
            own[group.role] = own.get(group.role, 0) + group.count
        counts = {role: max(counts.get(role, 0), own.get(role, 0)) for role in (*counts, *own)}
    return Quorum(tuple(Group(count, role) for role, count in counts.items()))


@dataclass(frozen=True, slots=True)
class PreAuthorised:
    """Runs at once without a person; a person confirms afterwards. Unconfirmed, it stays and escalates."""

    confirm_within: timedelta
    beyond_limit: Quorum = Quorum((Group(1, Role.APPROVER),))
    """Who must approve it once the hour's blast radius is used up."""


Approval = Quorum | PreAuthorised
"""What a containment action demands before it runs."""
