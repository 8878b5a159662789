"""The logs of a whole incident: every line can be joined by its ids, and no secret stands in any of them."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.stack import CUSTODY, VAULTS, Stack, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
VAULT = VAULTS[0]
TOTP_STEP_S = 30


def lines_of(stack: Stack, process: str) -> list[dict[str, Any]]:
    text = (stack.home / "logs" / f"{process}.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@dataclass(frozen=True)
class Told:
    """One incident from its webhook to its containment."""

    trace: str
    activity_id: str
    incident: Mapping[str, Any]


@pytest.fixture(scope="module")
def told(stack: Stack) -> Told:
    trace = secrets.token_hex(16)
    answer = stack.attack(VAULT, "logged-1", traceparent=f"00-{trace}-{'ab' * 8}-01")
    assert answer.headers["x-trace-id"] == trace
    return Told(trace, answer.json()["activity_id"], stack.incident_of(VAULT))


def test_one_trace_leads_from_the_webhook_to_the_step(stack: Stack, told: Told) -> None:
    incident, trace = told.incident, told.trace
    step = next(s for s in incident["steps"] if s["action"] == "suspend_withdrawals")

    def of_this_trace(process: str) -> list[dict[str, Any]]:
        return [line for line in lines_of(stack, process) if line.get("trace_id") == trace]

    raised = [line for line in of_this_trace("api") if line.get("kind") == "alert.raised"]
    assert [line["activity_id"] for line in raised] == [told.activity_id]
    worked = of_this_trace("containment")
    opened = [line for line in worked if line.get("kind") == "incident.opened"]
    assert [line["incident_id"] for line in opened] == [incident["id"]]
    assert opened[0]["alert_id"] == raised[0]["subject"]
    verified = [line for line in worked if line.get("kind") == "step.verified" and line["subject"] == step["id"]]
    assert [(line["incident_id"], line["step_id"]) for line in verified] == [(incident["id"], step["id"])]


def test_no_secret_stands_in_any_log(stack: Stack, told: Told) -> None:
    assert told.incident["steps"]
    refused = stack.http.get("/v1/incidents", headers={"Authorization": f"Bearer {stack.reader}x"})
    assert refused.status_code == 401
    wait_until(lambda: bool(lines_of(stack, "api")), "the API logs")
    logs = {path.name: path.read_text(encoding="utf-8") for path in (stack.home / "logs").glob("*.log*")}
    assert {"api.log", "authority.log", "containment.log", "keys.log", "schedule.log"} <= set(logs)

    wanted = known_secrets(stack)
    assert len(wanted) > 30
    found = [(name, what) for name, text in logs.items() for what, value in wanted.items() if value in text]
    assert found == []
    codes = re.compile(r"(?<![\w.:-])(" + "|".join(totp_codes(stack)) + r")(?![\w-])")
    assert [name for name, text in logs.items() if codes.search(text)] == []


def known_secrets(stack: Stack) -> dict[str, str]:
    """Every secret of this installation, by what it is; parts that alone would do as well."""
    found = {what: value for what, value in stack.secrets.items() if not value.startswith("-----BEGIN")}
    found |= {f"{what} without its mark": v.partition("_")[2] for what, v in found.items() if v.startswith("whsec_")}
    found |= {f"line {n} of the API key": line for n, line in enumerate(_pem_lines(stack))}
    found |= {f"token of {m.key}": m.token.split("_", 2)[2] for m in stack.crew}
    found |= {f"ingest token of {name}": token.split("_", 2)[2] for name, token in stack.ingest.items()}
    found |= {f"seed of {m.key}": m.phone.totp.secret for m in stack.crew if m.phone is not None}
    for path in [*stack.home.glob("tokens/*/*pin"), stack.home / "valkey-password"]:
        found[str(path.relative_to(stack.home))] = path.read_text(encoding="ascii").strip()
    for path in sorted((stack.home / "env").glob("*.env")):
        for number, password in enumerate(re.findall(r"://[^/\s:@]*:([^\s@]+)@", path.read_text(encoding="utf-8"))):
            found[f"password {number} in {path.name}"] = unquote(password)
    assert any(what.startswith("tokens/") for what in found)
    assert any(what.startswith("password") for what in found)
    assert all(len(value) >= 8 for value in found.values())
    return found


def _pem_lines(stack: Stack) -> list[str]:
    """Lines of the private key that came with the CUSTODY connection."""
    lines = stack.secrets["API signing key"].strip().splitlines()
    assert CUSTODY in stack.ingest
    return [line for line in lines if not line.startswith("-----") and len(line) >= 64]


def totp_codes(stack: Stack) -> list[str]:
    """Every code that any phone has shown since the installation stands."""
    began = Path(stack.home / "layout-version").stat().st_mtime
    steps = range(int(began) // TOTP_STEP_S - 1, int(time.time()) // TOTP_STEP_S + 2)
    return [m.phone.totp.at(step * TOTP_STEP_S) for m in stack.crew if m.phone is not None for step in steps]
