"""A Fireblocks workspace of the emulator, and our calls to it: a real key in a platform token, real rows for the holds."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from drills.emulator.server import EmulatorServer
from drills.emulator.world import World
from hsm.pkcs11.platform import PlatformToken
from hsm.power import Power
from service.custody.fireblocks.calls import FireblocksCalls
from service.domain.account import AccountRef
from service.domain.ids import ConnectionId
from service.domain.secrets import Secret
from service.ports.custody import ConnectionConfig
from service.store.database import SqlDatabase, create
from service.store.gate_holds import SqlGateHolds
from tests.integration.drills.harness import (
    API_KEY,
    USDT,
    WAIT_S,
    Drill,
    OtherSide,
    key_of,
    other_side_listening,
    seed_of,
)
from tests.integration.hsm.tokens import set_up
from tests.support.authority import MovedClock
from tests.support.incidents import CONNECTION
from tests.support.servers import SoftHsm

ASSETS = {
    "ETH": {"caip19": "eip155:1/slip44:60", "decimals": 18},
    "USDT_ERC20": {"caip19": f"eip155:1/erc20:{USDT}", "decimals": 6},
}
HOT = AccountRef(ConnectionId(CONNECTION), "0")
PATIENT = httpx.Timeout(WAIT_S)


@dataclass
class Workspace:
    """The emulated workspace, our calls to it, and the rows that our gate reads."""

    drill: Drill
    other_side: OtherSide
    token: PlatformToken
    db: SqlDatabase
    clock: MovedClock
    record: Path
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.drill.server.emulator.running().world

    def calls(self, transport: httpx.BaseTransport | None = None) -> FireblocksCalls:
        settings = {"api_base_url": self.drill.seeded["base_path"], "api_key": API_KEY, "assets": json.dumps(ASSETS)}
        config = ConnectionConfig(HOT.connection, "fireblocks", settings, lambda _: b"", ())
        client = httpx.Client(timeout=PATIENT, trust_env=False, transport=transport)
        self.clients.append(client)
        return FireblocksCalls(config, lambda m: self.token.sign(CONNECTION, m), SqlGateHolds(self.db), client)

    def logged(self, event: str) -> int:
        return sum(entry.event == event for entry in self.world.audit)

    def arm(self, mode: str, path: str, method: str) -> None:
        order = {"path_prefix": path, "mode": mode, "method": method}
        self.drill.post("/faults", order, expect=204)

    def arrived(self, method: str, path: str) -> int:
        """How many requests the workspace has worked on."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        told = [json.loads(line) for line in lines]
        return sum(one["method"] == method and one["path"].startswith(path) for one in told)

    def held_transfer(self) -> str:
        """A transfer that the co-signer is told to ask for again later."""
        self.other_side.decide = lambda claims: "RETRY" if "txId" in claims else "APPROVE"
        transaction = self.drill.transfer()
        self.other_side.wait_for(lambda r: r.path.endswith("tx_sign_request"))
        return transaction

    def sent_transfer(self) -> str:
        """A transfer that was signed and is in no block."""
        transaction = self.drill.transfer()
        self.drill.wait_status(transaction, "BROADCASTING")
        return transaction

    def until(self, holds: Callable[[], bool]) -> None:
        waited = threading.Event()
        for _ in range(int(WAIT_S / 0.02)):
            if holds():
                return
            waited.wait(0.02)
        raise AssertionError


@pytest.fixture(scope="session")
def platform_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PlatformToken, str]]:
    """An open platform token with the connection's key made in it; with its public half."""
    folder = tmp_path_factory.mktemp("platform-of-custody")
    token = PlatformToken.open(set_up(softhsm.module, softhsm.configuration, folder, Power.PLATFORM, "custody-tests"))
    yield token, token.generate_api_key(CONNECTION, 2048).decode()
    token.close()


@contextmanager
def working(
    url: str, token: tuple[PlatformToken, str], record: Path, *, block_time_s: float = 0
) -> Iterator[Workspace]:
    """Run a workspace beside a database."""
    clock = MovedClock()
    db = SqlDatabase(create(Secret(url), pool_size=3), clock)
    with other_side_listening() as side, EmulatorServer(record=record) as server:
        headers = {"Authorization": f"Bearer {server.emulator.token}"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=PATIENT) as http:
            drill = Drill(server, http, key_of("api user"), {})
            users = [{"api_key": API_KEY, "public_key_pem": token[1]}]
            seed = seed_of(side, drill.api_key)
            callback = seed["callback"] | {"retry_interval_s": 0.05, "retry_max": 10_000}  # RETRY holds for long
            own = {"api_users": users, "callback": callback, "timings": {"block_time_s": block_time_s}}
            drill.seeded = drill.post("/seed", seed | own)
            found = Workspace(drill, side, token[0], db, clock, record)
            yield found
            for client in found.clients:
                client.close()
    db.engine.dispose()


@pytest.fixture
def workspace(postgres_url: str, platform_token: tuple[PlatformToken, str], tmp_path: Path) -> Iterator[Workspace]:
    """A workspace of the test's own; its rows are those of the module."""
    with working(postgres_url, platform_token, tmp_path / "exchanges.jsonl") as found:
        yield found


@pytest.fixture
def alone(fresh_postgres_url: str, platform_token: tuple[PlatformToken, str], tmp_path: Path) -> Iterator[Workspace]:
    """The same with rows of its own."""
    with working(fresh_postgres_url, platform_token, tmp_path / "exchanges.jsonl") as found:
        yield found


@pytest.fixture
def stuck(fresh_postgres_url: str, platform_token: tuple[PlatformToken, str], tmp_path: Path) -> Iterator[Workspace]:
    """The same on a chain that makes no block by itself."""
    with working(fresh_postgres_url, platform_token, tmp_path / "exchanges.jsonl", block_time_s=3600) as found:
        yield found
