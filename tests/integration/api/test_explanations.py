"""Why an activity was judged so, over the API: exactly what is stored, described, drawn, and harmless to look at."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import insert

from rules.engine import ENGINE_VERSION
from rules.settings import EngineSettings
from service.domain.ids import ActivityId, first_id_at, new_id
from service.domain.quorum import Role
from service.store import findings
from service.store.tables.activity import learning
from tests.integration.api.rows import add_activity
from tests.support.api import ApiWorld, problem

NOW = datetime.now(UTC)
EVIL = '"><script>alert(1)</script>\x00\u202e'
REASONS = [
    {"feature": "amount_usd", "observed": "18,342 USD", "usual": "40\u2013900 USD", "share": 0.62},
    {"feature": "fan_in_accounts", "observed": "4", "usual": "1", "share": 0.0, "detector": "gone-by-now"},
]
SVG = "{http://www.w3.org/2000/svg}"


def settings_row(at: Any, seq: int, settings: EngineSettings) -> None:
    row = {"seq": seq, "kind": "settings", "payload": settings.encode(), "at": NOW}
    at.execute(insert(learning).values(**row, engine_version=ENGINE_VERSION, settings_digest=settings.digest()))


def paid(world: ApiWorld, **changes: object) -> str:
    with world.database.begin() as uow:
        return add_activity(uow.connection, **changes)


def explained(world: ApiWorld, activity: str) -> Any:
    return world.get(f"/v1/activities/{activity}/explanation")


def picture(world: ApiWorld, activity: str) -> ET.Element:
    answer = world.call("GET", f"/v1/activities/{activity}/picture.svg", Role.VIEWER)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return ET.fromstring(answer.text)  # noqa: S314  our own document, bounded; that it parses is the test


def test_the_explanation_says_what_was_observed_usual_and_in_force(world: ApiWorld) -> None:
    with world.database.begin() as uow:
        settings_row(uow.connection, 900_001, EngineSettings(hold_p=2e-6, salt="never shown"))
        settings_row(uow.connection, 900_009, EngineSettings(hold_p=5e-6, salt="never shown"))
    stored = {"reasons": json.dumps(REASONS), "score": 5.4, "p_value": 4e-6, "decision": "hold", "history": "enough"}
    found = explained(world, paid(world, **stored, detectors=["gone-by-now"], amount_usd="18342.50", seq=900_005))
    assert found["levels"]["hold_p"] == 2e-6, "what was in force then, not what is now"
    assert [r["usual"] for r in found["reasons"]] == ["40\u2013900 USD", "1"]
    assert found["reasons"][0]["meaning"].startswith("The amount against what this account")
    assert found["detectors"] == [
        {"id": "gone-by-now", "known": False, "title": "", "severity": "", "decision": "", "status": "", "runbook": ""}
    ]
    told = " ".join(found["sentences"])
    for part in (
        "It was held",
        "one in 250,000",
        "18,342 USD; usually 40\u2013900 USD (62 %",
        "holds from one in 500,000",
    ):
        assert part in told
    assert "never shown" not in json.dumps(found)
    assert found["picture"] == f"/v1/activities/{found['id']}/picture.svg"


def test_what_was_never_scored_says_so(world: ApiWorld) -> None:
    bare = dict.fromkeys(("score", "p_value", "decision", "history", "reasons", "detectors", "seq"))
    found = explained(world, paid(world, **bare, status="unattributed"))
    assert found["sentences"] == ["It was not scored (unattributed): there is nothing to explain."]
    assert (found["levels"], found["reasons"], found["detectors"]) == (None, [], [])


def test_what_is_not_there_is_a_problem(world: ApiWorld) -> None:
    for path in ("explanation", "picture.svg"):
        answer = world.call("GET", f"/v1/activities/act_none/{path}", Role.VIEWER)
        assert problem(answer)["code"] == "not_found"


def test_the_picture_shows_the_accounts_own_payments_and_marks_this_one(world: ApiWorld) -> None:
    account = f"drawn-{new_id('acc')}"
    for days in range(1, 6):
        at = NOW - timedelta(days=days)
        paid(world, id=first_id_at("act", at), account=account, occurred_at=at, amount_usd="50", decision="allow")
    at = NOW - timedelta(days=6)
    paid(world, id=first_id_at("act", at), account=account, occurred_at=at, amount_usd="9000", decision="hold")
    paid(world, account=account, amount_usd="7", kind="deposit.confirmed")
    paid(world, account=account, amount_usd="7", status="repeated")
    paid(world, account=f"{account}-2", amount_usd="7")
    marked = paid(world, account=account, amount_usd="18342.50", reasons=json.dumps(REASONS))
    root = picture(world, marked)
    assert len(root.findall(f"{SVG}circle")) == 5
    assert len([p for p in root.findall(f"{SVG}path") if p.get("class") == "a"]) == 1
    assert len([p for p in root.findall(f"{SVG}path") if p.get("class") == "m"]) == 1
    assert len([r for r in root.findall(f"{SVG}rect") if r.get("class") == "u"]) == 2
    assert "Usual is 40 to 900 USD" in (root.findtext(f"{SVG}desc") or "")


def test_an_access_event_is_drawn_by_hour_among_the_actors_own(world: ApiWorld) -> None:
    actor = f"actor-{new_id('per')}"
    access = {"kind": "access.login", "account": None, "amount_usd": None, "amount_base_units": None}
    for days in (11, 12, 13):
        at = NOW - timedelta(days=days)
        paid(world, id=first_id_at("act", at), actor=actor, occurred_at=at, **access)
    root = picture(world, paid(world, actor=actor, **access))
    assert len(root.findall(f"{SVG}circle")) == 3
    assert "hour (UTC)" in (root.findtext(f"{SVG}title") or "")


def test_names_from_outside_stay_text(world: ApiWorld) -> None:
    marked = paid(world, account=EVIL.replace("\x00", ""), amount_usd="1", reasons=json.dumps([]))
    answer = world.call("GET", f"/v1/activities/{marked}/picture.svg", Role.VIEWER)
    assert "<script" not in answer.text
    assert "\u202e" not in answer.text
    assert picture(world, marked).find(f"{SVG}script") is None


@pytest.mark.parametrize("of", [{"account": "busy"}, {"account": None, "actor": "busy"}])
def test_only_so_many_activities_are_looked_through_whatever_they_are(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch, of: dict[str, object]
) -> None:
    """What is asked for may be the rarest there is: the work is bounded by what is read, not by what is found."""
    monkeypatch.setattr(findings, "_LOOKED_AT", 3)
    named = {key: value and f"{value}-{new_id('acc')}" for key, value in of.items()}
    paid(world, **named)
    seen = paid(world, **named)
    for _ in range(2):
        paid(world, **named, kind="access.login")
    marked = paid(world, **named)
    with world.database.begin() as uow:
        points, complete = uow.findings.past(uow.findings.assessed(ActivityId(marked)))
        assert (len(points), complete) == (1, False), seen
