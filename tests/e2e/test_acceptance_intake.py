"""Intake on a whole installation, over real HTTP: everything is stored once, and what is stored proves itself."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from bench.emulated import ETH
from tests.support.stack import INTAKE, Stack, encoded, standard_headers, withdrawal

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
WEBHOOKS = 1000
CLIENTS = 8


def test_a_thousand_webhooks_twice_in_random_order_are_a_thousand_activities(stack: Stack) -> None:
    bodies = {f"thousand-{number}": withdrawal(number) for number in range(WEBHOOKS)}
    order = [event_id for event_id in bodies for _ in range(2)]
    random.Random(2020).shuffle(order)  # noqa: S311  an order that can be repeated
    secret = stack.secrets[f"{INTAKE} webhook secret"]

    def send(client_number: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        with httpx.Client(base_url=stack.url, timeout=60, trust_env=False) as client:
            for event_id in order[client_number::CLIENTS]:
                body = bodies[event_id]
                headers = standard_headers(secret, event_id, body)
                answer = client.post(f"/webhooks/{INTAKE}", content=body, headers=headers)
                assert answer.status_code == 200, answer.text
                found.append((event_id, answer.json()["activity_id"]))
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [pair for pairs in pool.map(send, range(CLIENTS)) for pair in pairs]

    assert len(answers) == 2 * WEBHOOKS
    told = dict(answers)
    assert all(told[event_id] == activity_id for event_id, activity_id in answers), "a repeat gets the first answer"
    stored = [a["id"] for a in stack.activities(connection=INTAKE) if a["event_id"].startswith("thousand-")]
    assert len(stored) == WEBHOOKS
    assert set(stored) == set(told.values())


def test_the_baselines_replay_byte_for_byte_and_the_audit_log_is_whole(stack: Stack) -> None:
    assert stack.deliver(INTAKE, "replayed-1", withdrawal(5000)).status_code == 200
    replay = stack.cli("replay", "--verify")
    assert replay.returncode == 0, replay.stderr
    assert "equal, byte for byte" in replay.stdout
    audit = stack.cli("audit", "verify")
    assert audit.returncode == 0, audit.stderr
    assert "The log is what was written." in audit.stdout


def test_both_secrets_of_a_rotation_are_in_force(stack: Stack) -> None:
    body = withdrawal(5001)
    headers = standard_headers(stack.secrets["second intake secret"], "rotated-1", body)
    assert stack.http.post(f"/webhooks/{INTAKE}", content=body, headers=headers).status_code == 200


def test_the_same_id_with_another_body_is_kept_and_alerts(stack: Stack) -> None:
    first = stack.deliver(INTAKE, "conflict-1", withdrawal(5002))
    assert first.status_code == 200
    second = stack.deliver(INTAKE, "conflict-1", withdrawal(5003))
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    alerts = list(stack.service.pages("/v1/alerts", stack.reader, connection=INTAKE))
    assert [a["activity_id"] for a in alerts if a["title"] == "One event id came with two bodies"] == [
        first.json()["activity_id"]
    ]


def test_a_bad_line_spoils_nothing_of_a_stream(stack: Stack) -> None:
    good = [json.dumps(json.loads(withdrawal(5010 + n)) | {"id": f"line-{n}"}).encode() for n in range(3)]
    lines = [good[0], b"{not json", good[1], b'{"type":"withdrawal.requested"}', b"", good[2]]
    headers = {"Authorization": f"Bearer {stack.ingest[INTAKE]}", "Content-Type": "application/x-ndjson"}
    with stack.http.stream("POST", "/v1/activities", content=b"\n".join(lines), headers=headers) as answer:
        told = [json.loads(line) for line in answer.iter_lines()]
    assert answer.status_code == 200
    assert [one["status"] for one in told] == ["scored", "refused", "scored", "refused", "scored"]
    problems = [one["problem"] for one in told if one["status"] == "refused"]
    assert [(p["code"], p["status"]) for p in problems] == [("invalid_input", 422)] * 2
    stored = {a["event_id"] for a in stack.activities(connection=INTAKE)}
    assert {"line-0", "line-1", "line-2"} <= stored


def test_a_decision_is_stored_and_repeated(stack: Stack) -> None:
    def ask(request_id: str, amount: int) -> dict[str, Any]:
        data = {
            "account": "hot-1",
            "actor": "payout-bot",
            "transaction": f"tx-{request_id}",
            "asset": ETH,
            "amount_base_units": str(amount),
            "amount_usd": "35.00",
            "destination": "eip155:1:0x00000000000000000000000000000000c0ffee01",
        }
        body = encoded("withdrawal.requested", data, id=request_id, deadline_ms=5000)
        headers = {"Authorization": f"Bearer {stack.ingest[INTAKE]}"}
        answer = stack.http.post("/v1/decisions", content=asked.setdefault(request_id, body), headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    asked: dict[str, bytes] = {}
    first = ask("question-1", 10**17)
    again = ask("question-1", 10**17)
    assert (again["decision_id"], again["decision"]) == (first["decision_id"], first["decision"])
    assert first["decision"] in {"approve", "hold"}
    assert ask("question-2", 10**17)["decision_id"] != first["decision_id"]
