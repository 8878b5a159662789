"""From a plan's document through real votes, signed in a real token, to the executing worker's own check."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hsm.pkcs11.authority import AuthorityToken
from hsm.power import Power
from service.clock import SystemClock
from service.domain.ids import ApprovalId, IncidentId
from service.domain.plan import Lane, Step, StepState
from service.domain.secrets import Secret
from service.flow import approve, contain, respond
from service.store.database import SqlDatabase, create
from tests.integration.containment.conftest import ACTIONS, Scene
from tests.integration.hsm.tokens import set_up
from tests.support.authority import House, house_on
from tests.support.fakes import FakePlatform, Ledger
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident
from tests.support.servers import SoftHsm

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def votes_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorityToken]:
    folder = tmp_path_factory.mktemp("votes-token")
    config = set_up(softhsm.module, softhsm.configuration, folder, Power.AUTHORITY, "votes-of-containment")
    token = AuthorityToken.open(config)
    yield token
    token.close()


@pytest.fixture
def house(fresh_postgres_url: str, votes_token: AuthorityToken, tmp_path: Path) -> Iterator[House]:
    found = house_on(fresh_postgres_url, votes_token, tmp_path)
    found.first = replace(found.first, declared={name: action.approval for name, action in ACTIONS.items()})
    found.add_people(4)
    found.complete()
    yield found
    found.close()


@pytest.fixture
def scene(house: House) -> Scene:
    ledger = Ledger()
    pem = house.office.public_key_pem
    return Scene(
        house.database("portcullis_containment"),
        house.clock,
        ledger,
        FakePlatform(ledger),
        lambda: pem,
        house.database("portcullis_keys"),
    )


@pytest.fixture
def restriction(scene: Scene, house: House) -> Step:
    """The restriction of a drained account's keys."""
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "a-1", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/a-1",))
    owner.engine.dispose()
    respond.plan(scene.desk, IncidentId(incident))
    return scene.steps(incident)["restrict_key", "a-1"]


def run(scene: Scene, step: Step) -> None:
    contain.step(scene.hands(step.lane), step.id)
    respond.advance(scene.desk, step.id)


def way_back(scene: Scene, restriction: Step) -> Step:
    """The step that lifts it again and waits for a quorum."""
    run(scene, restriction)
    respond.request(scene.desk, restriction.incident_id, respond.RECOVER, "portcullis")
    return scene.steps(restriction.incident_id)["lift_key_restriction", "a-1"]


def approval_of(step: Step) -> ApprovalId:
    assert step.approval_id is not None, step.reason
    return step.approval_id


def approve_it(scene: Scene, house: House, step: Step) -> None:
    with scene.db.begin() as uow:
        document = uow.approvals.document(approval_of(step))
    for person in list(house.phones)[:2]:
        house.vote(document, person)


def test_with_the_quorum_s_votes_it_runs(scene: Scene, house: House, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    assert waiting.state is StepState.WAITING_APPROVAL
    contain.step(scene.hands(Lane.KEYS), waiting.id)
    assert scene.step(waiting.id).state is StepState.WAITING_APPROVAL, "not released yet"
    approve_it(scene, house, waiting)
    approve.release(scene.db, approval_of(waiting))
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.DONE
    assert scene.step(restriction.id).state is StepState.UNDONE


def test_released_without_votes_it_does_not_run(scene: Scene, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    with scene.db.begin() as uow:
        uow.plans.release(approval_of(waiting))
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.REFUSED
    assert scene.step(restriction.id).state is StepState.DONE


def test_changed_after_the_vote_it_does_not_run(scene: Scene, house: House, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    approve_it(scene, house, waiting)
    approve.release(scene.db, approval_of(waiting))
    scene.overwrite(waiting.id, params={"more": "than was approved"})
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.REFUSED


def test_too_late_it_does_not_run(scene: Scene, house: House, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    approve_it(scene, house, waiting)
    approve.release(scene.db, approval_of(waiting))
    house.clock.pass_by(timedelta(days=2))
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.REFUSED
