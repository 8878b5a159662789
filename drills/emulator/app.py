"""The emulator's ASGI application: REST, chain, standard face, key set, control."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from drills.emulator import control, rest, rpc
from drills.emulator.emulator import Emulator
from drills.emulator.errors import EmulatorError
from drills.emulator.fault_injection import FaultInjection
from drills.emulator.recorder import Recorder
from drills.emulator.reply import Reply, ok
from drills.emulator.rest import read_body, respond

Serve = Callable[[Emulator, Request], Awaitable[object]]


def create(emulator: Emulator, record: Path | None = None) -> ASGIApp:
    """Return the application; with `record`, every exchange under /v1 is appended to that file."""
    others = [
        Route("/.well-known/jwks.json", _endpoint(emulator, _jwks), methods=["GET"]),
        Route("/chain/rpc", _endpoint(emulator, _chain), methods=["POST"]),
        Route("/standard/action", _endpoint(emulator, _action), methods=["POST"]),
        Route("/standard/status/{id}", _endpoint(emulator, _status), methods=["GET"]),
        Route("/forgetful/action", _endpoint(emulator, _forgetful_action), methods=["POST"]),
        Route("/forgetful/status/{id}", _endpoint(emulator, _forgetful_status), methods=["GET"]),
    ]
    app: ASGIApp = Starlette(routes=[*rest.routes(emulator), *control.routes(emulator), *others])
    if record is not None:
        app = Recorder(app, record)
    return FaultInjection(app, emulator.faults)


def _endpoint(emulator: Emulator, serve: Serve) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return respond(ok(await serve(emulator, request)))
        except EmulatorError as refused:
            return respond(Reply(refused.status, {"code": refused.code, "message": str(refused)}))

    return endpoint


async def _jwks(emulator: Emulator, _request: Request) -> object:
    return {"keys": [emulator.keys.webhook.jwk()]}


async def _chain(emulator: Emulator, request: Request) -> object:
    return rpc.handle(emulator.running().world.chain, await read_body(request))


async def _action(emulator: Emulator, request: Request) -> object:
    return emulator.running().standard.act(await read_body(request), request.headers)


async def _status(emulator: Emulator, request: Request) -> object:
    return {"state": emulator.running().standard.status(request.path_params["id"])}


async def _forgetful_action(emulator: Emulator, request: Request) -> object:
    return emulator.running().forgetful.act(await read_body(request), request.headers)


async def _forgetful_status(emulator: Emulator, request: Request) -> object:
    return {"state": emulator.running().forgetful.status(request.path_params["id"])}
