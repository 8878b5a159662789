"""What a child rehearses at its start leaves nothing behind, and spares the first hold what a first one pays for."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from service.domain.ids import AlertId
from service.domain.plan import StepState
from service.domain.secrets import Secret
from service.flow import contain, respond, triage
from service.store.database import SqlDatabase, create
from service.store.tables.base import metadata
from tests.integration.containment.conftest import Scene
from tests.integration.containment.test_way_to_hold import an_alert
from tests.support.servers import url_of_role
from workers.ahead import Ahead
from workers.rehearsal import rehearse

pytestmark = pytest.mark.servers
NEW_AT_MOST = 0


def rows(db: SqlDatabase) -> dict[str, int]:
    with db.begin() as uow:
        counts = {
            name: uow.connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
        }
    return {name: count for name, count in counts.items() if count}


def statements_built(db: SqlDatabase) -> int:
    return len(db.engine._compiled_cache or ())


def way(scene: Scene, db: SqlDatabase, alert: AlertId) -> StepState:
    incident = triage.triage(db, alert)
    respond.plan(replace(scene.desk, db=db), incident)
    (hold,) = (s.id for (action, _), s in scene.steps(incident).items() if action == "suspend_withdrawals")
    contain.step(replace(scene.hands(), db=db), hold)
    return scene.step(hold).state


def test_a_rehearsal_leaves_nothing_and_the_first_hold_builds_hardly_a_statement(
    scene: Scene, fresh_postgres_url: str
) -> None:
    url = Secret(url_of_role(fresh_postgres_url, "portcullis_containment"))
    db, before = SqlDatabase(create(url, pool_size=2), scene.clock), rows(scene.db)
    try:
        told: list[object] = []
        db._committed = told.append
        assert rehearse(db, replace(scene.desk, db=db), replace(scene.hands(), db=db, foresee=Ahead().read))
        assert rows(scene.db) == before
        assert told == []
        built = statements_built(db)
        assert way(scene, db, an_alert(scene, "hot-1")) is StepState.DONE
        assert statements_built(db) - built <= NEW_AT_MOST
    finally:
        db.engine.dispose()


def test_a_rehearsal_waits_for_no_hold_and_no_hold_for_a_rehearsal(scene: Scene) -> None:
    with scene.db.begin() as busy:
        busy.lock("triage")
        assert rehearse(scene.db, scene.desk, scene.hands())


def test_a_rehearsal_that_fails_stops_nobody(scene: Scene) -> None:
    gone = SqlDatabase(create(Secret("postgresql://nobody@/none?host=/nonexistent")), scene.clock)
    assert not rehearse(gone, replace(scene.desk, db=gone), replace(scene.hands(), db=gone))
