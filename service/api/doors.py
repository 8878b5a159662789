"""Who asks before signing: `POST /v1/decisions`, and platforms at `/cosigner/{connection}/…`, each in its own form.

Rules: a callback is answered within 28 seconds, in the platform's form, whatever happens to us; a fault of ours is a hold,
a database that is away included: the connection as it was last known still verifies and signs, and decides nothing. Only
when signing itself fails is there a 503, which platforms take as a refusal. Without a verified question there is nothing to
answer: 401, 404, 422 or 503. Every question is charged to its connection's rate: 429 beyond it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec

from service.api.auth import Authenticator
from service.api.batches import ingest_principal
from service.api.connections import Connections, OpenConnection
from service.api.failures import address_of
from service.api.problems import STATUS
from service.api.raw import Receive, Scope, Send, answer, answer_json, headers_of, read_body
from service.api.senders import Senders
from service.domain.errors import (
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    PortcullisError,
    UnavailableError,
)
from service.domain.gate import HOLD_RETRY_S, GateAnswer, GateCall, GateQuestion, GateReply
from service.domain.ids import ConnectionId
from service.domain.intake import GATE_PREFIX, GateDecision
from service.domain.transactions import GIVEN_UP
from service.domain.wire import MAX_BODY_BYTES, WireActivity, check_event_id, decoded, parse_wire, to_activity
from service.flow.gate import Gate
from service.ports.gate import GateDoor, Signer

DEADLINE_SETTING: Final = "gate_deadline_s"
DEFAULT_DEADLINE_S: Final = 20.0
_LATEST_S: Final = 25.0
_LOOK_UP_S: Final = 5.0
"""How long the connection is looked up before it is taken as last known."""
_ANSWERED_BY_S: Final = 28.0
"""Of the platform's 30: what is left after deciding is for signing, where many answers may wait for the token."""
_ANSWERED: Final = 200
_AWAY: Final = GateAnswer(GateDecision.HOLD, "held: the gate cannot look anything up now, ask again")


class Doors:
    """Takes questions."""

    def __init__(
        self, connections: Connections, gate: Gate, authenticator: Authenticator, signer: Signer, senders: Senders
    ) -> None:
        self._connections = connections
        self._gate = gate
        self._authenticator = authenticator
        self._signer = signer
        self._senders = senders
        self._looking: dict[str, asyncio.Task[OpenConnection]] = {}

    async def callback(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a platform's question; `rest` is `{connection}/…`."""
        began = time.monotonic()
        name, _, path = rest.partition("/")
        connection, current = await self._connection(name)
        if connection.door is None:
            raise NotFoundError("this connection's platform does not ask before it signs")
        client = address_of(scope)
        self._senders.admit(connection, client)
        headers = headers_of(scope)
        call = GateCall(path, headers, await read_body(scope, receive, MAX_BODY_BYTES, headers=headers), time.time())
        with self._senders.verifying(connection, client):
            question = connection.door.question(call)
        left = _deadline(connection) - (time.monotonic() - began)
        answered = await self._decided(question, max(0.0, left)) if current else _AWAY
        async with _in_time(_ANSWERED_BY_S - (time.monotonic() - began)):
            reply = await self._reply(connection.door, call, question, answered)
        status = STATUS[ForbiddenError.code] if reply.refuses else _ANSWERED
        await answer(send, reply.body, reply.content_type, status=status)

    async def _connection(self, name: str) -> tuple[OpenConnection, bool]:
        """Return a connection, and whether the database told it just now."""
        if (found := self._connections.opened(name)) is not None:
            return found, True
        if self._connections.last_known(name) is None:
            return await self._connections.get(name), True
        looking = self._look_up(name)
        await asyncio.wait({looking}, timeout=_LOOK_UP_S)
        try:
            if looking.done():
                return looking.result(), True
        except UnavailableError:
            pass  # what was known before is enough for a hold
        known = self._connections.last_known(name)
        if known is None:  # paused meanwhile
            raise UnavailableError("this connection takes no questions now", retry_after_s=_LOOK_UP_S)
        return known, False

    def _look_up(self, name: str) -> "asyncio.Task[OpenConnection]":
        """Begin to look a connection up, once for all who ask meanwhile.

        Nobody cancels it: the driver ends a cancelled query only when the server says so, and one that hangs says nothing.
        """
        going_on = self._looking.get(name)
        if going_on is None:
            going_on = asyncio.get_running_loop().create_task(self._connections.get(name))
            self._looking[name] = going_on
            going_on.add_done_callback(partial(self._looked_up, name))
        return going_on

    def _looked_up(self, name: str, task: "asyncio.Task[OpenConnection]") -> None:
        del self._looking[name]
        if not task.cancelled():
            task.exception()

    async def decision(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `POST /v1/decisions`."""
        principal = await ingest_principal(self._authenticator, scope)
        connection = await self._connections.get(principal.connection_id or "")
        body = await read_body(scope, receive, MAX_BODY_BYTES)
        connection.bucket.take()
        wire = parse_wire(body)
        if wire.id is None or wire.deadline_ms is None:
            missing = "id" if wire.id is None else "deadline_ms"
            raise InputError(f"{missing} is required", field=missing)
        question = _question(wire, connection.config.id, wire.id, body)
        answered = await self._gate.decide(question, deadline_s=wire.deadline_ms / 1000)
        judged = answered.judged
        await answer_json(
            send,
            {
                "decision_id": answered.decision_id,
                "decision": answered.decision,
                "score": None if judged is None else judged.score,
                "p_value": None if judged is None else judged.p_value,
                "reasons": [] if judged is None else msgspec.Raw(judged.reasons.encode()),
                "retry_after_s": HOLD_RETRY_S if answered.decision is GateDecision.HOLD else None,
            },
        )

    async def _decided(self, question: GateQuestion, deadline_s: float) -> GateAnswer:
        try:
            return await self._gate.decide(question, deadline_s=deadline_s)
        except ConflictError:
            return GateAnswer(GateDecision.HOLD, "held: this request id was asked with other facts")

    async def _reply(self, door: GateDoor, call: GateCall, question: GateQuestion, answered: GateAnswer) -> GateReply:
        try:
            return await asyncio.to_thread(door.answer, call, question, answered, self._signer)
        except PortcullisError:
            raise
        except Exception as error:
            raise UnavailableError("the answer could not be signed", retry_after_s=5) from error


@asynccontextmanager
async def _in_time(left_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(left_s):
            yield
    except TimeoutError as error:
        raise UnavailableError("the answer could not be signed in time", retry_after_s=5) from error


def _question(wire: WireActivity, connection: ConnectionId, request_id: str, body: bytes) -> GateQuestion:
    told = check_event_id(request_id, "id")
    if wire.type.partition(".")[2] in GIVEN_UP:
        raise InputError(f"type {wire.type} asks for no decision: send it as an activity", field="type")
    bytes_told = decoded(wire)
    activity = to_activity(wire, connection, GATE_PREFIX + told)
    if bytes_told.signing is not None:
        activity = msgspec.structs.replace(activity, signing=bytes_told.signing)
    return GateQuestion(
        request_id=told,
        activity=activity,
        facts=body,
        payload_digest=bytes_told.payload_digest,
        doubt=bytes_told.doubt,
    )


def _deadline(connection: OpenConnection) -> float:
    text = connection.config.settings.get(DEADLINE_SETTING, "")
    try:
        return min(max(float(text), 0.1), _LATEST_S) if text else DEFAULT_DEADLINE_S
    except ValueError as error:
        raise ConfigurationError(f"{DEADLINE_SETTING} must be a number of seconds", field=DEADLINE_SETTING) from error
