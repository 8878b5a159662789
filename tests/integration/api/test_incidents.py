"""Incidents and alerts over the API: reading, judging, taking, closing; and what one person alone may not say."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from service.domain.ids import ApprovalId, IncidentId
from service.domain.incident import Severity
from service.domain.quorum import Role
from service.flow.closure import released
from tests.integration.api.rows import add_message, add_review, add_step
from tests.support.api import ApiWorld, problem
from tests.support.authority import House
from tests.support.incidents import add_alert, add_incident

HOT = ("account:con-a/hot-1",)


def incident(world: ApiWorld, **changes: Any) -> str:
    with world.database.begin() as uow:
        return add_incident(uow.connection, HOT, **changes)


def rows(world: ApiWorld, query: str, **given: object) -> list[Any]:
    with world.database.begin() as uow:
        return list(uow.connection.execute(text(query), given))


def close(world: ApiWorld, known: str, body: Mapping[str, object], asker: str | None = None) -> Any:
    """Close it as it stands."""
    told = {"version": world.get(f"/v1/incidents/{known}")["version"], **body}
    return world.call("POST", f"/v1/incidents/{known}/close", Role.RESPONDER, person=asker, json=told)


def events(world: ApiWorld, incident_id: str) -> list[str]:
    query = "SELECT event FROM outbox WHERE payload->>'incident_id' = :i ORDER BY id"
    return [row.event for row in rows(world, query, i=incident_id)]


def person(house: House, number: int = 0) -> str:
    return sorted(house.phones)[number]


def test_one_incident_is_shown_whole_and_shows_no_message_text_and_no_key(world: ApiWorld) -> None:
    known = incident(world)
    with world.database.begin() as uow:
        step = add_step(uow.connection, known)
        add_message(uow.connection, known)
    found = world.get(f"/v1/incidents/{known}")
    assert (found["severity"], found["state"], found["value_at_risk_usd"]) == ("critical", "open", "1000000.00")
    assert [s["id"] for s in found["steps"]] == [step]
    assert found["messages"] == [
        {
            "id": found["messages"][0]["id"],
            "audience": "users",
            "channel": "mail",
            "subject": "About your account",
            "state": "held",
        }
    ]
    assert found["more"] == []
    whole = str(found)
    for hidden in ("somebody@example.org", "The body of the message", f"key-of-{step}"):
        assert hidden not in whole


def test_what_is_not_there_is_a_problem(world: ApiWorld) -> None:
    for path in (
        "/v1/incidents/inc_none",
        "/v1/alerts/alr_none",
        "/v1/reviews/inc_none",
        "/v1/incidents/inc_none/timeline",
    ):
        assert problem(world.call("GET", path, Role.VIEWER))["code"] == "not_found"


def test_the_first_acknowledgement_counts(world: ApiWorld, house: House) -> None:
    known = incident(world)
    world.call("POST", f"/v1/incidents/{known}/acknowledge", Role.RESPONDER, person=person(house, 0))
    found = world.call("POST", f"/v1/incidents/{known}/acknowledge", Role.ADMIN, person=person(house, 1)).json()
    assert found["acknowledged_by"] == person(house, 0)
    assert events(world, known) == ["incident_acknowledged"]
    assert [line["kind"] for line in found["timeline"]] == ["incident.acknowledged"]


def test_an_incident_is_assigned_to_somebody_who_is_there(world: ApiWorld, house: House) -> None:
    known = incident(world)
    path = f"/v1/incidents/{known}/assign"
    found = world.call("POST", path, Role.RESPONDER, json={"person": person(house)}).json()
    assert found["assignee"] == person(house)
    again = world.call("POST", path, Role.RESPONDER, json={"person": person(house)}).json()
    assert len(again["timeline"]) == 1
    assert problem(world.call("POST", path, Role.RESPONDER, json={"person": "per_none"}))["code"] == "not_found"
    assert world.get("/v1/incidents", assignee=person(house))["items"][0]["id"] == known


def test_comments_are_kept_and_hold_no_control_characters(world: ApiWorld) -> None:
    known = incident(world)
    path = f"/v1/incidents/{known}/comments"
    answer = world.call("POST", path, Role.ANALYST, json={"text": "Called them.\r\nNot theirs: 損失 👩‍🚒"})
    assert answer.status_code == 201
    assert answer.json()["timeline"][0]["sentence"] == "Called them.\nNot theirs: 損失 👩‍🚒"
    for wrong in ("\x1b[2Jgone", "a\x00b", "evil \u202e txt", " \n", "", "x" * 4001):
        told = problem(world.call("POST", path, Role.ANALYST, json={"text": wrong}))
        assert (told["code"], told["field"]) == ("invalid_input", "text")
    told = problem(world.call("POST", path, Role.ANALYST, json={"text": "a", "by": "somebody else"}))
    assert told["field"] == "by"


def test_closing_judges_the_alerts_and_hands_over_to_the_review(world: ApiWorld) -> None:
    known = incident(world, severity=3)
    with world.database.begin() as uow:
        other = add_alert(uow.connection, known, HOT)
    body = {"verdict": "true_positive", "alerts": {other: "false_positive"}, "version": 1}
    found = close(world, known, body).json()
    assert (found["state"], found["verdict"]) == ("closed", "true_positive")
    assert {a["verdict"] for a in found["alerts"] if a["id"] == other} == {"false_positive"}
    assert {a["verdict"] for a in found["alerts"] if a["id"] != other} == {"true_positive"}
    assert events(world, known) == ["incident_closed"]
    for path, sent in (("close", body), ("acknowledge", None), ("assign", {"person": "per_x"})):
        again = world.call("POST", f"/v1/incidents/{known}/{path}", Role.RESPONDER, json=sent)
        assert problem(again)["code"] == "conflict"
    late = world.call("POST", f"/v1/alerts/{other}/verdict", Role.ANALYST, json={"verdict": "true_positive"})
    assert problem(late)["code"] == "conflict"


def test_an_alert_of_another_incident_cannot_be_judged_by_closing(world: ApiWorld) -> None:
    known = incident(world, severity=3)
    body = {"verdict": "true_positive", "alerts": {"alr_other": "true_positive"}}
    assert problem(close(world, known, body))["field"] == "alerts"
    assert world.get(f"/v1/incidents/{known}")["state"] == "open"


@pytest.mark.parametrize("verdict", ["true_positive", "inconclusive"])
def test_alerts_of_a_critical_incident_are_not_called_false_by_one_person(world: ApiWorld, verdict: str) -> None:
    known = incident(world)
    alert = world.get("/v1/alerts", incident=known)["items"][0]["id"]
    body = {"verdict": verdict, "alerts": {alert: "false_positive"}}
    assert problem(close(world, known, body))["field"] == "alerts"
    judged = world.call("POST", f"/v1/alerts/{alert}/verdict", Role.ADMIN, json={"verdict": "false_positive"})
    assert problem(judged)["code"] == "conflict"
    assert world.get(f"/v1/alerts/{alert}")["verdict"] is None


def test_an_early_false_verdict_does_not_pass_when_the_incident_became_critical(world: ApiWorld) -> None:
    known = incident(world, severity=2)
    alert = world.get("/v1/alerts", incident=known)["items"][0]["id"]
    world.call("POST", f"/v1/alerts/{alert}/verdict", Role.ANALYST, json={"verdict": "false_positive"})
    with world.database.begin() as uow:
        uow.connection.execute(text("UPDATE incidents SET severity = 4 WHERE id = :i"), {"i": known})
    assert problem(close(world, known, {"verdict": "true_positive"}))["code"] == "invalid_input"
    body = {"verdict": "true_positive", "alerts": {alert: "inconclusive"}}
    assert close(world, known, body).status_code == 200


def test_closing_a_critical_incident_as_false_takes_a_quorum(world: ApiWorld, house: House) -> None:
    known = incident(world)
    body, asker = {"verdict": "false_positive", "why": "It was our own migration."}, person(house, 0)
    assert problem(close(world, known, body))["code"] == "forbidden"
    answer = close(world, known, body, asker)
    assert answer.status_code == 202, answer.text
    approval = answer.json()["approval"]
    again = close(world, known, body, person(house, 1))
    assert again.json() == answer.json()
    assert world.get(f"/v1/incidents/{known}")["state"] == "open"
    assert [a["id"] for a in world.get(f"/v1/incidents/{known}")["approvals"]] == [approval]
    with world.database.begin() as uow:
        document = uow.approvals.document(ApprovalId(approval))
    assert (document.requester, document.why) == (asker, "It was our own migration.")
    for voter in sorted(house.phones)[1:]:
        if house.vote(document, voter).state.value != "waiting":
            break
    released(house.database("portcullis_containment"), house.office.public_key_pem, ApprovalId(approval))
    found = world.get(f"/v1/incidents/{known}")
    assert (found["state"], found["verdict"]) == ("closed", "false_positive")
    assert {a["verdict"] for a in found["alerts"]} == {"false_positive"}


def test_who_closes_has_seen_what_joined(world: ApiWorld, house: House) -> None:
    known = incident(world)
    seen = world.get(f"/v1/incidents/{known}")["version"]
    body = {"verdict": "false_positive", "why": "A test."}
    first = close(world, known, body, person(house)).json()
    with world.database.begin() as uow:
        add_alert(uow.connection, known, HOT)
        uow.incidents.widen(IncidentId(known), ("account:con-a/hot-2",), Severity.LOW, Decimal(0), uow.now)
    for verdict in ("true_positive", "false_positive"):
        late = problem(close(world, known, {"verdict": verdict, "version": seen}, person(house)))
        assert (late["code"], late["field"]) == ("conflict", "version")
    assert problem(close(world, known, {"verdict": "true_positive", "version": None}))["field"] == "version"
    assert close(world, known, body, person(house)).json()["approval"] != first["approval"]


def test_an_action_is_asked_for_by_a_person(world: ApiWorld, house: House) -> None:
    known = incident(world)
    path = f"/v1/incidents/{known}/actions"
    assert problem(world.call("POST", path, Role.RESPONDER, json={"action": "recover"}))["code"] == "forbidden"
    answer = world.call("POST", path, Role.RESPONDER, person=person(house), json={"action": "recover"})
    assert (answer.status_code, answer.json()) == (202, {"incident": known, "action": "recover"})
    asked = rows(world, "SELECT payload FROM outbox WHERE event = 'action_requested'")[-1].payload
    assert asked.pop("request").startswith("req_"), "each request has a name of its own"
    assert asked == {"incident_id": known, "action": "recover", "requester": person(house)}
    wrong = world.call("POST", path, Role.RESPONDER, person=person(house), json={"action": "rm -rf"})
    assert problem(wrong)["field"] == "action"


def test_the_numbers_of_an_action_are_checked_before_they_are_passed_on(world: ApiWorld, house: House) -> None:
    path = f"/v1/incidents/{incident(world)}/actions"

    def asked(action: str, **numbers: int) -> Any:
        told = {"action": action, "numbers": numbers}
        return world.call("POST", path, Role.RESPONDER, person=person(house), json=told)

    assert asked("raise_threshold", before=2, signatures=3, owners=5).status_code == 202
    payload = rows(world, "SELECT payload FROM outbox WHERE event = 'action_requested'")[-1].payload
    assert payload["numbers"] == "before=2 owners=5 signatures=3"
    assert problem(asked("raise_threshold", before=3, signatures=3, owners=5))["field"] == "signatures"
    for refused in (asked("raise_threshold", before=2, signatures=3, owners=5, more=1), asked("recover", owners=1)):
        assert problem(refused)["field"] == "numbers"
    assert asked("raise_threshold", owners=10**6).status_code == 422


def test_only_what_tightened_is_confirmed_and_once(world: ApiWorld, house: House) -> None:
    known, other = incident(world), incident(world)
    with world.database.begin() as uow:
        step = add_step(uow.connection, known)
        loosening = add_step(uow.connection, known, effect="loosens", action="resume_withdrawals")
    path = f"/v1/incidents/{known}/steps/{step}/confirm"
    world.call("POST", path, Role.RESPONDER, person=person(house, 0))
    found = world.call("POST", path, Role.RESPONDER, person=person(house, 1)).json()
    assert found["steps"][0]["confirmed_by"] == person(house, 0)
    assert [line["kind"] for line in found["timeline"]] == ["step.confirmed"]
    elsewhere = world.call("POST", f"/v1/incidents/{other}/steps/{step}/confirm", Role.RESPONDER)
    assert problem(elsewhere)["code"] == "not_found"
    loosens = world.call("POST", f"/v1/incidents/{known}/steps/{loosening}/confirm", Role.RESPONDER)
    assert problem(loosens)["code"] == "conflict"


def test_a_review_is_shown_as_json_and_as_a_page_that_runs_nothing(world: ApiWorld) -> None:
    known = incident(world)
    with world.database.begin() as uow:
        add_review(uow.connection, known)
    assert world.get(f"/v1/reviews/{known}") == {"v": 1}
    page = world.call("GET", f"/v1/reviews/{known}/page", Role.VIEWER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_page_of_a_review_names_people_as_they_are_called_now(world: ApiWorld, house: House) -> None:
    known = incident(world)
    first, second, third = (person(house, number) for number in range(3))
    called = "UPDATE people SET name = :name WHERE id = :id RETURNING 1"
    for who, name in [(first, "<b>Ada & Co</b>"), (second, "Grace"), (third, "Grace")]:
        rows(world, called, id=who, name=name)
    nobody = f"per_{'0' * 26}"
    with world.database.begin() as uow:
        add_review(uow.connection, known, f"<p>{first} {first}_x {second} {nobody}</p>")
    page = world.call("GET", f"/v1/reviews/{known}/page", Role.VIEWER).text
    told = "&lt;b&gt;Ada &amp; Co&lt;/b&gt;"
    assert page == f"<p>{told} {first}_x {second} {nobody}</p>", "who has a namesake anywhere keeps his id"
    rows(world, called, id=third, name="Linus")
    page = world.call("GET", f"/v1/reviews/{known}/page", Role.VIEWER).text
    assert page == f"<p>{told} {first}_x Grace {nobody}</p>"


def test_the_timeline_is_paged_newest_first(world: ApiWorld) -> None:
    known = incident(world)
    for number in range(5):
        world.call("POST", f"/v1/incidents/{known}/comments", Role.ANALYST, json={"text": f"line {number}"})
    first = world.get(f"/v1/incidents/{known}/timeline", limit=3)
    rest = world.get(f"/v1/incidents/{known}/timeline", limit=3, cursor=first["next"])
    lines = [line["sentence"] for line in first["items"] + rest["items"]]
    assert lines == [f"line {n}" for n in (4, 3, 2, 1, 0)]
    assert rest["next"] is None
    wrong = world.call("GET", f"/v1/incidents/{known}/timeline", Role.VIEWER, params={"cursor": "YWJj"})
    assert problem(wrong)["field"] == "cursor"


def test_every_change_is_in_the_audit_log_with_who_did_it(world: ApiWorld, house: House) -> None:
    known = incident(world, severity=3)
    world.call("POST", f"/v1/incidents/{known}/acknowledge", Role.RESPONDER, person=person(house))
    close(world, known, {"verdict": "true_positive"})
    query = (
        "SELECT body::json->>'kind' AS kind, body::json->>'by' AS by FROM audit_entries WHERE body LIKE :i ORDER BY id"
    )
    entries = [(row.kind, row.by) for row in rows(world, query, i=f"%{known}%")]
    assert entries[0] == ("incident.acknowledged", person(house))
    assert entries[1][0] == "incident.closed"
    assert entries[1][1].startswith("token:tok_")
