"""What a verdict tells the engine: what the engine itself read, networks by its own names, nothing that it never judged."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from rules.learning import Verdict
from rules.networks import block_of
from rules.observation import Observation, encode
from service.domain.explaining import Assessed
from service.domain.ids import ActivityId, AlertId, ConnectionId
from service.domain.incident import Alert, CaseVerdict, IncidentKind, Severity
from service.domain.verdicts import network_of, ordinary, payload

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
READ = Observation(
    event_id="act_1",
    kind="withdrawal.requested",
    occurred_at_us=1_772_366_400_000_000,
    received_at_us=1_772_366_400_500_000,
    account="main/hot-1",
    actor="main/ops",
    destination="eip155:1:0xabc",
    device="main/phone",
    ip="203.0.113.7",
    asn=64500,
)
ASSESSED = Assessed(
    id=ActivityId("act_1"),
    connection=ConnectionId("main"),
    kind="withdrawal.requested",
    status="scored",
    occurred_at=NOW,
    received_at=NOW,
    account="renamed-since",
    actor=None,
    destination=None,
    amount_usd=None,
    score=5.4,
    p_value=4e-6,
    decision="hold",
    history="enough",
    reasons=(),
    detectors=("payout-burst",),
    levels=None,
    observation=encode(READ),
)
ALERT = Alert(
    id=AlertId("alr_1"),
    connection=ConnectionId("main"),
    activity_id=ActivityId("act_1"),
    dedup_key="k",
    kind=IncidentKind.DRAIN,
    severity=Severity.HIGH,
    decision="hold",
    score=5.4,
    p_value=4e-6,
    entities=(),
    amount_usd=None,
    raised_at=NOW,
    judged=(5.4, 0.25),
)


def told(assessed: Assessed | None, verdict: CaseVerdict = CaseVerdict.TRUE_POSITIVE) -> Any:
    return json.loads(payload(ALERT, verdict, assessed, NOW))


def test_what_people_reported_is_told_although_the_engine_let_it_pass() -> None:
    passed = replace(ASSESSED, decision="allow")
    assert "account" not in told(passed), "an alert of somebody else's body says nothing of it"
    reported = replace(ALERT, reported_by="per_ada", judged=())
    found = json.loads(payload(reported, CaseVerdict.TRUE_POSITIVE, passed, NOW))
    assert (found["account"], found["device"], found["judged"]) == ("main/hot-1", "main/phone", [])


def test_an_ordinary_one_is_told_with_its_score_alone() -> None:
    found = json.loads(ordinary(replace(ASSESSED, decision="allow"), NOW))
    assert (found["verdict"], found["score"], found["judged"]) == ("false_positive", 5.4, [])
    msgspec.json.decode(ordinary(ASSESSED, NOW), type=Verdict)


def test_a_verdict_tells_what_the_engine_read_of_the_judged_activity() -> None:
    assert told(ASSESSED) == {
        "activity": "act_1",
        "alert": "alr_1",
        "verdict": "true_positive",
        "detectors": ["payout-burst"],
        "account": "main/hot-1",
        "actor": "main/ops",
        "destination": "eip155:1:0xabc",
        "device": "main/phone",
        "network": "as64500",
        "occurred_at_us": READ.occurred_at_us,
        "known_at_us": int(NOW.timestamp() * 1_000_000),
        "score": 5.4,
        "judged": [5.4, 0.25],
    }


def test_the_engine_reads_it() -> None:
    read = msgspec.json.decode(payload(ALERT, CaseVerdict.FALSE_POSITIVE, ASSESSED, NOW), type=Verdict)
    assert (read.verdict, read.account, read.judged) == ("false_positive", "main/hot-1", (5.4, 0.25))


@pytest.mark.parametrize("assessed", [None, replace(ASSESSED, decision="allow"), replace(ASSESSED, decision=None)])
def test_an_alert_that_is_not_of_the_assessment_judges_no_entity(assessed: Assessed | None) -> None:
    assert set(told(assessed)) == {"activity", "alert", "verdict", "known_at_us"}


def test_what_was_never_scored_counts_for_its_detectors_alone() -> None:
    found = told(replace(ASSESSED, observation=None))
    assert found["detectors"] == ["payout-burst"]
    assert "account" not in found


@pytest.mark.parametrize("ip", ["203.0.113.7", "2001:db8:1:2::3", "somewhere"])
def test_a_network_is_named_as_the_engine_names_it(ip: str) -> None:
    assert network_of(msgspec.structs.replace(READ, asn=None, ip=ip)) == block_of(ip)
    assert network_of(msgspec.structs.replace(READ, asn=None, ip=None)) is None
