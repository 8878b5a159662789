"""Sets the stage: the emulated platform with the accounts' real addresses, and two weeks of history before them.

Rules: history is sent before an account goes live and ends some minutes before now, so that nothing of it is mistaken for
the day itself; withdrawals belong to the custody connection, sign-ins to its access log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from drills.runner.errors import DrillError
from drills.runner.platform import Platform
from drills.runner.service import Service
from drills.runner.setting_up import ACCESS_LOG, CUSTODY, Credentials
from drills.scenario_form import Scenario
from drills.seeding import world
from drills.traffic import Line, history, ndjson

QUIET_BEFORE = timedelta(minutes=6)
CHUNK = 250
RETRY_INTERVAL_S = 1.0
RETRY_MAX = 600
GAPS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Places:
    """What the platform must know of Portcullis, and where its chain is.

    `gate_pem` None: the platform asks nobody before it signs; `node_url` None: its chain is emulated.
    """

    service_url: str
    gate_pem: str | None
    node_url: str | None = None


def seed_platform(
    platform: Platform, scenario: Scenario, accounts: Mapping[str, str], credentials: Credentials, places: Places
) -> None:
    """Build the emulator's world and point its webhooks and its co-signer at Portcullis."""
    platform.seed(
        {
            **world(scenario, accounts),
            "workspace_id": credentials.workspace_id,
            "tenant_id": credentials.tenant_id,
            "api_users": [{"api_key": credentials.api_key, "public_key_pem": credentials.public_pem}],
            "webhooks": {
                "v2_url": f"{places.service_url}/webhooks/{CUSTODY}",
                "standard_url": f"{places.service_url}/webhooks/{ACCESS_LOG}",
                "standard_secret": credentials.access_secret,
                "gaps_s": list(GAPS_S),
            },
            "callback": None if places.gate_pem is None else _callback(places.service_url, places.gate_pem),
            "node_url": places.node_url,
        }
    )


def _callback(service_url: str, gate_pem: str) -> dict[str, object]:
    return {
        "base_url": f"{service_url}/cosigner/{CUSTODY}",
        "public_key_pem": gate_pem,
        "retry_interval_s": RETRY_INTERVAL_S,
        "retry_max": RETRY_MAX,
    }


def send_history(
    service: Service,
    scenario: Scenario,
    accounts: Mapping[str, str],
    ingest: Mapping[str, str],
    progress: Callable[[int, int], None],
) -> int:
    """Send what came before; returns how many activities were taken. DrillError when one was not."""
    lines = history(scenario, datetime.now(UTC) - QUIET_BEFORE, accounts)
    done = 0
    for connection, chunk in _chunks(lines):
        for answer in service.history(ingest[connection], list(ndjson(chunk))):
            _require_taken(answer)
            done += 1
        progress(done, len(lines))
    if done != len(lines):
        raise DrillError(f"{len(lines)} lines of history were sent and {done} answered; look into logs/api.log")
    return done


def connection_of(line: Line) -> str:
    """Return the connection that a line of history belongs to."""
    return ACCESS_LOG if str(line["type"]).startswith(("access.", "governance.")) else CUSTODY


def _chunks(lines: Iterable[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Yield chunks of one connection each, in order of time within a connection."""
    open_chunks: dict[str, list[Line]] = {CUSTODY: [], ACCESS_LOG: []}
    for line in lines:
        connection = connection_of(line)
        open_chunks[connection].append(line)
        if len(open_chunks[connection]) == CHUNK:
            yield connection, open_chunks[connection]
            open_chunks[connection] = []
    yield from ((connection, chunk) for connection, chunk in open_chunks.items() if chunk)


def _require_taken(answer: Mapping[str, Any]) -> None:
    if "problem" in answer:
        problem = answer["problem"]
        said = problem.get("detail") if isinstance(problem, dict) else problem
        raise DrillError(f"a line of history ({answer.get('id')}) was refused: {said}")
