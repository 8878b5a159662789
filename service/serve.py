"""The API process: `python -m service.serve`. One event loop, one intake owner, one gate token.

Rules: the port is bound before anything is opened, so that a taken one is said at once; what was accepted is committed
before the process ends; nothing here decides anything.
"""

import asyncio
import sys
from functools import partial

import structlog
import uvicorn
import uvloop

from rules.footprint import give_back
from rules.warm import exercise
from service.api.auth import Authenticator, stored_tokens
from service.api.authority_client import UnixSocketAuthority
from service.api.connections import Connections
from service.api.deps import ApiParts
from service.api.intake import IntakeApp
from service.api.quick import quick
from service.asgi import Portcullis, create_api
from service.bootstrap import Opened, open_api
from service.config import read_settings
from service.discovery import declarations
from service.domain.errors import PortcullisError, UnavailableError
from service.flow import blinding
from service.flow.gate import Gate
from service.flow.intake.batcher import Intake
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.polled import PolledIntake
from service.flow.rulebook import Rulebook
from service.log import configure
from service.ports.custody import PlatformDeclaration
from service.serving import ReadyServer, bind
from service.store.connections import load_connection
from service.store.intake import PostgresIntakeStore, connect
from service.store.polled import PostgresPolledStore

GRACE_S = 10
"""How long open requests may take to end once we are told to stop."""
LOOK_EVERY_S = 5.0
"""How often the detectors' directory is looked at."""
_log = structlog.get_logger(__name__)


def main() -> int:
    """Run until told to stop; return the exit code."""
    configure("api")
    try:
        settings = read_settings()
        listener = bind(settings.listen_host, settings.listen_port)
        opened = open_api(settings)
    except PortcullisError as error:
        _log.error("api.not_started", reason=str(error))
        sys.stderr.write(f"portcullis api: {error}\n")
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, listener:
            runner.run(_serve(opened, partial(_server, opened), listener))
    finally:
        opened.close()
    return 0


async def _serve(opened: Opened, server_for: "partial[ReadyServer]", listener: object) -> None:
    store = await connect(opened.settings.database_url)
    votes = opened.settings.public / "authority-votes.pem"
    authorised = partial(blinding.authorised, opened.database, votes.read_bytes)
    keeper = EngineKeeper(store.baselines, opened.rulebook.in_force, authorised=authorised)
    try:
        await asyncio.to_thread(exercise)  # loads the compiled engine now, not with the first event
        await keeper.prepare()
        await _warmed(store)
        await asyncio.to_thread(give_back)
    except BaseException:
        await store.close()
        raise
    intake = Intake(store, keeper, opened.clock)
    server = server_for(*_application(opened, store, intake, keeper))
    committing = asyncio.create_task(intake.run())
    polled = PolledIntake(intake.submit, PostgresPolledStore(store.pool))
    tasks = [
        committing,
        asyncio.create_task(watched(opened.rulebook, keeper)),
        asyncio.create_task(polled.run()),
    ]
    committing.add_done_callback(partial(stop_with, server))
    try:
        await server.serve(sockets=[listener])  # type: ignore[list-item]  # a socket
        if committing.done():
            await committing  # it ended by itself: the process ends with its error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def _warmed(store: PostgresIntakeStore) -> None:
    try:
        await store.warm()
    except (
        UnavailableError
    ) as error:  # another process may have the turn for long: the first batch waits, not the start
        _log.warning("intake.not_warmed", reason=str(error))


def stop_with(server: uvicorn.Server, committing: "asyncio.Task[None]") -> None:
    """End a server that nothing commits for any more: a new process takes over, with an engine of its own."""
    if committing.cancelled():
        return
    _log.critical("intake.ended", exc_info=committing.exception())
    server.should_exit = True


async def watched(rulebook: Rulebook, keeper: EngineKeeper, every_s: float = LOOK_EVERY_S) -> None:
    """Put in force what the detectors' directory brings, until cancelled; never on the event loop's own time."""
    while True:
        await asyncio.sleep(every_s)
        try:
            found = await asyncio.to_thread(rulebook.look)
        except Exception as error:  # noqa: BLE001  whatever broke, the set in force stays and the next look may work
            _log.error("rules.not_looked", exc_info=error)
            continue
        if found is not None:
            keeper.use(found)


def _application(
    opened: Opened, store: PostgresIntakeStore, intake: Intake, keeper: EngineKeeper
) -> tuple[Portcullis, IntakeApp]:
    authenticator = Authenticator(stored_tokens(opened.database.engine))
    platforms = declarations("service.custody", "PLATFORM", PlatformDeclaration)
    taking = IntakeApp(
        Connections(partial(load_connection, store.pool), opened.gate.secrets.unseal, platforms),
        intake,
        Gate(intake.submit, store, opened.clock),
        authenticator,
        opened.gate.sign,
        opened.clock,
    )
    parts = ApiParts(
        settings=opened.settings,
        database=opened.database,
        authenticator=authenticator,
        authority=UnixSocketAuthority(opened.settings.authority_socket),
        clock=opened.clock,
        rulebook=opened.rulebook,
        engine_health=keeper.health,
    )
    return Portcullis(taking, create_api(parts)), taking


def _server(opened: Opened, app: Portcullis, taking: IntakeApp) -> ReadyServer:
    config = uvicorn.Config(
        app,
        http=quick(taking),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
        timeout_graceful_shutdown=GRACE_S,
    )
    return ReadyServer(config, opened.settings.home / "run" / "ready" / "api", app.end_streams)


if __name__ == "__main__":
    raise SystemExit(main())
