"""Closing: by the API's own role, with a quorum where it would blind the engine, and the review that follows."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, update

from service.domain.approval import ActionDocument, Draft
from service.domain.errors import ApprovalError, ConflictError, InputError
from service.domain.forensics.drawing import drawn
from service.domain.ids import IncidentId, new_id
from service.domain.incident import CaseVerdict
from service.flow import closure, escalate, review
from service.flow.routes import JOBS_OF
from service.ports.store.forensics import Found
from service.store.tables.activity import activities, learning_requests, transactions
from service.store.tables.approval import approvals
from service.store.tables.attention import reviews
from service.store.tables.incident import alerts, incidents
from service.store.tables.keys import safe_destinations
from tests.support.authority import House
from tests.support.incidents import CONNECTION, add_account, add_alert
from tests.support.response import CONTAINMENT, equip, rows, said, superuser_do, waiting_timers


@pytest.fixture
def incident(ready: House) -> IncidentId:
    return equip(ready)


def close(
    house: House, incident: IncidentId, verdict: CaseVerdict = CaseVerdict.TRUE_POSITIVE, **of: CaseVerdict
) -> None:
    with house.database("portcullis_api").begin() as uow:
        closure.close(uow, uow.incidents.lock_incident(incident), closure.Closing(verdict, of, "per_ada"))


def asked_to_close(house: House, incident: IncidentId) -> ActionDocument:
    """The request to close it as false, as it stands."""
    with house.database(CONTAINMENT).begin() as uow:
        asked = closure.asked_of(uow, uow.incidents.lock_incident(incident))
        return uow.approvals.propose(Draft(what=[asked], why="A drill.", requester="portcullis", incident=incident))


def vote(house: House, document: ActionDocument) -> None:
    for person in list(house.phones)[:2]:
        house.vote(document, person)


def movement(house: House, incident: IncidentId, usd: int, **columns: Any) -> None:
    """A transaction that left hot-1 while it was attacked."""
    now, ref, activity = house.clock.now(), new_id("txn"), new_id("act")
    shared = {"connection_id": CONNECTION, "account": "hot-1", "amount_usd": Decimal(usd), "destination": "0xthief"}
    shared |= {name: columns.pop(name) for name in tuple(columns) if name in shared}
    row = {**shared, "id": activity, "event_id": ref, "body_digest": b"", "kind": "withdrawal", "status": "scored",
           "occurred_at": now, "received_at": now, "transaction": ref, "decision": "hold", "raw": b""}  # fmt: skip
    row |= {name: columns.pop(name) for name in ("decision", "received_at") if name in columns}
    state = {"activity_id": activity, "ref": ref, "state": "confirmed", "decision": row["decision"], "updated_at": now}
    superuser_do(house, insert(activities).values(row))
    superuser_do(house, insert(transactions).values({**shared, **state, **columns}))


def test_the_api_s_role_can_close_and_the_jobs_do_the_rest(ready: House, incident: IncidentId) -> None:
    db = ready.database(CONTAINMENT)
    escalate.start(db, incident)
    close(ready, incident)
    with pytest.raises(ConflictError):
        close(ready, incident)
    assert JOBS_OF["incident_closed"] == ("review.write", "escalate.acknowledged", "approve.closed")
    review.write(db, incident)
    review.write(db, incident)
    escalate.acknowledged(db, incident)
    assert waiting_timers(ready) == {}
    (written,) = rows(ready, reviews)
    body = json.loads(written.body)
    assert body["incident"]["verdict"] == "true_positive"
    assert [line["kind"] for line in body["timeline"]][-1] == "incident.closed"
    assert "escalation.paged" in [line["kind"] for line in body["timeline"]]
    assert written.html.startswith("<!doctype html>")
    assert [r.kind for r in rows(ready, learning_requests)] == ["verdict", "incident_closed"]


def test_an_event_alone_closes_acknowledges_and_teaches_nothing(ready: House, incident: IncidentId) -> None:
    """The API's role may write events: what they say is held against the incident's row."""
    db = ready.database(CONTAINMENT)
    escalate.start(db, incident)
    waiting = waiting_timers(ready)
    escalate.acknowledged(db, incident)
    review.write(db, incident)
    assert waiting_timers(ready) == waiting != {}
    assert rows(ready, reviews) == rows(ready, learning_requests) == []


def test_a_false_alert_of_a_critical_incident_teaches_only_where_the_whole_was_false(
    ready: House, incident: IncidentId
) -> None:
    """It may have been called so before it was joined, by a row."""
    superuser_do(ready, update(alerts).values(verdict="false_positive"))
    superuser_do(ready, update(incidents).values(state="closed", verdict="inconclusive", severity=4))
    review.write(ready.database(CONTAINMENT), incident)
    assert [r.kind for r in rows(ready, learning_requests)] == ["incident_closed"]


def test_each_alert_takes_its_own_verdict_or_the_incident_s(ready: House, incident: IncidentId) -> None:
    with pytest.raises(InputError, match="no alert of this incident"):
        close(ready, incident, alr_other=CaseVerdict.FALSE_POSITIVE)
    (alert,) = rows(ready, alerts)
    for by in ({"verdict": CaseVerdict.FALSE_POSITIVE}, {alert.id: CaseVerdict.FALSE_POSITIVE}):
        with pytest.raises(InputError):
            close(ready, incident, **by)
    close(ready, incident, **{alert.id: CaseVerdict.INCONCLUSIVE})
    assert rows(ready, alerts)[0].verdict == "inconclusive"


def test_closing_as_false_takes_votes_not_a_row(ready: House, incident: IncidentId) -> None:
    db, pem = ready.database(CONTAINMENT), ready.office.public_key_pem
    document = asked_to_close(ready, incident)
    with pytest.raises(ApprovalError, match="lacks"):
        closure.released(db, pem, document.id)
    assert rows(ready, incidents)[0].state == "open"
    vote(ready, document)
    closure.released(db, pem, document.id)
    closure.released(db, pem, document.id)
    (row,) = rows(ready, incidents)
    assert (row.state, row.verdict) == ("closed", "false_positive")


def test_a_quorum_that_comes_after_the_closing_is_void(ready: House, incident: IncidentId) -> None:
    document = asked_to_close(ready, incident)
    vote(ready, document)
    close(ready, incident)
    closure.released(ready.database(CONTAINMENT), ready.office.public_key_pem, document.id)
    assert rows(ready, approvals)[0].state == "void"
    assert rows(ready, incidents)[0].verdict == "true_positive"


def test_votes_to_close_as_false_count_for_the_alerts_that_people_knew(ready: House, incident: IncidentId) -> None:
    db, pem = ready.database(CONTAINMENT), ready.office.public_key_pem
    document = asked_to_close(ready, incident)
    with ready.databases["superuser"].begin() as uow:
        add_alert(uow.connection, incident, (f"account:{CONNECTION}/hot-2",))
    vote(ready, document)
    closure.released(db, pem, document.id)
    (row,) = rows(ready, approvals)
    assert (row.state, rows(ready, incidents)[0].state) == ("void", "open")
    assert {alert.verdict for alert in rows(ready, alerts)} == {None}
    assert said(ready, incident)[-1] == "incident.not_closed"
    ready.clock.pass_by(timedelta(minutes=2))
    again = asked_to_close(ready, incident)
    vote(ready, again)
    closure.released(db, pem, again.id)
    assert {alert.verdict for alert in rows(ready, alerts)} == {"false_positive"}


def test_of_what_left_dust_pushes_out_no_large_payment(
    ready: House, incident: IncidentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.incidents._MOST_LEFT", 1)
    with ready.databases["superuser"].begin() as uow:
        add_account(uow.connection, "hot-1")
    superuser_do(ready, update(incidents).values(first_harm_at=ready.clock.now() - timedelta(seconds=5)))
    for usd in (1, 1_000, 2):
        movement(ready, incident, usd)
    superuser_do(
        ready, update(transactions).values(asset="eip155:1/erc20:0xa", amount_base_units=transactions.c.amount_usd)
    )
    with ready.database(CONTAINMENT).begin() as uow:
        (left,) = uow.incidents.left(incident, {"eip155:1/erc20:0xa", "eip155:1/erc20:0xb"})
        assert uow.incidents.left(incident, {"eip155:1/erc20:0xb"}) == []
    assert (left.payment.amount_base_units, left.in_all) == (1_000, 3)


def test_what_was_lost_is_what_left_and_was_anomalous(ready: House, incident: IncidentId) -> None:
    with ready.databases["superuser"].begin() as uow:
        account = add_account(uow.connection, "hot-1")
    now = ready.clock.now()
    superuser_do(
        ready,
        insert(safe_destinations).values(
            account_id=account, chain="eip155:1", active_from=now, descriptor="0xSafe", statement="{}",
            statement_signature=b"", signature=b"the vault's", created_at=now,
        ),
    )  # fmt: skip
    superuser_do(
        ready,
        insert(safe_destinations).values(
            account_id=account, chain="eip155:5", active_from=now, descriptor="0xForged", statement="{}",
            statement_signature=b"", created_at=now,
        ),
    )  # fmt: skip
    superuser_do(ready, update(incidents).values(first_harm_at=now - timedelta(seconds=5)))
    movement(ready, incident, 1_000)
    movement(ready, incident, 200, state="broadcast")
    movement(ready, incident, 30, destination="eip155:5:0xforged")
    movement(ready, incident, 40_000, state="cancelled")
    movement(ready, incident, 40_000, state="failed")
    movement(ready, incident, 40_000, decision="allow")
    movement(ready, incident, 40_000, account="hot-2")
    movement(ready, incident, 40_000, received_at=now - timedelta(hours=1))
    movement(ready, incident, 40_000, destination="eip155:1:0xsafe")
    with ready.database(CONTAINMENT).begin() as uow:
        assert uow.incidents.moved_usd(incident) == 1_230
    close(ready, incident)
    review.write(ready.database(CONTAINMENT), incident)
    assert json.loads(rows(ready, reviews)[0].body)["value_usd"]["lost"] == "1230.00"


def test_the_review_shows_where_the_money_went_and_no_address_of_a_person(ready: House, incident: IncidentId) -> None:
    taint = {"poison": "50", "haircut": "18", "fifo": "40"}
    named = {"address": "0xmix", "hop": 2, "label": {"name": "Blender <b>", "kind": "mixer"}, "stopped": "labelled",
             "opening_unknown": False, "received": {"eip155:1/slip44:60": taint}, "resting": {}}  # fmt: skip
    moved = {"transaction": "0x1", "block": 1, "at": None, "asset": "eip155:1/slip44:60", "theft": True,
             "sources": ["0xvictim"], "targets": [{"address": "0xmix", "amount": "50", "stolen": taint}]}  # fmt: skip
    chain = {"chain": "eip155:1", "complete": False, "cut": ["only 5 blocks are read"], "victims": ["0xvictim"],
             "movements": [moved], "more_movements": 3, "addresses": [named], "fees": {}}  # fmt: skip
    line = {"at": "2026-11-22T10:00:00+00:00", "kind": "access.login_succeeded", "account": None, "actor": "eve",
            "ip": "203.0.113.9", "country": "XX", "device": "con-a/d1", "session": "con-a/s1", "decision": "allow",
            "activity": "act_1", "shares": ["session"]}  # fmt: skip
    report = {"v": 1, "chains": [chain], "access": [line], "lists": [], "notes": ["one chain has no endpoint"]}
    db = ready.database(CONTAINMENT)
    with db.begin() as uow:
        uow.forensics.begin_trace(incident, timedelta(0))
        uow.forensics.save_trace(incident, Found({}, json.dumps(report), drawn(report)))
    close(ready, incident)
    review.write(db, incident)
    (row,) = rows(ready, reviews)
    told = json.loads(row.body)["evidence"]
    assert told["chains"][0]["movements"] == 4
    assert told["chains"][0]["services"][0]["name"] == "Blender <b>"
    assert told["access"] == [{"at": line["at"], "kind": line["kind"], "actor": "eve", "country": "XX",
                               "session": "con-a/s1", "shares": ["session"]}]  # fmt: skip
    assert "Where the money went" in row.html
    assert "Blender &lt;b&gt;" in row.html
    assert "only 5 blocks are read" in row.html
    assert "203.0.113.9" not in row.html + row.body
