"""The people of a drill: those of the scenario, and stand-ins so that every quorum can be won without any one of them.

Rules: a person has one phone and one code per time step, so there are enough people that approving never waits for
phones; the seats of a quorum are filled by distinct people, and who has not voted recently goes first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from drills.runner.phones import Phone
from drills.scenario_form import Person

STAND_INS = 6
MOST_LEVELS = 3
MAIL_DOMAIN = "drill.example"
BY_STRENGTH = ("admin", "responder", "approver", "treasury", "analyst", "viewer")
STAND_IN_ROLES = ("approver", "treasury", "responder", "admin")


@dataclass(slots=True)
class Member:
    """Somebody who decides. `person` and `token` are the service's; the token is never shown."""

    key: str
    name: str
    roles: tuple[str, ...]
    oncall_level: int | None
    person: str = ""
    token: str = field(default="", repr=False)
    phone: Phone | None = field(default=None, repr=False)

    @property
    def strongest(self) -> str:
        """The role that this person's API token has."""
        return next(role for role in BY_STRENGTH if role in self.roles)

    @property
    def mail(self) -> str:
        """The person's address at the drill's own mail receiver."""
        return f"{self.key}@{MAIL_DOMAIN}"


def crew_of(people: Sequence[Person]) -> list[Member]:
    """Return the scenario's people, the responders on call in their order, and the stand-ins."""
    crew: list[Member] = []
    level = 0
    for person in people:
        responds = "responder" in person.roles and level < MOST_LEVELS
        level += responds
        crew.append(Member(person.id, person.name, tuple(person.roles), level if responds else None))
    crew += [
        Member(f"stand-in-{n}", f"Stand-in {n}", STAND_IN_ROLES, MOST_LEVELS if n == 1 else None)
        for n in range(1, STAND_INS + 1)
    ]
    return crew


def seats_of(quorum: Mapping[str, Iterable[tuple[int, str]]]) -> tuple[str, ...]:
    """Return the role of every seat that must be filled so that each action's quorum is met at once."""
    most: dict[str, int] = {}
    for places in quorum.values():
        wanted: dict[str, int] = {}
        for count, role in places:
            wanted[role] = wanted.get(role, 0) + count
        for role, count in wanted.items():
            most[role] = max(most.get(role, 0), count)
    return tuple(role for role in sorted(most) for _ in range(most[role]))


def voters(seats: Sequence[str], crew: Sequence[Member], now_s: float, *, without: Iterable[str] = ()) -> list[Member]:
    """Return distinct people with a fresh code, one per seat; as many as there are, so possibly fewer than the seats.

    People with the fewest roles are seated first, so that those who can fill any seat are left for the rest.
    """
    barred = set(without)
    free = [m for m in crew if m.person not in barred and m.phone is not None and m.phone.is_free(now_s)]
    seated: list[Member] = []
    for role in seats:
        fitting = [m for m in free if role in m.roles and m not in seated]
        if fitting:
            seated.append(min(fitting, key=lambda m: (len(m.roles), m.phone.last_step if m.phone else 0)))
    return seated
