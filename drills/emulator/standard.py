"""The containment face of a `standard` platform: signed actions on the same ledger, idempotent by id.

Rules (Standard Webhooks 1.0.0): the signature is checked over the raw body before anything is parsed, in constant
time, with at most five minutes between the clocks; every fault of a header is one and the same refusal. The same id
again gives the first answer; the same id with another action is a conflict. A forgetful face is the platform that nobody
can rely on: it acts on every request anew and does not know what it did. Every request that arrived is kept with what it
did, so that whoever says "exactly once" can be checked against it.
"""

import base64
import binascii
import hmac
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from drills.emulator import evm
from drills.emulator.clock import now_s
from drills.emulator.custody import Custody
from drills.emulator.errors import EmulatorError, FieldError, NotFoundError, StateError, UnauthorizedError
from drills.emulator.records import STOPPED
from drills.emulator.webhooks import standard_signature
from drills.emulator.world import World

TOLERANCE_S = 300
MAX_SIGNATURES = 16
State = Literal["done", "pending", "refused", "unknown"]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Action(msgspec.Struct, frozen=True):
    """One containment request. `document` carries the approved action document, which this platform only keeps."""

    id: Text
    action: Literal["hold_outgoing", "release_outgoing", "cancel", "lock_destination", "revoke_credential"]
    account: Text
    transaction: Text | None = None
    destination: Text | None = None
    document: object = None


class Done(msgspec.Struct, frozen=True):
    """The answer to an action."""

    receipt: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One verified request. `acted`: it changed something here; a repetition that got the first answer did not."""

    id: str
    action: str
    account: str
    on: str
    """The transaction or destination that it names, if any."""
    at_ms: float
    acted: bool


class StandardFace:
    """Carries out actions."""

    def __init__(self, world: World, custody: Custody, secret: str | None, *, forgetful: bool = False) -> None:
        self._world = world
        self._custody = custody
        self._secret = secret
        self._forgetful = forgetful
        self.arrivals: list[Arrival] = []
        self._seen: dict[str, tuple[Action, Done]] = {}

    def act(self, body: bytes, headers: Mapping[str, str]) -> Done:
        """Verify, then carry out once; UnauthorizedError, FieldError, StateError."""
        self._verify(body, headers)
        try:
            action = msgspec.json.decode(body, type=Action)
        except msgspec.MsgspecError as error:
            raise FieldError(f"body: {error}") from None
        earlier = None if self._forgetful else self._seen.get(action.id)
        if earlier is not None and earlier[0] != action:
            raise StateError(f"id {action.id!r} was used for another action")
        on, at_ms = action.transaction or action.destination or "", time.time_ns() / 1e6
        self.arrivals.append(Arrival(action.id, action.action, action.account, on, at_ms, acted=earlier is None))
        if earlier is not None:
            return earlier[1]
        done = self._carry_out(action)
        self._seen[action.id] = (action, done)
        return done

    def status(self, action_id: str) -> State:
        """Return the state that an action has now, `unknown` where nobody remembers; NotFoundError."""
        if self._forgetful:
            return "unknown"
        found = self._seen.get(action_id)
        if found is None:
            raise NotFoundError(f"action {action_id!r} is not known")
        action, done = found
        return done.state if done.state == "refused" else self._now(action)

    def _verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        if self._secret is None:
            raise UnauthorizedError("no secret is configured for actions")
        message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        fresh = stamp.isascii() and stamp.isdigit() and len(stamp) <= len("9999999999")
        if not (message_id and fresh and abs(now_s() - int(stamp)) <= TOLERANCE_S):
            raise UnauthorizedError("the signature headers are missing, malformed or too old")
        expected = standard_signature(self._secret, message_id, int(stamp), body)
        offered = headers.get("webhook-signature", "").split(" ")[:MAX_SIGNATURES]
        if not any(_same(expected, text) for text in offered):
            raise UnauthorizedError("no signature matches")

    def _carry_out(self, action: Action) -> Done:
        receipt = f"rcpt-{uuid.uuid4()}"
        try:
            self._apply(action)
        except EmulatorError as refused:
            return Done(receipt, "refused", str(refused))
        return Done(receipt, self._now(action))

    def _apply(self, action: Action) -> None:
        account = self._world.ledger.account(action.account)
        match action.action:
            case "hold_outgoing":
                account.held = True
            case "release_outgoing":
                account.held = False
            case "cancel":
                transaction = _given(action.transaction, "transaction")
                if self._custody.find(transaction).status not in STOPPED:
                    self._custody.cancel(transaction)
            case "lock_destination":
                self._custody.block_destination(self._address(action))
            case "revoke_credential":
                self._world.revoked_api_keys.add(_given(action.destination or action.transaction, "destination"))
        self._world.log("standard-action", action.account, action.action)

    def _address(self, action: Action) -> str:
        chain = self._world.chain.chain_id
        return evm.to_caip10(evm.from_caip10(_given(action.destination, "destination")), chain)

    def _now(self, action: Action) -> State:
        account = self._world.ledger.account(action.account)
        match action.action:
            case "hold_outgoing":
                holds = account.held
            case "release_outgoing":
                holds = not account.held
            case "cancel":
                holds = self._custody.find(action.transaction or "").status in STOPPED
            case "lock_destination":
                holds = self._address(action) in self._world.locked_destinations
            case "revoke_credential":
                holds = (action.destination or action.transaction) in self._world.revoked_api_keys
        return "done" if holds else "pending"


def _given(value: str | None, name: str) -> str:
    if value is None:
        raise FieldError(f"{name}: this action needs it")
    return value


def _same(expected: str, offered: str) -> bool:
    version, _, encoded = offered.partition(",")
    if version != "v1":
        return False
    try:
        given = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, base64.b64decode(expected.removeprefix("v1,")))
