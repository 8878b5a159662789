"""One intake in a process to be killed: `python -m tests.support.intake_process SOCKET`, its URL on standard input."""

import asyncio
import sys
from pathlib import Path

import uvicorn

from rules.settings import EngineSettings
from service.api.connections import Connections
from service.api.intake import IntakeApp
from service.api.quick import quick
from service.clock import SystemClock
from service.domain.secrets import Secret
from service.flow.gate import Gate
from service.flow.intake import snapshots
from service.flow.intake.batcher import Intake
from service.flow.intake.keeper import EngineKeeper
from service.store.connections import load_connection
from service.store.intake import connect
from tests.support.intake import DETECTORS, PLATFORMS, tokens


async def serve(socket: str, url: str) -> None:
    """Serve until told to stop; snapshots are due often, so that a kill finds one under way."""
    vars(snapshots).update(EVERY_ROWS=60, RETRY_S=0.0, COPIED=20)
    store = await connect(Secret(url))
    clock = SystemClock()
    keeper = EngineKeeper(store.baselines, DETECTORS, EngineSettings(salt="test"))
    await keeper.prepare()
    intake = Intake(store, keeper, clock)
    connections = Connections(lambda name: load_connection(store.pool, name), lambda sealed, _aad: sealed, PLATFORMS)
    app = IntakeApp(
        connections,
        intake,
        Gate(intake.submit, store, clock),
        tokens("std"),
        lambda message, key="": message,
        clock,
    )
    committing = asyncio.create_task(intake.run())
    config = uvicorn.Config(app, uds=socket, http=quick(app), lifespan="off", access_log=False, log_level="error")
    await uvicorn.Server(config).serve()
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(serve(str(Path(sys.argv[1])), sys.stdin.readline().strip()))
