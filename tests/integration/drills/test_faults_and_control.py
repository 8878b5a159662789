"""Faults happen where they are asked for, control needs its token, and the process can be run on its own."""

import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from drills.emulator.__main__ import PORT_TAKEN
from tests.integration.drills.harness import API_KEY, CUSTOMER, Drill, OtherSide, private_pem, seed_of


def signed(drill: Drill, uri: str, body: bytes, **changes: object) -> dict[str, str]:
    now = int(time.time())
    digest = hashlib.sha256(body).hexdigest()
    claims = {"uri": uri, "nonce": str(uuid.uuid4()), "iat": now, "exp": now + 55, "sub": API_KEY, "bodyHash": digest}
    token = jwt.encode(claims | changes, private_pem(drill.api_key), "RS256")
    return {"X-API-Key": API_KEY, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def order(external_id: str) -> bytes:
    to = {"type": "ONE_TIME_ADDRESS", "oneTimeAddress": {"address": CUSTOMER.split(":")[2]}}
    source = {"type": "VAULT_ACCOUNT", "id": "0"}
    wanted = {"assetId": "ETH", "amount": 0.1, "source": source, "destination": to, "externalTxId": external_id}
    return json.dumps(wanted).encode()


def create(drill: Drill, external_id: str, **headers: str) -> httpx.Response:
    body = order(external_id)
    return drill.http.post("/v1/transactions", content=body, headers=signed(drill, "/v1/transactions", body) | headers)


def known(drill: Drill) -> list[str]:
    return [t["externalTxId"] for t in drill.get("/transactions")]


def test_error_after_effect_leaves_the_effect(drill: Drill) -> None:
    drill.post("/faults", {"path_prefix": "/v1/transactions", "mode": "error_after_effect"}, expect=204)
    assert create(drill, "x-1").status_code == 502
    assert known(drill) == ["x-1"]
    assert create(drill, "x-2").status_code == 200


def test_error_before_effect_and_drop_leave_none(drill: Drill) -> None:
    drill.post("/faults", {"path_prefix": "/v1/transactions", "mode": "error_before_effect"}, expect=204)
    assert create(drill, "x-1").status_code == 503
    drill.post("/faults", {"path_prefix": "/v1/transactions", "mode": "drop"}, expect=204)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        create(drill, "x-2")
    assert known(drill) == []


def test_a_lost_answer_is_recovered_by_the_idempotency_key(drill: Drill) -> None:
    drill.post("/faults", {"path_prefix": "/v1/transactions", "mode": "error_after_effect"}, expect=204)
    create(drill, "x-1", **{"Idempotency-Key": "k"})
    again = create(drill, "x-1", **{"Idempotency-Key": "k"})
    assert again.status_code == 200
    assert [t["id"] for t in drill.get("/transactions")] == [again.json()["id"]]
    assert create(drill, "x-2", **{"Idempotency-Key": "k"}).status_code == 400


def test_a_duplicate_request_counts_once(drill: Drill) -> None:
    drill.post("/faults", {"path_prefix": "/v1/transactions", "mode": "duplicate"}, expect=204)
    assert create(drill, "x-1").status_code == 200
    assert known(drill) == ["x-1"]


def test_outgoing_messages_are_disturbed_too(drill: Drill, other_side: OtherSide) -> None:
    drill.post("/faults", {"path_prefix": "/webhooks/v2", "mode": "duplicate", "count": 100}, expect=204)
    drill.wait_status(drill.transfer(), "COMPLETED")
    received = other_side.wait_for(lambda r: r.path == "/webhooks/v2", 12)
    ids = [json.loads(r.body)["id"] for r in received]
    assert all(ids.count(i) == 2 for i in ids)
    assert drill.http.delete("/emulator/faults").status_code == 204


def test_freeze_blocks_what_is_unsigned_and_lets_nothing_in(drill: Drill, other_side: OtherSide) -> None:
    other_side.decide = lambda _claims: "RETRY"
    waiting = drill.transfer()
    other_side.wait_for(lambda r: r.path.startswith("/cosigner"))
    frozen = drill.http.post("/v1/workspace/freeze", headers=signed(drill, "/v1/workspace/freeze", b""))
    assert frozen.status_code == 204
    assert drill.status(waiting)["status"] == "BLOCKED"
    assert create(drill, "x-1").status_code == 403


def test_dropping_a_stuck_transaction(make_drill: Any) -> None:
    drill = make_drill(timings={"block_time_s": 3600})
    stuck = drill.transfer()
    drill.wait_status(stuck, "BROADCASTING")
    uri = f"/v1/transactions/{stuck}/drop"
    dropped = drill.http.post(uri, headers=signed(drill, uri, b"{}"), content=b"{}")
    assert dropped.json()["replacedTxHash"].startswith("0x")
    assert drill.wait_status(stuck, "FAILED")["subStatus"] == "DROPPED_BY_BLOCKCHAIN"
    assert drill.get("/figures")["paid_to_customers_usd"] == "0.00"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer \xff"}])
def test_control_needs_its_token(drill: Drill, headers: dict[str, str]) -> None:
    raw = {k.encode(): v.encode("latin-1") for k, v in headers.items()}
    for path in ("/emulator/figures", "/emulator/ledger"):
        assert httpx.get(drill.server.url + path, headers=raw, trust_env=False).status_code == 401
    assert httpx.post(drill.server.url + "/emulator/steal", headers=raw, trust_env=False).status_code == 401


def test_the_rest_interface_refuses_strangers(drill: Drill) -> None:
    assert httpx.get(drill.server.url + "/v1/transactions", trust_env=False).status_code == 401
    body = order("x-1")
    headers = signed(drill, "/v1/transactions", body)
    assert drill.http.post("/v1/transactions", content=body, headers=headers).status_code == 200
    assert drill.http.post("/v1/transactions", content=body, headers=headers).status_code == 401


def test_a_bad_seed_is_explained(drill: Drill) -> None:
    assert "tenant_id" in drill.post("/seed", {"workspace_id": "w"}, expect=400)["message"]


def test_a_second_seed_is_refused(drill: Drill, other_side: OtherSide) -> None:
    assert "seeded already" in drill.post("/seed", seed_of(other_side, drill.api_key), expect=409)["message"]


def test_the_recording_hides_the_token(drill: Drill, tmp_path: Path) -> None:
    create(drill, "x-1")
    path = tmp_path / "exchanges.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(x["method"], x["path"], x["response"]["status"]) for x in lines] == [("POST", "/v1/transactions", 200)]
    assert lines[0]["request"]["headers"]["authorization"] == "Bearer hidden"
    assert lines[0]["request"]["body"] == order("x-1").decode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_run_as_a_process(tmp_path: Path) -> None:
    state = tmp_path / "emulator.json"
    command = [sys.executable, "-m", "drills.emulator", "--port", "0", "--state", str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("emulator: http://127.0.0.1:")
        told = json.loads(state.read_text())
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
        headers = {"Authorization": f"Bearer {told['token']}"}
        answer = httpx.get(told["url"] + "/emulator/figures", headers=headers, trust_env=False)
        assert answer.json()["code"] == "state_conflict"
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()
    assert process.returncode in {0, 130}
    assert not state.exists()


def test_a_taken_port_is_explained(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "drills.emulator", "--port", port, "--state", str(tmp_path / "s.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == PORT_TAKEN
    assert "choose another" in done.stderr
