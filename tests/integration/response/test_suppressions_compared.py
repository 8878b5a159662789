"""The engine's suppressions are held against the approved ones, from rows that not the API alone can write."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete, insert, update

from rules.baseline.layout import Kind
from rules.engine import ENGINE_VERSION
from rules.entities import Suppressions
from rules.learning import RecordKind
from rules.observation import Observation, encode
from service.domain.blinding import Suppression, warranted
from service.domain.errors import ApprovalError
from service.domain.quorum import Role
from service.flow.blinding import compare_suppressions
from service.store.tables.activity import learning, learning_requests
from service.store.tables.baseline import baselines
from service.store.tables.blinding import suppressions
from service.store.tables.incident import alerts
from service.store.tables.keys import accounts
from service.store.tables.proof import timeline
from tests.integration.api.rows import add_activity
from tests.integration.response.test_blinding import approve, document, release, requests
from tests.support.api import ApiWorld, api_on, problem
from tests.support.authority import House
from tests.support.incidents import add_alert, add_connection
from tests.support.response import CONTAINMENT, rows, superuser_do

pytestmark = pytest.mark.servers
ENTITY = "account:main/hot-1"


@pytest.fixture(autouse=True)
def empty(ready: House) -> None:
    for table in (learning, learning_requests, baselines, suppressions):
        superuser_do(ready, delete(table))


@pytest.fixture
def api(ready: House, tmp_path: Path) -> Iterator[ApiWorld]:
    found = api_on(ready.superuser_url, ready.clock, tmp_path)
    yield found
    found.close()


def suppression(house: House, identity: str, **changes: object) -> Suppression:
    told = {"id": identity, "entity": ENTITY, "detector": None, "owner": "per_1", "reason": "A test."}
    return Suppression(**{**told, "expires_at": house.clock.now() + timedelta(days=1), **changes})  # type: ignore[arg-type]  # as told


def list_it(house: House, one: Suppression, **changes: object) -> None:
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    superuser_do(
        house, insert(suppressions).values({**fields, "approval_id": "a", "created_at": house.clock.now(), **changes})
    )


def sequence(house: House, seq: int, kind: RecordKind, payload: bytes) -> None:
    row = {"seq": seq, "kind": kind.value, "payload": payload, "engine_version": ENGINE_VERSION, "settings_digest": ""}
    superuser_do(house, insert(learning).values({**row, "at": house.clock.now()}))


def differences(house: House) -> list[str]:
    with house.database("portcullis_api").begin() as uow:
        return list(uow.blinding.differences())


def test_what_a_quorum_approved_and_the_engine_goes_by_is_no_difference(ready: House) -> None:
    one = suppression(ready, "sup_1")
    list_it(ready, one)
    told = {"kind": "suppression", "subject": "sup_1", "payload": warranted(one.row(), "a")}
    superuser_do(ready, insert(learning_requests).values({**told, "created_at": ready.clock.now()}))
    assert differences(ready) == [], "it waits for its place"
    superuser_do(ready, update(learning_requests).values(seq=1))
    sequence(ready, 1, RecordKind.SUPPRESSION, one.row())
    assert differences(ready) == []
    superuser_do(ready, update(suppressions).values(lifted_at=ready.clock.now()))
    assert differences(ready) == [f"sup_1 was lifted and still suppresses findings about {ENTITY}"]
    sequence(ready, 2, RecordKind.SUPPRESSION_LIFTED, json.dumps({"id": "sup_1"}).encode())
    assert differences(ready) == []


def test_each_way_to_differ_is_told(ready: House) -> None:
    list_it(ready, suppression(ready, "sup_1"))
    assert differences(ready) == ["sup_1 is listed as active, and the engine does not go by it: ask for it again"]
    sequence(ready, 1, RecordKind.SUPPRESSION, suppression(ready, "sup_1", entity="account:main/hot-2").row())
    assert differences(ready) == ["sup_1 suppresses findings about account:main/hot-2 otherwise than a quorum approved"]
    superuser_do(ready, delete(suppressions))
    assert differences(ready) == ["sup_1 suppresses findings about account:main/hot-2, and no quorum approved it"]
    later = ready.clock.now() - timedelta(seconds=1)
    sequence(ready, 2, RecordKind.SUPPRESSION, suppression(ready, "sup_1", expires_at=later).row())
    assert differences(ready) == [], "it has ended"


def test_a_snapshot_that_the_apis_role_altered_is_found_recorded_once_and_shown(ready: House, api: ApiWorld) -> None:
    state = suppression(ready, "sup_forged").row()
    with ready.database("portcullis_api").begin() as uow:
        for entity, stored in (("sup_forged", state), ("sup_junk", b"{")):
            values = {"entity": entity, "kind": int(Kind.SUPPRESSION), "seq": 0, "state": stored}
            uow.connection.execute(insert(baselines).values(values))
    expected = [
        f"sup_forged suppresses findings about {ENTITY}, and no quorum approved it",
        "sup_junk is stored for the engine and cannot be read",
    ]
    for _ in range(2):
        compare_suppressions(ready.database(CONTAINMENT))
    assert [row.sentence for row in rows(ready, timeline, kind="suppression.differs")] == expected
    shown = api.get("/v1/health/details")
    assert (shown["status"], shown["suppressions_differ"]) == ("degraded", expected)
    superuser_do(ready, delete(baselines))
    assert api.get("/v1/health/details")["suppressions_differ"] == []


@pytest.mark.parametrize("entity", [ENTITY, "destination:eip155:1:0xABCD", "device:main/phone"])
def test_what_nothing_is_known_of_is_not_suppressed_until_an_alert_was_about_it(
    ready: House, api: ApiWorld, entity: str
) -> None:
    person, now = next(iter(ready.phones)), ready.clock.now()

    def asked(about: str) -> httpx.Response:
        body = {"entity": about, "expires_at": (now + timedelta(days=1)).isoformat(), "reason": "A test."}
        return api.call("POST", "/v1/suppressions", Role.RESPONDER, person=person, json=body)

    told = problem(asked(entity))
    assert (told["code"], told["field"]) == ("not_found", "entity")
    alert = {"id": "alr_1", "connection_id": "main", "activity_id": "a", "dedup_key": "k", "kind": "drain", "severity": 2,
             "decision": "alert", "score": 4.0, "p_value": 1e-4, "title": "", "raised_at": now, "last_at": now,
             "entities": ["actor:main/x", entity]}  # fmt: skip
    superuser_do(ready, insert(alerts).values(alert))
    assert problem(asked(entity[:-1]))["code"] == "not_found", "exactly, and not what begins so"
    assert asked(entity).status_code == 202


def test_a_registered_account_needs_no_alert(ready: House) -> None:
    with ready.databases["superuser"].begin() as uow:
        add_connection(uow.connection, "main")
    row = {"id": "acc_1", "connection_id": "main", "ref": "hot-1", "holder": "platform"}
    superuser_do(ready, insert(accounts).values(**row, created_at=ready.clock.now()))
    with ready.database("portcullis_api").begin() as uow:
        assert uow.blinding.known(ENTITY)
        assert not uow.blinding.known("destination:main/hot-1")
        assert not uow.blinding.known("account:main/hot-10")


def came_from(house: House, ip: str) -> None:
    """An alert about a login from an address, with its row of the sequence."""
    told = Observation(event_id="e", kind="access.login_succeeded", occurred_at_us=1, received_at_us=1, ip=ip)
    sequence(house, 1, RecordKind.ACTIVITY, encode(told))
    with house.databases["superuser"].begin() as uow:
        activity = add_activity(uow.connection, connection_id="main", kind=told.kind, seq=1)
        alert = add_alert(uow.connection, None, ("actor:main/x",), connection="main")
        uow.connection.execute(update(alerts).where(alerts.c.id == alert).values(activity_id=activity))


def test_a_network_that_an_alert_came_from_waits_for_the_same_quorum(ready: House, api: ApiWorld) -> None:
    def wanted(network: str) -> httpx.Response:
        end = (ready.clock.now() + timedelta(days=1)).isoformat()
        body = {"entity": f"network:{network}", "expires_at": end, "reason": "The office."}
        return api.call("POST", "/v1/suppressions", Role.RESPONDER, person=next(iter(ready.phones)), json=body)

    assert problem(wanted("203.0.113.0/24"))["code"] == "not_found"
    came_from(ready, "203.0.113.7")
    assert problem(wanted("203.0.112.0/24"))["code"] == "not_found"
    approval = wanted("203.0.113.0/24").json()["approval"]
    assert "network:203.0.113.0/24" in document(ready, approval).what[0].sentence
    with pytest.raises(ApprovalError, match="lacks"):
        release(ready, approval)
    assert requests(ready, "suppression") == []
    approve(ready, approval)
    release(ready, approval)
    (told,) = requests(ready, "suppression")
    assert told["entity"] == "network:203.0.113.0/24"
    known = Suppressions()
    known.put(told["id"], json.dumps(told).encode(), "")
    assert list(known.stored) == [told["id"]]
