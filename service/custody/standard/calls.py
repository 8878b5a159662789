"""Containment at a `standard` platform: signed actions to its `action_url`, verified at `status_url`/{id}.

We POST {id, action, account, transaction?, destination?} signed as Standard Webhooks 1.0.0 (a credential goes as
destination), with the step's
idempotency key as id: the same id never acts twice. The platform answers {receipt, state: done | pending | refused}, and
GET status_url/{id} → {state} settles what happened when an answer was lost. What it has no action for is missing.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

import httpx

from service.custody.base import LackingCalls, calls_setting, cannot_tell, paced_client, rate_of, require_url, send
from service.custody.standard.webhooks import symmetric_key
from service.domain.account import AccountRef
from service.domain.errors import (
    InputError,
    MissingCapabilityError,
    PortcullisError,
    RefusedByOtherSideError,
    UnknownOutcomeError,
)
from service.domain.plan import Receipt, Verdict
from service.ports.custody import Capability, ConnectionConfig, GateHolds, PendingTransfer, Setting, SignHere

CALLS_PER_S: Final = 50.0
"""Calls a second where the connection tells no other rate."""
ACTION_SECRET: Final = "action_secret"  # noqa: S105  its name, not its value
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  Standard Webhooks marks secrets so

CAPABILITIES: Final = frozenset(
    {
        Capability.HOLD_OUTGOING,
        Capability.CANCEL_PENDING,
        Capability.LOCK_DESTINATION,
        Capability.REVOKE_CREDENTIAL,
    }
)
MISSING: Final[Mapping[Capability, str]] = {
    Capability.DROP_BROADCAST: (
        "a standard platform has no drop_broadcast: replace the transaction by one of its nonce by hand"
    ),
    Capability.FORBID_ONE_TIME_ADDRESSES: (
        "a standard platform has no forbid_one_time_addresses: switch one-time addresses off in its own console"
    ),
    Capability.FREEZE_WORKSPACE: "a standard platform has no freeze_workspace: ask its operator to stop it",
    Capability.FREEZE_ACCOUNT: "a standard platform has no freeze_account: suspend_withdrawals holds the account",
    Capability.PUBLISH_ADDRESS: (
        "a standard platform has no publish_address: enter the new address in its own console and tell who pays in"
    ),
    Capability.REJECT_CHANGES: "a standard platform has no reject_changes: reject pending changes in its own console",
}
SETTINGS: Final = (
    calls_setting(CALLS_PER_S),
    Setting("action_url", required=False, secret=False, opened_by="", help="where containment actions are sent"),
    Setting(
        "status_url", required=False, secret=False, opened_by="", help="asked as status_url/{id} for an action's state"
    ),
    Setting(
        ACTION_SECRET,
        required=False,
        secret=True,
        opened_by="containment",
        help="whsec_…: signs our actions",
        check=symmetric_key,
    ),
)

_VERDICTS: Final = {"done": Verdict.HOLDS, "pending": Verdict.DOES_NOT_HOLD, "refused": Verdict.DOES_NOT_HOLD}


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting: both URLs or none, https unless on this machine."""
    rate_of(settings, CALLS_PER_S)
    given = [name for name in ("action_url", "status_url") if settings.get(name)]
    if len(given) == 1:
        other = "status_url" if given[0] == "action_url" else "action_url"
        raise InputError(f"{other} is missing: an action that cannot be verified is not sent", field=other)
    for name in given:
        require_url(name, settings[name])


class StandardCalls(LackingCalls):
    """Implements `ports.custody.ContainmentCalls` for one connection."""

    def __init__(self, config: ConnectionConfig, holds: GateHolds, client: httpx.Client | None = None) -> None:
        super().__init__(config, MISSING)
        self._holds = holds
        self._client = client or paced_client(config, CALLS_PER_S)

    def close(self) -> None:
        """Close the line to the platform."""
        self._client.close()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Nothing at all where the connection names no place for actions."""
        return CAPABILITIES if self._config.settings.get("action_url") else frozenset()

    def _out_of_reach(self, capability: Capability) -> str:
        return f"connection {self._config.id} has no action_url, so no {capability.value}: act in the platform's own console"

    def settled(self, key: str) -> Verdict:
        """See the port; an id the platform never heard of did not happen."""
        request = self._client.build_request("GET", f"{self._config.settings['status_url']}/{quote(key, safe='')}")
        try:
            state = _object(send(self._client, request)).get("state")
        except RefusedByOtherSideError as error:
            return Verdict.DOES_NOT_HOLD if " 404 " in str(error) else Verdict.CANNOT_TELL
        except PortcullisError as error:
            return cannot_tell(error)
        return _VERDICTS.get(str(state), Verdict.CANNOT_TELL)

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        """See the port."""
        return self._act("hold_outgoing", key, account.ref)

    def release_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        """See the port."""
        return self._act("release_outgoing", key, account.ref)

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """See the port; a standard platform has no list, so it is what its webhooks told."""
        yield from self._holds.known_pending(account)

    def cancel(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:
        """See the port."""
        return self._act("cancel", key, account.ref, transaction=transaction)

    def lock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:
        """See the port."""
        return self._act("lock_destination", key, self._named(account), destination=destination)

    def unlock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:  # noqa: ARG002  no such action
        """See the port; there is no such action."""
        raise MissingCapabilityError(
            f"a standard platform has no unlock_destination: unlock {destination} in its own console"
        )

    def revoke_credential(self, account: AccountRef | None, actor: str, *, key: str) -> Receipt:
        """See the port."""
        return self._act("revoke_credential", key, self._named(account), destination=actor)

    def _named(self, account: AccountRef | None) -> str:
        if account is None:
            raise MissingCapabilityError(f"connection {self._config.id} has no registered account to name: act by hand")
        return account.ref

    def _act(self, action: str, key: str, account: str, **on: str) -> Receipt:
        if not self._config.settings.get("action_url"):
            raise MissingCapabilityError(
                f"connection {self._config.id} has no action_url: act in the platform's own console"
            )
        body = json.dumps({"id": key, "action": action, "account": account, **on}, separators=(",", ":")).encode()
        request = self._client.build_request(
            "POST",
            self._config.settings["action_url"],
            content=body,
            headers={"Content-Type": "application/json", **self._signature(key, body)},
        )
        told = _object(send(self._client, request))
        if told.get("state") == "refused":
            raise RefusedByOtherSideError(f"the platform refused {action}")
        if told.get("state") not in {"done", "pending"}:
            raise UnknownOutcomeError(f"the platform answered {action} with a state we do not know")
        return Receipt(str(told.get("receipt", key))[:200], {"state": str(told["state"])})

    def _signature(self, key: str, body: bytes) -> dict[str, str]:
        secret = base64.b64decode(self._config.secret(ACTION_SECRET).decode().removeprefix(SECRET_PREFIX))
        at = str(int(time.time()))
        mac = hmac.new(secret, b".".join((key.encode(), at.encode(), body)), hashlib.sha256).digest()
        return {"webhook-id": key, "webhook-timestamp": at, "webhook-signature": f"v1,{base64.b64encode(mac).decode()}"}


def _object(answer: httpx.Response) -> Mapping[str, object]:
    try:
        told = answer.json()
    except ValueError as error:
        raise UnknownOutcomeError("the platform's answer is not JSON: it may or may not have happened") from error
    if not isinstance(told, dict):
        raise UnknownOutcomeError("the platform's answer is not an object: it may or may not have happened")
    return told


def calls(config: ConnectionConfig, sign: SignHere | None, holds: GateHolds) -> StandardCalls:  # noqa: ARG001  no API key
    """Return the calls of one connection; goes into the platform's declaration."""
    return StandardCalls(config, holds)
