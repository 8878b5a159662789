"""Suppressions and settings: asked for over the API, voted at the real authority, executed under the worker's own role."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, insert, update

from rules.engine import ENGINE_VERSION
from rules.errors import LearningRecordError
from rules.learning import Suppression as Row
from rules.settings import EngineSettings
from service.api.routers import engine
from service.domain.approval import ActionDocument
from service.domain.blinding import Suppression, settings_item, suppression_of, warranted
from service.domain.errors import ApprovalError
from service.domain.ids import ApprovalId, new_id
from service.domain.intake import LearningRequest
from service.domain.quorum import Role
from service.flow import blinding, clearance, closure
from service.flow.intake.warrants import looked_up, warranted_row
from service.flow.routes import JOBS_OF
from service.store.tables.activity import learning, learning_requests
from service.store.tables.approval import approvals
from service.store.tables.blinding import suppressions
from service.store.tables.keys import accounts
from service.store.tables.proof import timeline
from tests.support.api import ApiWorld, api_on, problem
from tests.support.authority import House
from tests.support.incidents import add_connection
from tests.support.response import CONTAINMENT, rows, superuser_do
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers
ENTITY = "account:main/hot-1"
STARTED = EngineSettings(salt="a secret of the installation")


@pytest.fixture
def api(ready: House, tmp_path: Path) -> Iterator[ApiWorld]:
    superuser_do(ready, delete(learning).where(learning.c.kind == "settings"))
    row = {"seq": 1, "kind": "settings", "payload": STARTED.encode(), "at": ready.clock.now()}
    superuser_do(ready, insert(learning).values(**row, engine_version=ENGINE_VERSION, settings_digest=STARTED.digest()))
    with ready.databases["superuser"].begin() as uow:
        add_connection(uow.connection, "main")
    registered = {"connection_id": "main", "holder": "platform", "created_at": ready.clock.now()}
    for ref in ("hot-1", *map(str, range(25))):
        superuser_do(ready, insert(accounts).values(id=new_id("acc"), ref=ref, **registered))
    found = api_on(ready.superuser_url, ready.clock, tmp_path)
    yield found
    found.close()


def person(house: House, place: int = 0) -> str:
    return list(house.phones)[place]


def asked(api: ApiWorld, house: House, changes: Mapping[str, object] | None = None, place: int = 0) -> Any:
    end = house.clock.now() + timedelta(days=7)
    body = {"entity": ENTITY, "detector": "payout-burst", "expires_at": end.isoformat(), "reason": "Payroll run."}
    sent = body | dict(changes or {})
    return api.call("POST", "/v1/suppressions", Role.RESPONDER, person=person(house, place), json=sent)


def proposed(api: ApiWorld, house: House, changes: object, **more: object) -> Any:
    body = {"changes": changes, "why": "A test asks."} | more
    return api.call("POST", "/v1/engine/settings", Role.ADMIN, person=person(house), json=body)


def document(house: House, approval: str) -> ActionDocument:
    with house.database(CONTAINMENT).begin() as uow:
        return uow.approvals.document(ApprovalId(approval))


def approve(house: House, approval: str) -> None:
    for voter in list(house.phones)[2:]:
        house.vote(document(house, approval), voter)


def release(house: House, approval: str) -> None:
    blinding.released(house.database(CONTAINMENT), house.office.public_key_pem, ApprovalId(approval))


def row_of(house: House, approval: str) -> Any:
    return rows(house, approvals, id=approval)[0]


def applied(house: House, kind: str) -> bytes:
    """What the process that scores would add to the sequence for the newest request of a kind, under its own role."""
    asked = rows(house, learning_requests, kind=kind)[-1]
    request = LearningRequest(asked.id, asked.kind, asked.subject, bytes(asked.payload))
    check = partial(blinding.authorised, house.database("portcullis_api"), lambda: house.office.public_key_pem)
    return warranted_row(request, asyncio.run(looked_up([request], check)), STARTED)


def requests(house: House, kind: str) -> list[Any]:
    told = [json.loads(bytes(row.payload)) for row in rows(house, learning_requests, kind=kind)]
    return [one.get("row", one) for one in told]


def test_a_quorum_suppresses_one_entity_and_anybody_who_judges_lifts_it_at_once(ready: House, api: ApiWorld) -> None:
    answer = asked(api, ready)
    assert answer.status_code == 202, answer.text
    approval = answer.json()["approval"]
    same = {"owner": person(ready), "expires_at": document(ready, approval).what[0].params["expires_at"]}
    assert asked(api, ready, same, place=1).json() == answer.json(), "one request waits for the same thing"
    text = " ".join(document(ready, approval).what[0].sentence.split())
    assert "detector payout-burst" in text
    assert ENTITY in text
    with pytest.raises(ApprovalError, match="lacks"):
        release(ready, approval)
    assert api.get("/v1/suppressions")["items"] == []
    approve(ready, approval)
    assert "review.blind" in JOBS_OF["step_approved"]
    for others in (clearance.released, closure.released):
        others(ready.database(CONTAINMENT), ready.office.public_key_pem, ApprovalId(approval))
    release(ready, approval)
    release(ready, approval)
    (shown,) = api.get("/v1/suppressions", active=True)["items"]
    assert (shown["state"], shown["entity"], shown["owner"]) == ("active", ENTITY, person(ready))
    (told,) = requests(ready, "suppression")
    assert set(told) == set(Row.__struct_fields__)
    assert (told["id"], told["detector"], told["owner"]) == (shown["id"], "payout-burst", person(ready))
    assert row_of(ready, approval).state == "executed"
    late = asked(api, ready, {"expires_at": (ready.clock.now() + timedelta(days=1)).isoformat()})
    assert problem(late)["code"] == "conflict"
    path = f"/v1/suppressions/{shown['id']}/lift"
    assert problem(api.call("POST", path, Role.VIEWER))["code"] == "forbidden"
    lifted = api.call("POST", path, Role.RESPONDER, person=person(ready, 1)).json()
    again = api.call("POST", path, Role.ADMIN, person=person(ready, 2)).json()
    assert (lifted["state"], lifted["lifted_by"], again["lifted_by"]) == ("lifted", person(ready, 1), person(ready, 1))
    assert requests(ready, "suppression_lifted") == [{"id": shown["id"]}]
    assert api.get("/v1/suppressions", active=True)["items"] == []
    assert [len(rows(ready, timeline, kind=f"suppression.{what}")) for what in ("added", "lifted")] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"entity": "account:hot-1"}, "entity"),
        ({"entity": "account:main/*\n"}, "entity"),
        ({"entity": "person:main/x"}, "entity"),
        ({"entity": "destination:"}, "entity"),
        ({"entity": "network:10.0.0.0/8"}, "entity"),
        ({"entity": "network:AS64500"}, "entity"),
        ({"entity": "destination:" + "x" * 290}, "entity"),
        ({"entity": "account:main/a\u202eb"}, "entity"),
        ({"detector": "no such thing"}, "detector"),
        ({"reason": "two\u2028lines\x1b"}, "reason"),
        ({"reason": ""}, "reason"),
        ({"expires_at": "2026-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-01-01T00:00:00Z"}, "expires_at"),
        ({"forever": True}, "forever"),
    ],
)
def test_what_is_not_exact_and_bounded_is_refused(
    ready: House, api: ApiWorld, changes: dict[str, object], field: str
) -> None:
    told = problem(asked(api, ready, changes))
    assert (told["code"], told["field"]) == ("invalid_input", field)
    assert rows(ready, approvals) == []


def test_only_a_known_person_asks_and_answers_for_it(ready: House, api: ApiWorld) -> None:
    end = (ready.clock.now() + timedelta(days=1)).isoformat()
    body = {"entity": ENTITY, "expires_at": end, "reason": "r"}
    assert problem(api.call("POST", "/v1/suppressions", Role.ANALYST, json=body))["code"] == "forbidden"
    assert problem(asked(api, ready, {"owner": "per_nobody"}))["code"] == "not_found"
    assert problem(api.call("POST", "/v1/suppressions/sup_none/lift", Role.ANALYST))["code"] == "not_found"


def test_a_forged_or_widened_document_suppresses_nothing(ready: House, api: ApiWorld) -> None:
    approval = asked(api, ready).json()["approval"]
    superuser_do(ready, update(approvals).where(approvals.c.id == approval).values(state="approved"))
    with pytest.raises(ApprovalError, match="lacks"):
        release(ready, approval)
    end = ready.clock.now() + timedelta(days=365)
    fields = {"entity": ENTITY, "detector": None, "owner": person(ready), "reason": "Too long.", "expires_at": end}
    long = Suppression(id=new_id("sup"), **fields)  # type: ignore[arg-type]  # the values are of the fields' types
    for items in ((long.item(),), (long.item(), long.item())):
        made = ready.ask(*items)
        approve(ready, made.id)
        release(ready, made.id)
        assert row_of(ready, made.id).state == "void"
    assert rows(ready, suppressions) == []
    assert requests(ready, "suppression") == []


def test_a_suppression_that_ran_out_while_people_voted_is_void(ready: House, api: ApiWorld) -> None:
    approval = asked(api, ready, {"expires_at": (ready.clock.now() + timedelta(minutes=5)).isoformat()}).json()[
        "approval"
    ]
    approve(ready, approval)
    ready.clock.pass_by(timedelta(minutes=10))
    release(ready, approval)
    assert (row_of(ready, approval).state, rows(ready, suppressions)) == ("void", [])


def test_settings_are_shown_without_the_salt_and_say_which_way_they_loosen(api: ApiWorld) -> None:
    found = api.get("/v1/engine/settings")
    assert found["digest"] == STARTED.digest()
    assert {one["name"]: one["loosens"] for one in found["changeable"]} == {
        "hold_p": "lower",
        "hold_floor": "higher",
        "alert_p": "both",
        "alert_floor": "both",
        "alerts_per_day": "both",
        "alerts_per_day_by_severity": "both",
    }
    assert "salt" not in found["settings"]
    assert STARTED.salt not in json.dumps(found)


def test_what_tightens_is_set_at_once_and_counts_for_the_next_change(ready: House, api: ApiWorld) -> None:
    answer = proposed(api, ready, {"hold_p": 5e-5, "hold_floor": 6.0})
    assert (answer.status_code, answer.json()["applied"], answer.json()["approval"]) == (200, True, None)
    proposed(api, ready, {"hold_p": 6e-5})
    told = requests(ready, "settings")
    assert [(one["hold_p"], one["hold_floor"], one["salt"]) for one in told] == [
        (5e-5, 6.0, STARTED.salt),
        (6e-5, 6.0, STARTED.salt),
    ]
    assert api.get("/v1/engine/settings")["settings"]["hold_p"] == 6e-5
    assert rows(ready, approvals) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"hold_p": 1e-6},
        {"hold_floor": 9.0},
        {"alerts_per_day": 20.0},
        {"alerts_per_day_by_severity": {"high": 2.0}},
        {"alert_p": 2e-3},
        {"alert_p": 5e-4},
        {"hold_p": 5e-5, "alert_floor": 2.0},
    ],
)
def test_what_may_loosen_waits_for_a_quorum(ready: House, api: ApiWorld, changes: dict[str, object]) -> None:
    answer = proposed(api, ready, changes)
    assert (answer.status_code, answer.json()["applied"]) == (202, False), answer.text
    approval = answer.json()["approval"]
    made = document(ready, approval)
    assert STARTED.salt not in made.text
    assert all(name in made.what[0].sentence for name in changes)
    assert problem(proposed(api, ready, {"hold_p": 1e-7}))["code"] == "conflict", "one at a time"
    with pytest.raises(ApprovalError, match="lacks"):
        release(ready, approval)
    assert requests(ready, "settings") == []
    approve(ready, approval)
    release(ready, approval)
    release(ready, approval)
    (told,) = requests(ready, "settings")
    assert {name: told[name] for name in changes} == changes
    assert told["salt"] == STARTED.salt
    assert row_of(ready, approval).state == "executed"


def test_settings_that_changed_meanwhile_make_the_request_void(ready: House, api: ApiWorld) -> None:
    approval = proposed(api, ready, {"hold_p": 1e-6}).json()["approval"]
    proposed(api, ready, {"hold_floor": 7.0})
    approve(ready, approval)
    release(ready, approval)
    assert row_of(ready, approval).state == "void"
    assert [one["hold_p"] for one in requests(ready, "settings")] == [STARTED.hold_p]


def test_a_document_that_names_other_numbers_than_it_digests_sets_nothing(ready: House, api: ApiWorld) -> None:
    assert api.get("/v1/engine/settings")["digest"] == STARTED.digest()
    item = settings_item(STARTED, EngineSettings(hold_p=1e-6, salt=STARTED.salt))
    item.params["changes"] = {"hold_p": {"from": "1e-05", "to": "1e-09"}}
    made = ready.ask(item)
    approve(ready, made.id)
    release(ready, made.id)
    assert (row_of(ready, made.id).state, requests(ready, "settings")) == ("void", [])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"salt": "mine"},
        {"memory_days": 1.0},
        {"hold_p": 0.0},
        {"hold_p": 2.0},
        {"hold_p": "1e-6"},
        {"hold_p": None},
        {"hold_p": 1e-5},
        {"hold_p": 0.5},
        {"alerts_per_day": -1},
        {"alerts_per_day_by_severity": {"every": 1.0}},
        {"x" * 5000: 1},
    ],
)
def test_settings_out_of_their_bounds_are_refused(ready: House, api: ApiWorld, changes: dict[str, object]) -> None:
    told = problem(proposed(api, ready, changes))
    assert told["code"] == "invalid_input"
    assert str(told["field"]).startswith("changes")
    assert rows(ready, approvals) == []
    assert requests(ready, "settings") == []


def test_before_the_engines_first_start_there_is_nothing_to_change(ready: House, api: ApiWorld) -> None:
    superuser_do(ready, delete(learning).where(learning.c.kind == "settings"))
    assert problem(api.call("GET", "/v1/engine/settings", Role.VIEWER))["code"] == "conflict"
    assert problem(proposed(api, ready, {"hold_p": 1e-4}))["code"] == "conflict"


def test_what_was_approved_is_verified_again_by_who_applies_it(ready: House, api: ApiWorld) -> None:
    approval = asked(api, ready).json()["approval"]
    forged = Suppression(
        id=new_id("sup"),
        entity=ENTITY,
        detector=None,
        owner=person(ready),
        reason="Mine.",
        expires_at=ready.clock.now() + timedelta(days=1),
    )

    def requested(row: bytes) -> None:
        with ready.database(CONTAINMENT).begin() as uow:
            uow.incidents.ask_learning("suppression", "s", warranted(row, approval))

    honest = suppression_of(document(ready, approval).what[0]).row()
    requested(honest)
    with pytest.raises(LearningRecordError, match="no votes"):
        applied(ready, "suppression")
    approve(ready, approval)
    assert applied(ready, "suppression") == honest
    requested(forged.row())
    with pytest.raises(LearningRecordError, match="no votes"):
        applied(ready, "suppression")
    requested(honest)
    ready.clock.pass_by(timedelta(days=3))
    with pytest.raises(LearningRecordError, match="no votes"):
        applied(ready, "suppression")


def test_settings_that_a_row_alone_asks_for_only_tighten(ready: House, api: ApiWorld) -> None:
    proposed(api, ready, {"hold_p": 5e-5})
    assert json.loads(applied(ready, "settings"))["hold_p"] == 5e-5
    for told in ({"hold_p": 1e-9}, {"hold_p": 5e-5, "salt": ""}, {"hold_p": 5e-5, "memory_days": 0.02}, {"clip": 30.0}):
        new = EngineSettings(**{"salt": STARTED.salt, **told})  # type: ignore[arg-type]  # the values are of the fields' types
        with ready.database("portcullis_api").begin() as uow:
            uow.incidents.ask_learning("settings", "settings", warranted(new.encode()))
        with pytest.raises(LearningRecordError):
            applied(ready, "settings")


@pytest.mark.parametrize("kind", ["suppression", "verdict", "clearance", "incident_closed", "rules"])
def test_the_apis_role_asks_for_nothing_that_people_or_workers_decide(ready: House, kind: str) -> None:
    with (
        psycopg.connect(url_of_role(ready.superuser_url, "portcullis_api")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        connection.execute(
            "INSERT INTO learning_requests (kind, subject, payload, created_at) VALUES (%s, '', '{}', now())", [kind]
        )


def test_nobodys_request_is_answered_with_another_ones_approval(ready: House, api: ApiWorld) -> None:
    """A waiting request for the same entity and detector that asks otherwise is a conflict, not the answer."""
    end = (ready.clock.now() + timedelta(days=3)).isoformat()
    first = asked(api, ready, {"expires_at": end}).json()["approval"]
    longer = (ready.clock.now() + timedelta(days=80)).isoformat()
    for changes in (
        {"expires_at": longer},
        {"expires_at": end, "reason": "Another."},
        {"expires_at": end, "owner": person(ready, 1)},
    ):
        told = problem(asked(api, ready, changes))
        assert (told["code"], told["field"]) == ("conflict", "entity")
        assert first in told["detail"]
    other = asked(api, ready, {"expires_at": end, "detector": None})
    assert other.status_code == 202, other.text
    assert other.json()["approval"] != first, "what the score finds is another matter"
    assert len(rows(ready, approvals)) == 2


def test_one_person_does_not_bury_those_who_decide(
    ready: House, api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MOST_OPEN", 2)
    for number in range(2):
        assert asked(api, ready, {"entity": f"account:main/{number}"}).status_code == 202
    assert problem(asked(api, ready, {"entity": "account:main/2"}))["code"] == "conflict"
    assert asked(api, ready, {"entity": "account:main/2"}, place=1).status_code == 202, "others may"
