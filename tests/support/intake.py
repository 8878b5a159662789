"""A whole intake on a real PostgreSQL, without HTTP servers: the ASGI app is called directly."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import create_engine

from rules.settings import EngineSettings
from service.api import connections, doors
from service.api.auth import Authenticator, Principal, StoredToken
from service.api.connections import Connections
from service.api.intake import IntakeApp
from service.clock import SystemClock
from service.commands.replay import Report, replayed
from service.commands.rescoring import Scores, scored_again
from service.custody.bitgo.platform import PLATFORM as BITGO
from service.custody.fireblocks.platform import PLATFORM as FIREBLOCKS
from service.custody.standard.platform import PLATFORM as STANDARD
from service.domain.ids import ConnectionId, PersonId, new_id
from service.domain.places import address_of
from service.domain.quorum import Role
from service.domain.secrets import Secret
from service.flow.gate import Gate
from service.flow.intake import snapshots
from service.flow.intake.batcher import Intake
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.warrants import Authorised, nobody
from service.ports.gate import Signer
from service.store import driver
from service.store.connections import load_connection
from service.store.database import driver_url
from service.store.grants import API
from service.store.intake import PostgresIntakeStore, connect
from tests.support.detectors import shipped
from tests.support.servers import url_of_role

KEY = bytes(range(32))
SECRET = b"whsec_" + base64.b64encode(KEY)
OTHER_SECRET = b"whsec_" + base64.b64encode(bytes(range(1, 33)))
TOKEN_ID = "tok_01ARZ3NDEKTSV4RRFFQ69G5FAV"
TOKEN = "pcl_01ARZ3NDEKTSV4RRFFQ69G5FAV_test-secret"
ETH = "eip155:1/slip44:60"
DETECTORS = shipped()
PATIENCE_S = 120.0


PLATFORMS = {platform.name: platform for platform in (STANDARD, FIREBLOCKS, BITGO)}


@dataclass
class World:
    """What a test holds: the app's client, the intake, and the database's superuser URL."""

    client: httpx.AsyncClient
    intake: Intake
    store: PostgresIntakeStore
    url: str
    connections: Connections
    app: IntakeApp

    async def tell(self, key: str, document: object) -> httpx.Response:
        """Send one signed webhook to connection `std`."""
        body = encoded(document)
        return await self.client.post("/webhooks/std", content=body, headers=signed(key, body))

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Query as superuser."""
        with psycopg.connect(self.url, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(query, parameters or None).fetchall()

    def count(self, table: str, where: str = "true") -> int:
        """Count rows."""
        return int(self.rows(f"SELECT count(*) AS n FROM {table} WHERE {where}")[0]["n"])  # noqa: S608  test literals


def seed(url: str, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
    """Run statements as superuser."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement, parameters in statements:
            connection.execute(statement, parameters)


def add_connection(
    url: str, name: str, platform: str, settings: Mapping[str, str], secrets: Mapping[str, bytes]
) -> None:
    """Insert a connection; its secrets are 'sealed' as they are."""
    rows: list[tuple[str, tuple[object, ...]]] = [
        (
            """INSERT INTO connections (id, platform, name, config, state, created_at)
            VALUES (%s, %s, %s, %s, 'active', now())""",
            (name, platform, name, json.dumps(dict(settings))),
        )
    ]
    rows += [
        (
            """INSERT INTO connection_secrets (connection_id, name, opened_by, sealed, created_at)
            VALUES (%s, %s, 'api', %s, now())""",
            (name, secret, value),
        )
        for secret, value in secrets.items()
    ]
    seed(url, rows)


def add_account(url: str, connection: str, ref: str) -> None:
    """Register an account."""
    seed(
        url,
        [
            (
                "INSERT INTO accounts (id, connection_id, ref, holder, created_at) VALUES (%s, %s, %s, 'platform', now())",
                (f"acc-{connection}-{ref}", connection, ref),
            )
        ],
    )


def echoed(message: bytes, key: str = "") -> bytes:
    """Sign with the message itself, and with the key's name."""
    return message + key.encode()


@contextmanager
def patient() -> Iterator[None]:
    """Let no limit decide that a slow machine can reach: for a connection, a last snapshot, a signed answer."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (driver, "TIMEOUT_S"),
            (driver, "COMMAND_TIMEOUT_S"),
            (snapshots, "STOP_S"),
            (doors, "_ANSWERED_BY_S"),
            (doors, "_LOOK_UP_S"),
        ):
            patch.setattr(module, name, PATIENCE_S)
        yield


@asynccontextmanager
async def running(
    url: str,
    *,
    signer: Signer = echoed,
    connection: str = "std",
    authorised: Authorised = nobody,
) -> AsyncIterator[World]:
    """Run an intake under the API's database role."""
    with patient():
        async with _running(url, signer=signer, connection=connection, authorised=authorised) as world:
            yield world


@asynccontextmanager
async def _running(url: str, *, signer: Signer, connection: str, authorised: Authorised) -> AsyncIterator[World]:
    store = await connect(Secret(url_of_role(url, API)))
    keeper = EngineKeeper(store.baselines, DETECTORS, EngineSettings(salt="test"), authorised)
    intake = Intake(store, keeper, SystemClock())
    opened = Connections(lambda name: load_connection(store.pool, name), lambda sealed, _aad: sealed, PLATFORMS)
    app = IntakeApp(
        opened, intake, Gate(intake.submit, store, SystemClock()), tokens(connection), signer, SystemClock()
    )
    task = asyncio.create_task(intake.run())
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    try:
        yield World(client, intake, store, url, opened, app)
    finally:
        await client.aclose()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.close()


def tokens(connection: str) -> Authenticator:
    """One ingest token, bound to a connection."""
    principal = Principal(TOKEN_ID, Role.INGEST, PersonId("") or None, ConnectionId(connection))
    stored = StoredToken(principal, hashlib.sha256(TOKEN.encode()).digest(), None, None)
    return Authenticator(lambda token_id: stored if token_id == TOKEN_ID else None)


def stand_still(patch: pytest.MonkeyPatch) -> None:
    """Stop the clock of connections: a rate that is spent stays spent, and a connection that was looked up is not again."""
    patch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: 0.0))


def signed(event_id: str, body: bytes, *, key: bytes = KEY, at: float | None = None) -> dict[str, str]:
    """Standard Webhooks headers."""
    stamp = str(int(time.time() if at is None else at))
    mac = hmac.digest(key, f"{event_id}.{stamp}.".encode() + body, "sha256")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }


def withdrawal(number: int, **changes: object) -> dict[str, object]:
    """One withdrawal in our wire schema."""
    data: dict[str, object] = {
        "account": "hot-1",
        "actor": "ops",
        "transaction": f"tx-{number}",
        "asset": ETH,
        "amount_base_units": str(10**16 * (1 + number % 7)),
        "amount_usd": f"{30 * (1 + number % 7)}.00",
        "balance_usd": "1000000.00",
        "destination": f"eip155:1:0x{number % 50:040x}",
        "destination_kind": "one_time",
    }
    data.update(changes)
    kind = data.pop("type", "withdrawal.requested")
    stamp = data.pop("timestamp", datetime.now(UTC).isoformat())
    return {"type": kind, "timestamp": stamp, "data": {k: v for k, v in data.items() if v is not None}}


def encoded(document: object) -> bytes:
    """JSON bytes."""
    return json.dumps(document).encode()


def hold_by_hand(url: str, connection: str, scope: str, value: str) -> None:
    """Have our gate hold an account, a destination or a connection."""
    columns = "(id, connection_id, scope, value, place, idempotency_key, placed_at)"
    row = (new_id("hld"), connection, scope, value, address_of(value), new_id("hld"))
    seed(url, [(f"INSERT INTO gate_holds {columns} VALUES (%s, %s, %s, %s, %s, %s, now())", row)])  # noqa: S608  a constant


def clear_by_hand(url: str, activity_id: str) -> None:
    """Write what a clearance writes at the transaction, without its votes: what the gate looks up."""
    document = {"what": [{"action": "blind.clear_activity", "target": {"value": activity_id}}]}
    approval = new_id("apr")
    request = (
        "INSERT INTO approvals (id, subject, document, digest, requester, state, created_at, approve_by, execute_by)"
        " VALUES (%s, 'blind', %s, %s, 'per_a', 'executed', now(), now(), now())"
    )
    noted = (
        "UPDATE transactions t SET cleared_by = %s FROM activities a"
        " WHERE a.id = %s AND t.connection_id = a.connection_id AND t.ref = a.transaction"
    )
    seed(url, [(request, (approval, json.dumps(document), approval)), (noted, (approval, activity_id))])


def verified(url: str) -> Report:
    """Replay the learning sequence and hold it against the stored baselines."""
    engine = create_engine(driver_url(url))
    try:
        with engine.connect() as connection:
            return replayed(connection, verify=True)
    finally:
        engine.dispose()


def rescored(url: str) -> Scores:
    """Score every activity of the learning sequence again and hold it against what is stored of it."""
    engine = create_engine(driver_url(url))
    try:
        with engine.connect() as connection:
            return scored_again(connection)
    finally:
        engine.dispose()
