"""One database per test, a clock that stands until told, and hands that reach a fake platform."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
from sqlalchemy import update

from hsm.pkcs11.authority import AuthorityToken
from hsm.power import Power
from service.actions.base import actions_in
from service.clock import SystemClock
from service.domain.ids import ConnectionId, IncidentId, StepId
from service.domain.plan import Lane, Step
from service.domain.secrets import Secret
from service.flow.contain import LEASE, Hands
from service.flow.respond import Desk
from service.playbooks.loader import load
from service.ports.custody import ContainmentCalls
from service.ports.notify import Outside
from service.store.database import SqlDatabase, create
from service.store.tables.incident import steps
from tests.integration.hsm.tokens import set_up
from tests.support.authority import MovedClock
from tests.support.fakes import FakePlatform, FakeVault, Ledger
from tests.support.servers import SoftHsm

ACTIONS = actions_in("service.actions")
PLAYBOOKS = load(ACTIONS)
LEASE_IS_OVER = 4 * LEASE
"""Passed by on the scene's clock: a lease that a test took lasts longer by what the machine needed to take it."""


def no_key() -> bytes:
    return b"no key"


@dataclass
class Scene:
    """What a test works with."""

    db: SqlDatabase
    clock: MovedClock
    ledger: Ledger
    platform: FakePlatform
    votes_key_pem: Callable[[], bytes] = no_key
    keys_db: SqlDatabase | None = None
    """The key worker's own role, where a test has roles."""
    outside: Outside | None = None

    def hands(self, lane: Lane = Lane.CONTAINMENT, owner: str = "one") -> Hands:
        def platform(_: ConnectionId) -> ContainmentCalls:
            return self.platform

        return Hands(
            db=self.keys_db or self.db if lane is Lane.KEYS else self.db,
            clock=self.clock,
            owner=owner,
            lane=lane,
            actions=ACTIONS,
            votes_key_pem=self.votes_key_pem,
            keep=lambda _step, _fence: nullcontext(),
            platform=platform if lane is Lane.CONTAINMENT else None,
            vault=FakeVault(self.ledger) if lane is Lane.KEYS else None,
            outside=self.outside if lane is Lane.CONTAINMENT else None,
        )

    @property
    def desk(self) -> Desk:
        return Desk(self.db, ACTIONS, PLAYBOOKS, self.votes_key_pem)

    def steps(self, incident: str) -> dict[tuple[str, str], Step]:
        with self.db.begin() as uow:
            found = uow.plans.steps_of(IncidentId(incident))
        return {(step.action, step.target.value): step for step in found}

    def step(self, identity: str) -> Step:
        with self.db.begin() as uow:
            return uow.plans.step(StepId(identity))

    def overwrite(self, identity: str, **values: object) -> None:
        with self.db.begin() as uow:
            uow.connection.execute(update(steps).where(steps.c.id == identity).values(**values))


@pytest.fixture
def db(fresh_postgres_url: str) -> Iterator[SqlDatabase]:
    """A database of its own under the machine's clock."""
    database = SqlDatabase(create(Secret(fresh_postgres_url), pool_size=2), SystemClock())
    yield database
    database.engine.dispose()


@pytest.fixture
def scene(fresh_postgres_url: str) -> Iterator[Scene]:
    clock = MovedClock()
    db = SqlDatabase(create(Secret(fresh_postgres_url), pool_size=3), clock)
    ledger = Ledger()
    yield Scene(db, clock, ledger, FakePlatform(ledger))
    db.engine.dispose()


@pytest.fixture(scope="module")
def votes_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorityToken]:
    folder = tmp_path_factory.mktemp("votes-token")
    config = set_up(softhsm.module, softhsm.configuration, folder, Power.AUTHORITY, "votes-of-containment")
    token = AuthorityToken.open(config)
    yield token
    token.close()
