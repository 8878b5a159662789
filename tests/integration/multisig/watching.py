"""One step of the key worker on a chain, worked on and looked at again, without the processes around it."""

from contextlib import nullcontext
from dataclasses import dataclass

from sqlalchemy import select, update

from service.actions.base import actions_in
from service.domain.ids import IncidentId
from service.domain.looks import FIRST, LOOK
from service.domain.plan import Lane, Step
from service.flow import contain, finality, respond
from service.flow.contain import Hands
from service.flow.finality import Looking
from service.flow.respond import Desk
from service.playbooks.loader import load
from service.store.tables.attention import timers
from service.store.tables.keys import accounts
from service.store.tables.proof import timeline
from service.vault.vaults import Vaults
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import CHAIN
from tests.support.authority import MovedClock
from tests.support.incidents import CONNECTION, add_incident

ACTIONS = actions_in("service.actions")
DEEP = 70
"""More blocks than anvil needs to call one finalized."""


@dataclass
class Watched:
    """A Safe with an incident that names it, and the key worker's hands and looks at one step."""

    house: SafeHouse
    incident: IncidentId
    hands: Hands
    looking: Looking
    desk: Desk
    action: str = "lock_multisig"

    def lock(self) -> Step:
        respond.plan(self.desk, self.incident)
        self.work()
        return self.step()

    def work(self) -> None:
        contain.step(self.hands, self.step().id)
        respond.advance(self.desk, self.step().id)

    def step(self) -> Step:
        with self.house.house.superuser.begin() as uow:
            (found,) = [s for s in uow.plans.steps_of(self.incident) if s.action == self.action]
        return found

    def look(self) -> None:
        """Let the next look be due, and look."""
        with self.house.house.superuser.begin() as uow:
            waiting = (timers.c.fired_at.is_(None), timers.c.kind.startswith(LOOK))
            uow.connection.execute(update(timers).where(*waiting).values(due_at=uow.now - FIRST))
        with self.house.house.superuser.begin() as uow:
            due = uow.attention.due_looks(10)
        for timer in due:
            finality.look(self.looking, timer)

    def said(self) -> list[str]:
        with self.house.house.superuser.begin() as uow:
            wanted = select(timeline.c.kind).where(timeline.c.subject == self.step().id).order_by(timeline.c.id)
            return [kind for kind in uow.connection.execute(wanted).scalars() if kind != "step.started"]


def watching(house: SafeHouse) -> Watched:
    """Name the Safe in an incident."""
    db = house.house.superuser
    ref = f"{CHAIN}:{house.address}"
    with db.begin() as uow:
        known = {"connection_id": CONNECTION, "ref": ref}
        uow.connection.execute(update(accounts).where(accounts.c.id == house.account).values(**known))
        incident = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/{ref}",)))
    hands = Hands(
        db=db, clock=MovedClock(), owner="one", lane=Lane.KEYS, actions=ACTIONS, votes_key_pem=lambda: b"",
        keep=lambda _step, _fence: nullcontext(), multisig=house.multisigs, vault=Vaults(house.house.parts),
    )  # fmt: skip
    desk = Desk(db, ACTIONS, load(ACTIONS), lambda: b"")
    return Watched(house, incident, hands, Looking(db, hands.clock, ACTIONS, house.multisigs, hands.vault), desk)
