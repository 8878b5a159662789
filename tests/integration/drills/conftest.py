"""A running emulator, and a receiver that plays the other side: webhooks and co-signer callbacks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from drills.emulator.server import EmulatorServer
from tests.integration.drills.harness import Drill, OtherSide, key_of, other_side_listening, seed_of


@pytest.fixture
def other_side() -> Iterator[OtherSide]:
    with other_side_listening() as side:
        yield side


@pytest.fixture
def make_drill(other_side: OtherSide, tmp_path: Path) -> Iterator[Callable[..., Drill]]:
    started: list[tuple[EmulatorServer, httpx.Client]] = []

    def make(**changes: object) -> Drill:
        server = EmulatorServer(record=tmp_path / "exchanges.jsonl")
        server.__enter__()
        http = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.emulator.token}"},
            trust_env=False,
            timeout=30,
        )
        started.append((server, http))
        api_key = key_of("api user")
        drill = Drill(server, http, api_key, {})
        drill.seeded = drill.post("/seed", seed_of(other_side, api_key) | changes)
        return drill

    yield make
    for server, http in started:
        http.close()
        server.__exit__(None, None, None)


@pytest.fixture
def drill(make_drill: Callable[..., Drill]) -> Drill:
    return make_drill()
