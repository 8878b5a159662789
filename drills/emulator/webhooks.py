"""Webhooks out: signed, delivered in the background, retried by the platform's rules, outcomes kept.

Rules (platform documentation): any 2xx is a delivery; no answer, 5xx, 408 and 429 are retried after the configured
gaps; any other answer is never retried. The body and its id stay the same over retries. Standard Webhooks 1.0.0
events carry a new timestamp and signature for each try under a constant id.
"""

import asyncio
import base64
import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from drills.emulator.clock import now_ms, now_s
from drills.emulator.keys import PlatformKeys, to_json
from drills.emulator.outbound import Message, Outbound
from drills.emulator.settings import WebhookTargets

PARALLEL = 16
OK_FIRST, OK_LAST, SERVER_ERROR = 200, 299, 500
RETRIED = frozenset({408, 429})
State = Literal["pending", "delivered", "refused", "failed"]
Sign = Callable[[bytes], Mapping[str, str]]


@dataclass(slots=True)
class Delivery:
    """One event to one target, with the status of each try (None: no answer) and when it was answered with 2xx."""

    id: str
    event_id: str
    event_type: str
    resource_id: str
    url: str
    body: bytes = field(repr=False)
    sign: Sign = field(repr=False)
    state: State = "pending"
    tries: list[int | None] = field(default_factory=list)
    delivered_at_ms: int | None = None


def standard_signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """The `v1` signature of Standard Webhooks 1.0.0."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Webhooks:
    """Makes, signs and delivers events to the configured targets."""

    def __init__(self, targets: WebhookTargets, keys: PlatformKeys, outbound: Outbound, ids: Mapping[str, str]) -> None:
        self._targets = targets
        self._keys = keys
        self._outbound = outbound
        self._ids = ids
        self._slots = asyncio.Semaphore(PARALLEL)
        self._tasks: set[asyncio.Task[None]] = set()
        self.deliveries: list[Delivery] = []

    def emit(self, event_type: str, resource_id: str, data: Mapping[str, object]) -> str:
        """Send a platform event to the v2 and v1 targets; returns the event id."""
        event_id, at_ms = str(uuid.uuid4()), now_ms()
        if self._targets.v2_url is not None:
            envelope = {
                "id": event_id,
                "resourceId": resource_id,
                "webhookId": self._ids["webhook_id"],
                "workspaceId": self._ids["workspace_id"],
                "eventType": event_type,
                "eventVersion": 1,
                "createdAt": at_ms,
                "data": data,
            }
            self._start(self._targets.v2_url, event_id, event_type, resource_id, to_json(envelope), self._sign_v2)
        if self._targets.v1_url is not None:
            name = {"transaction.created": "TRANSACTION_CREATED"}.get(event_type, "TRANSACTION_STATUS_UPDATED")
            old = {"type": name, "tenantId": self._ids["tenant_id"], "timestamp": at_ms, "data": data}
            self._start(self._targets.v1_url, event_id, name, resource_id, to_json(old), self._sign_v1)
        return event_id

    def emit_standard(self, activity: Mapping[str, object], resource_id: str) -> str | None:
        """Send an activity of our own wire schema to the standard target; returns the event id, None without a target."""
        url, secret = self._targets.standard_url, self._targets.standard_secret
        if url is None or secret is None:
            return None
        event_id = "msg_" + uuid.uuid4().hex

        def sign(body: bytes) -> Mapping[str, str]:
            timestamp = now_s()
            signature = standard_signature(secret, event_id, timestamp, body)
            return {"webhook-id": event_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}

        self._start(url, event_id, str(activity["type"]), resource_id, to_json(activity), sign)
        return event_id

    def _sign_v2(self, body: bytes) -> Mapping[str, str]:
        return {"Fireblocks-Webhook-Signature": self._keys.webhook.detached_jws(body), **self._sign_v1(body)}

    def _sign_v1(self, body: bytes) -> Mapping[str, str]:
        return {"Fireblocks-Signature": self._keys.webhook.sha512_signature(body)}

    def _start(self, url: str, event_id: str, event_type: str, resource_id: str, body: bytes, sign: Sign) -> None:
        delivery = Delivery(str(uuid.uuid4()), event_id, event_type, resource_id, url, body, sign)
        self.deliveries.append(delivery)
        self.resend(delivery)

    def resend(self, delivery: Delivery) -> None:
        """Try a delivery (again) from the first gap on."""
        delivery.state = "pending"
        task = asyncio.get_running_loop().create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery) -> None:
        for gap_s in [0.0, *self._targets.gaps_s]:
            await asyncio.sleep(gap_s)
            status = await self._try(delivery)
            delivery.tries.append(status)
            if status is not None and OK_FIRST <= status <= OK_LAST:
                delivery.state, delivery.delivered_at_ms = "delivered", now_ms()
                return
            if status is not None and status < SERVER_ERROR and status not in RETRIED:
                delivery.state = "refused"
                return
        delivery.state = "failed"

    async def _try(self, delivery: Delivery) -> int | None:
        headers = {"Content-Type": "application/json", **delivery.sign(delivery.body)}
        async with self._slots:
            message = Message(delivery.url, delivery.body, headers, self._targets.timeout_s)
            return (await self._outbound.post(message)).status

    async def close(self) -> None:
        """Stop all deliveries."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
