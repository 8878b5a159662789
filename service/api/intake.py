"""The hot path as a bare ASGI app beside FastAPI: webhooks, batches, decisions, co-signer callbacks.

Rules: the raw bytes are verified before anything is parsed; the answer comes after the commit. What the sender did wrong
is a 4xx, which platforms never send again; whatever is our own fault is a 503 with Retry-After (design D3, D9). Verified
deliveries, lines and questions count against a connection's rate, and nothing else does (`senders.py`).
"""

import asyncio
import hashlib
import time
from typing import Final

import msgspec

from service.api.auth import Authenticator
from service.api.batches import Batches
from service.api.connections import Connections, OpenConnection
from service.api.doors import Doors
from service.api.failures import address_of, counted_by
from service.api.plain import PlainRequest
from service.api.raw import (
    ClientGoneError,
    Receive,
    Scope,
    Send,
    answer,
    answer_problem,
    headers_of,
    read_body,
    trace_id,
)
from service.api.senders import Senders
from service.domain.activity import Activity, Received
from service.domain.errors import NotFoundError, PortcullisError
from service.domain.ids import ActivityId, new_id
from service.domain.intake import Item, Outcome
from service.domain.wire import MAX_BODY_BYTES
from service.flow.gate import Gate
from service.flow.intake.batcher import Intake
from service.flow.intake.waiting import Settle
from service.ports.clock import Clock
from service.ports.custody import Delivery
from service.ports.gate import Signer

WEBHOOKS: Final = "/webhooks/"
COSIGNER: Final = "/cosigner/"
ACTIVITIES: Final = "/v1/activities"
DECISIONS: Final = "/v1/decisions"

_ENCODER: Final = msgspec.json.Encoder()


class MethodError(PortcullisError):
    """The path is there, for another method."""

    code = "method_not_allowed"


class IntakeApp:
    """Mount it before FastAPI's router for every path that `handles` says."""

    def __init__(
        self,
        connections: Connections,
        intake: Intake,
        gate: Gate,
        authenticator: Authenticator,
        signer: Signer,
        clock: Clock,
    ) -> None:
        self._connections = connections
        self._intake = intake
        self._clock = clock
        self._batches = Batches(intake, connections, authenticator, clock)
        self._senders = Senders()
        self._doors = Doors(connections, gate, authenticator, signer, self._senders)

    @staticmethod
    def handles(method: str, path: str) -> bool:
        """Say whether a request is for this app; GET /v1/activities is not."""
        return path.startswith((WEBHOOKS, COSIGNER)) or (method == "POST" and path in {ACTIVITIES, DECISIONS})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        try:
            await self._route(scope, receive, send)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  every error becomes a problem, in the one place that knows how
            await answer_problem(send, error)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["method"] != "POST":
            raise MethodError("send this with POST")
        if path.startswith(WEBHOOKS):
            await self._webhook(path.removeprefix(WEBHOOKS), scope, receive, send)
        elif path.startswith(COSIGNER):
            await self._doors.callback(path.removeprefix(COSIGNER), scope, receive, send)
        elif path == ACTIVITIES:
            await self._batches.take(scope, receive, send)
        elif path == DECISIONS:
            await self._doors.decision(scope, receive, send)
        else:
            raise NotFoundError("there is nothing here")

    def take_plain(self, request: PlainRequest, client: str, trace_id: str, settle: Settle) -> bool:
        """Take a webhook at once; see `quick.Taker`."""
        connection = self._connections.opened(request.name)
        if connection is None:
            return False
        client = counted_by(client) if client else ""
        self._senders.admit(connection, client)
        now_s = time.time()
        with self._senders.verifying(connection, client) as verifying:
            if connection.receiver.prepare(request.headers, now_s=now_s) is not None:
                verifying.put_off()
                return False
            delivery = connection.receiver.receive(request.headers, request.body, now_s=now_s)
        self._intake.take(Item(self._received(connection, delivery, request.body), trace_id=trace_id), settle)
        return True

    @staticmethod
    def answer_to(outcome: Outcome) -> bytes:
        """Return the JSON that tells an outcome."""
        return _ENCODER.encode({"activity_id": outcome.activity_id, "status": outcome.status})

    async def _webhook(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        connection = await self._connections.get(name)
        client = address_of(scope)
        self._senders.admit(connection, client)
        headers = headers_of(scope)
        body = await read_body(scope, receive, MAX_BODY_BYTES, headers=headers)
        with self._senders.verifying(connection, client):
            now_s = time.time()
            fetch = connection.receiver.prepare(headers, now_s=now_s)
            if fetch is not None:
                await asyncio.to_thread(fetch)
            delivery = connection.receiver.receive(headers, body, now_s=now_s)
        outcome = await self._intake.submit(Item(self._received(connection, delivery, body), trace_id=trace_id(scope)))
        await answer(send, self.answer_to(outcome))

    def _received(self, connection: OpenConnection, delivery: Delivery, body: bytes) -> Received:
        now = self._clock.now()
        activity = delivery.activity or Activity(
            connection=connection.config.id,
            event_id=delivery.event_id,
            kind=f"other.{delivery.event_type}",
            occurred_at=now,
        )
        return Received(
            activity_id=ActivityId(new_id("act")),
            received_at=now,
            body_digest=hashlib.sha256(body if delivery.facts is None else delivery.facts).digest(),
            raw=body,
            activity=activity,
        )
