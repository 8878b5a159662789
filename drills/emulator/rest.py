"""The REST interface under /v1: authenticate, honour the idempotency key, dispatch, answer in the platform's error shape."""

import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from drills.emulator import api_internal_wallets, api_transactions, api_vault, api_workspace
from drills.emulator.emulator import Emulator, Running
from drills.emulator.errors import EmulatorError, TooLargeError
from drills.emulator.idempotency import digest_of
from drills.emulator.keys import to_json
from drills.emulator.reply import Call, Reply

MAX_BODY_BYTES = 1024 * 1024
Handler = Callable[[Running, Call], Reply | Awaitable[Reply]]
_log = logging.getLogger(__name__)

ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/supported_assets", api_vault.list_supported_assets),
    ("GET", "/vault/accounts_paged", api_vault.list_accounts),
    ("POST", "/vault/accounts", api_vault.create_account),
    ("GET", "/vault/accounts/{account}", api_vault.get_account),
    ("POST", "/vault/accounts/{account}/hide", api_vault.hide),
    ("POST", "/vault/accounts/{account}/unhide", api_vault.unhide),
    ("GET", "/vault/accounts/{account}/{asset}", api_vault.get_asset),
    ("POST", "/vault/accounts/{account}/{asset}", api_vault.create_asset),
    ("GET", "/vault/accounts/{account}/{asset}/addresses_paginated", api_vault.list_addresses),
    ("GET", "/transactions", api_transactions.listing),
    ("POST", "/transactions", api_transactions.create),
    ("GET", "/transactions/external_tx_id/{external}", api_transactions.get_by_external_id),
    ("GET", "/transactions/{tx}", api_transactions.get),
    ("POST", "/transactions/{tx}/cancel", api_transactions.cancel),
    ("POST", "/transactions/{tx}/drop", api_transactions.drop),
    ("POST", "/transactions/{tx}/freeze", api_transactions.freeze),
    ("POST", "/transactions/{tx}/unfreeze", api_transactions.freeze),
    ("GET", "/workspace", api_workspace.get_workspace),
    ("POST", "/workspace/freeze", api_workspace.freeze),
    ("GET", "/management/workspace_status", api_workspace.get_status),
    ("GET", "/management/ota", api_workspace.get_ota),
    ("PUT", "/management/ota", api_workspace.put_ota),
    ("GET", "/management/users", api_workspace.list_users),
    ("GET", "/management/audit_logs", api_workspace.list_audit),
    ("GET", "/external_wallets", api_workspace.list_wallets),
    ("POST", "/external_wallets", api_workspace.create_wallet),
    ("GET", "/external_wallets/{wallet}", api_workspace.get_wallet),
    ("DELETE", "/external_wallets/{wallet}", api_workspace.delete_wallet),
    ("POST", "/external_wallets/{wallet}/{asset}", api_workspace.add_address),
    ("DELETE", "/external_wallets/{wallet}/{asset}", api_workspace.delete_wallet_asset),
    ("GET", "/internal_wallets", api_internal_wallets.listing),
    ("POST", "/internal_wallets", api_internal_wallets.create),
    ("GET", "/internal_wallets/{wallet}", api_internal_wallets.get),
    ("DELETE", "/internal_wallets/{wallet}", api_internal_wallets.delete),
    ("GET", "/internal_wallets/{wallet}/{asset}", api_internal_wallets.get_asset),
    ("POST", "/internal_wallets/{wallet}/{asset}", api_internal_wallets.add_asset),
    ("DELETE", "/internal_wallets/{wallet}/{asset}", api_internal_wallets.delete_asset),
]


def routes(emulator: Emulator) -> list[Route]:
    """Return all routes of the interface."""
    return [Route("/v1" + path, _endpoint(emulator, handler), methods=[method]) for method, path, handler in ROUTES]


def _endpoint(emulator: Emulator, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            reply = await _serve(emulator, handler, request)
        except EmulatorError as refused:
            _log.info("refused %s %s: %s", request.method, request.url.path, refused)
            reply = Reply(refused.status, {"message": str(refused), "code": refused.number})
        return respond(reply)

    return endpoint


async def _serve(emulator: Emulator, handler: Handler, request: Request) -> Reply:
    running = emulator.running()
    body = await read_body(request)
    uri = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    headers = request.headers
    api_key = running.authenticator.check(headers.get("X-API-Key", ""), headers.get("Authorization", ""), uri, body)
    key = headers.get("Idempotency-Key", "") if request.method in {"POST", "PUT"} else ""
    digest = digest_of(request.method, uri, body)
    earlier = running.idempotency.earlier(api_key, key, digest) if key else None
    if earlier is not None:
        return earlier
    base_url = f"{request.url.scheme}://{request.url.netloc}"
    call = Call(request.path_params, dict(request.query_params), body, base_url, api_key)
    reply = await _answer(handler, running, call)
    if key:
        running.idempotency.keep(api_key, key, digest, reply)
    return reply


async def _answer(handler: Handler, running: Running, call: Call) -> Reply:
    """Run a handler; a refusal is an answer like any other, so that an idempotent retry is refused alike."""
    try:
        result = handler(running, call)
        return await result if inspect.isawaitable(result) else result
    except EmulatorError as refused:
        return Reply(refused.status, {"message": str(refused), "code": refused.number})


async def read_body(request: Request) -> bytes:
    """Read a body up to the limit; TooLargeError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def respond(reply: Reply) -> Response:
    """Turn a reply into a response with a request id."""
    headers = {"X-Request-ID": str(uuid.uuid4()), **reply.headers}
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    return Response(to_json(reply.body), reply.status, headers, "application/json")
