"""People who decide: their roles, their place on call, and whether they still count.

Rules: a person counts only while active; suspending one is a tightening and may happen at once, restoring one takes a
quorum (design D4). Rows are written by the authority alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from service.domain.ids import PersonId
from service.domain.quorum import Role


class PersonState(StrEnum):
    """Only `active` people may vote."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody of the organisation. `name` and `email` are personal: they enter the audit tree as commitments only."""

    id: PersonId
    name: str
    email: str
    roles: frozenset[Role]
    state: PersonState
    oncall_level: int | None = None
    """1 is paged first; None is never paged as on-call."""
    channels: tuple[Mapping[str, str], ...] = ()
    """Where this person is reached: [{channel, recipient}]."""
