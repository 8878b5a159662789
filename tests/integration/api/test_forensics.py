"""Evidence, lists and prepared sweeps over the API: who may, what is shown, what is refused."""

import base64
import json
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import text

from service.domain.bitcoin.wallet import CoinKept, PreparedSweep
from service.domain.forensics.drawing import drawn
from service.domain.ids import AccountId, IncidentId
from service.domain.quorum import Role
from service.ports.store.forensics import Found
from service.store import forensics
from tests.support.api import ApiWorld, problem
from tests.support.incidents import add_account, add_incident

ADDRESS = "0x5a0b54d5dc17e0aadc383d2db43b0a0d3e029c4c"
LIST = {
    "source": "A sanctions list",
    "listed_on": "2026-11-01",
    "name": "Listed",
    "kind": "sanctioned",
    "text": f"{ADDRESS}\n",
}
REPORT: dict[str, Any] = {"v": 1, "chains": [], "access": [], "lists": [], "notes": []}


def incident(world: ApiWorld) -> str:
    with world.database.begin() as uow:
        return add_incident(uow.connection, ("account:con-a/hot-1",))


def test_evidence_is_shown_when_it_is_there_and_asked_for_anew(world: ApiWorld) -> None:
    known = incident(world)
    path = f"/v1/incidents/{known}/evidence"
    assert problem(world.call("GET", path, Role.ANALYST))["detail"].startswith("there is no evidence of")
    with world.database.begin() as uow:
        uow.forensics.begin_trace(IncidentId(known), timedelta(0))
    gathering = world.get(path, Role.ANALYST)
    assert (gathering["state"], gathering["report"], gathering["picture"]) == ("gathering", None, None)
    assert "still being gathered" in problem(world.call("GET", f"{path}.svg", Role.ANALYST))["detail"]
    with world.database.begin() as uow:
        uow.forensics.save_trace(IncidentId(known), Found({}, json.dumps(REPORT), drawn(REPORT)))
    assert world.get(path, Role.ANALYST)["report"] == REPORT
    picture = world.call("GET", world.get(path, Role.ANALYST)["picture"], Role.ANALYST)
    assert picture.headers["content-type"] == "image/svg+xml"
    ET.fromstring(picture.text)  # noqa: S314  our own
    assert world.call("POST", path, Role.RESPONDER).status_code == 202
    assert world.call("POST", path, Role.RESPONDER, json={"past_labels": True}).status_code == 202
    with world.database.begin() as uow:
        asked = text("SELECT payload FROM outbox WHERE event = 'evidence_requested'")
        assert list(uow.connection.execute(asked).scalars()) == [
            {"incident_id": known, "past_labels": False},
            {"incident_id": known, "past_labels": True},
        ]


def test_an_administrator_imports_a_list_once_and_it_stands_in_the_audit_log(world: ApiWorld) -> None:
    answer = world.call("POST", "/v1/address-lists", Role.ADMIN, json=LIST)
    assert answer.status_code == 201, answer.text
    assert problem(world.call("POST", "/v1/address-lists", Role.ADMIN, json=LIST))["code"] == "conflict"
    shown = {"source": "A sanctions list", "listed_on": "2026-11-01", "entries": 1, "in_force": True}
    assert answer.json() == shown | {name: answer.json()[name] for name in ("id", "imported_by")}
    assert world.get("/v1/address-lists")["items"] == [answer.json()]
    with world.database.begin() as uow:
        (label,) = uow.forensics.labels([ADDRESS])
        assert label.origin is not None
        told = (label.name, label.origin.source, label.origin.listed_on, label.origin.imported_by)
        assert told == ("Listed", "A sanctions list", "2026-11-01", answer.json()["imported_by"])
        (entry,) = uow.connection.execute(
            text("SELECT body FROM audit_entries WHERE body LIKE '%addresses.listed%'")
        ).all()
    assert "A sanctions list" in entry.body


def test_a_list_with_a_mistake_changes_nothing_and_names_the_line(world: ApiWorld) -> None:
    before = world.get("/v1/address-lists")
    bad = LIST | {"text": f"{ADDRESS}\n{ADDRESS[:-1]}\n"}
    told = problem(world.call("POST", "/v1/address-lists", Role.ADMIN, json=bad))
    assert told["detail"].startswith("line 2: ")
    assert world.get("/v1/address-lists") == before


def test_more_lists_than_intake_keeps_at_hand_are_refused(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, named = (LIST | {"text": f"0x{n * 20}\n", "kind": kind} for n, kind in (("61", "scam"), ("62", "service")))
    with monkeypatch.context() as patched:
        patched.setattr(forensics, "MAX_WATCHED", 0)
        told = problem(world.call("POST", "/v1/address-lists", Role.ADMIN, json=watched))
        assert "withdraw an old list" in told["detail"]
        assert world.call("POST", "/v1/address-lists", Role.ADMIN, json=named).status_code == 201, "nobody looks for it"
        patched.setattr(forensics, "MAX_LISTS", 1)
        told = problem(world.call("POST", "/v1/address-lists", Role.ADMIN, json=watched | {"kind": "own"}))
        assert "withdraw one that is old" in told["detail"]
    assert problem(world.call("POST", "/v1/address-lists/lst_none/remove", Role.ADMIN, json={"why": "x"}))["code"] in {
        "not_found", "forbidden",
    }  # fmt: skip
    assert problem(world.call("POST", "/v1/address-lists/lst_none/remove", Role.RESPONDER, json={"why": "x"}))[
        "code"
    ] == ("forbidden")


def test_the_sweep_that_is_kept_ready_is_shown_to_responders(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        account = AccountId(add_account(uow.connection, "kept-ready"))
        uow.bitcoin.keep(
            PreparedSweep(
                account_id=account, wallet=1, to="bcrt1safe", rate=5_000, tip=7,
                coins=(CoinKept(txid="00" * 32, vout=0, amount=3 * 10**8, branch=0, index=0),),
                made_by={}, psbts=(b"psbt\xff",), made_at=uow.now,
            )
        )  # fmt: skip
    path = f"/v1/accounts/{account}/sweep"
    found = world.call("GET", path, Role.RESPONDER).json()
    assert (found["satoshis"], found["coins"], found["to"]) == ("300000000", 1, "bcrt1safe")
    assert base64.b64decode(found["psbts"][0]) == b"psbt\xff"
    assert problem(world.call("GET", path, Role.VIEWER))["code"] == "forbidden"
    assert problem(world.call("GET", "/v1/accounts/acc_none/sweep", Role.RESPONDER))["code"] == "not_found"
