"""Containment at BitGo: pending payments and changes rejected, wallets frozen for a time, and holds of our own gate.

Rules: suspending a wallet *means* that our policy webhook answers anything but 200 for it, because BitGo's own freeze cannot
be lifted before it expires and so is an action of its own, under a quorum. Rejecting a pending approval cancels what waits
for it, a payment or a change of policy, users or approvals. BitGo takes no idempotency key: what was done is looked up at
BitGo before it is done again.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

import httpx
import msgspec

from service.custody.base import GateHeldCalls, calls_setting, cannot_tell, rate_of, require_url
from service.custody.bitgo.api import BASE, CALLS_PER_S, TOKEN, BitgoApi
from service.custody.bitgo.wallets import ENTERPRISE, WALLETS, read_enterprise, read_wallets
from service.domain.account import AccountRef
from service.domain.errors import (
    ConfigurationError,
    InputError,
    MissingCapabilityError,
    PortcullisError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.plan import Receipt, Verdict
from service.ports.custody import (
    Capability,
    ConnectionConfig,
    GateHolds,
    PendingChange,
    PendingTransfer,
    Setting,
    SignHere,
)


def check_token(token: bytes, name: str) -> None:
    """Raise ConfigurationError naming a token that cannot be one."""
    if not 32 <= len(token) <= 500 or not token.isascii() or not token.isalnum():  # noqa: PLR2004  far beyond BitGo's 67
        raise ConfigurationError(f"{name} is not a BitGo access token: letters and digits", field=name)


CAPABILITIES: Final = frozenset(
    {
        Capability.HOLD_OUTGOING,
        Capability.CANCEL_PENDING,
        Capability.LOCK_DESTINATION,
        Capability.FREEZE_ACCOUNT,
        Capability.REJECT_CHANGES,
    }
)
MISSING: Final[Mapping[Capability, str]] = {
    Capability.DROP_BROADCAST: (
        "BitGo has no call that we know for drop_broadcast: ask its support to replace the transaction by one of its nonce"
    ),
    Capability.REVOKE_CREDENTIAL: (
        "BitGo has no call that we know for revoke_credential: in its console, an admin removes the user from the wallets "
        "or revokes the access token"
    ),
    Capability.FORBID_ONE_TIME_ADDRESSES: (
        "BitGo has no switch for forbid_one_time_addresses: put a whitelist rule on the wallet's policy in its console"
    ),
    Capability.FREEZE_WORKSPACE: (
        "BitGo has no freeze_workspace: freeze each wallet (freeze_account), or ask its support to stop the enterprise"
    ),
    Capability.PUBLISH_ADDRESS: (
        "BitGo makes a wallet's addresses itself, so no publish_address: enter an outside address in its whitelist by hand"
    ),
}
SETTINGS: Final = (
    calls_setting(CALLS_PER_S),
    Setting(BASE, required=False, secret=False, opened_by="", help="such as https://app.bitgo.com"),
    Setting(WALLETS, required=False, secret=False, opened_by="", help='JSON: {"<wallet id>": "<coin>"}'),
    Setting(ENTERPRISE, required=False, secret=False, opened_by="", help="id of the enterprise: its own changes, too"),
    Setting(
        TOKEN, required=False, secret=True, opened_by="containment", help="a long-lived access token", check=check_token
    ),
)
_PENDING: Final = frozenset(
    {
        *("pending", "awaitingSignature", "pendingBitGoAdminApproval", "pendingIdVerification"),
        *("pendingCustodianApproval", "pendingFinalApproval", "pendingCryptographicApproval", "pendingVideoApproval"),
    }
)
_TRANSFERS: Final = frozenset({"transactionRequest", "transactionRequestFull"})
_CHANGES: Final = frozenset({"policyRuleRequest", "userChangeRequest", "updateApprovalsRequiredRequest"})
_KNOWN: Final = _PENDING | {"approved", "processing", "rejected"}
MOST_ASKED: Final = 50
"""Wallets of a connection that are asked for pending changes: each is a question, and all must fit into one job."""
_MAX_PAGES: Final = 20
_PAGE: Final = 100
_SEPARATOR: Final = "/"
T = TypeVar("T")


class Recipient(msgspec.Struct, frozen=True):
    """Who is paid."""

    address: str = ""


class TransactionRequest(msgspec.Struct, frozen=True):
    """What a pending approval would send, as far as we read it."""

    recipients: tuple[Recipient, ...] = ()


class Info(msgspec.Struct, frozen=True, rename={"transaction_request": "transactionRequest"}):
    """What a pending approval is about."""

    type: str = ""
    transaction_request: TransactionRequest | None = None


class PendingApproval(msgspec.Struct, frozen=True):
    """One pending approval."""

    id: str
    state: str
    info: Info = Info()


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """One page of them."""

    pending_approvals: tuple[PendingApproval, ...]
    next_batch_prev_id: str | None = None


class Freeze(msgspec.Struct, frozen=True):
    """How long a wallet stays frozen."""

    expires: datetime | None = None


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting."""
    rate_of(settings, CALLS_PER_S)
    read_wallets(settings)
    read_enterprise(settings)
    if settings.get(BASE):
        require_url(BASE, settings[BASE])
        if not settings.get(WALLETS):
            raise InputError(f"{WALLETS} is missing: BitGo's paths need the coin of each wallet", field=WALLETS)


class BitgoCalls(GateHeldCalls):
    """Implements `ports.custody.ContainmentCalls` for one enterprise."""

    def __init__(self, config: ConnectionConfig, holds: GateHolds, client: httpx.Client | None = None) -> None:
        super().__init__(config, holds, MISSING)
        self._wallets = read_wallets(config.settings)
        self._enterprise = read_enterprise(config.settings)
        self._api = BitgoApi(config, client)

    def close(self) -> None:
        """Close the line to the platform."""
        self._api.close()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Without API access only what our own gate does; changes of so many wallets only as one job can ask."""
        ours = {Capability.HOLD_OUTGOING, Capability.LOCK_DESTINATION}
        if not self._api.reachable:
            return frozenset(ours)
        return CAPABILITIES - ({Capability.REJECT_CHANGES} if len(self._wallets) > MOST_ASKED else set())

    def _out_of_reach(self, capability: Capability) -> str:
        if self._api.reachable:
            return (
                f"connection {self._config.id} names more than {MOST_ASKED} wallets, too many for {capability.value}: "
                "reject pending changes in BitGo's console, or register the wallets as several connections"
            )
        return (
            f"connection {self._config.id} has no API access, so no {capability.value}: do it in BitGo's console, and "
            f"register {BASE}, {WALLETS} and {TOKEN}"
        )

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """See the port; changes of users and policy wait for approval too and are nobody's transfer."""
        coin = self._coin(account.ref)
        for one in self._waiting(coin, {"walletId": account.ref}, _TRANSFERS):
            yield _transfer(coin, one, account.ref)

    def cancel(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:  # noqa: ARG002  known by its id
        """See the port; a rejected approval stays rejected, so a second time changes nothing."""
        return self._reject(transaction)

    def cancelled(self, transaction: str) -> Verdict:
        """See the port."""
        return self._rejected(transaction)

    def pending_changes(self) -> Iterator[PendingChange]:
        """See the port: those of each wallet, and of the enterprise where it is told, each once."""
        seen: set[str] = set()
        refused: list[str] = []
        failed: list[UnavailableError] = []
        asked = [(coin, {"walletId": wallet}) for wallet, coin in self._wallets.items()]
        if self._enterprise:
            asked += [(coin, {"enterprise": self._enterprise}) for coin in sorted(set(self._wallets.values()))]
        for coin, whose in asked:
            try:
                for one in self._waiting(coin, whose, _CHANGES):
                    if one.id not in seen:
                        seen.add(one.id)
                        yield PendingChange(f"{coin}{_SEPARATOR}{one.id}", one.info.type, one.state)
            except RefusedByOtherSideError:
                refused += [f"{name} {value}" for name, value in whose.items()]
            except UnavailableError as error:  # the next one may answer
                failed.append(error)
        if failed:
            raise failed[0]
        if refused:
            raise RefusedByOtherSideError(f"BitGo does not show the pending changes of {', '.join(refused)}")

    def reject_change(self, change: str, *, key: str) -> Receipt:  # noqa: ARG002  known by its id
        """See the port; a rejected approval stays rejected, so a second time changes nothing."""
        return self._reject(change)

    def change_rejected(self, change: str) -> Verdict:
        """See the port."""
        return self._rejected(change)

    def _waiting(self, coin: str, whose: Mapping[str, str], kinds: frozenset[str]) -> Iterator[PendingApproval]:
        """Yield the approvals of these kinds that nobody has decided."""
        query = {**whose, "limit": str(_PAGE)}
        for _ in range(_MAX_PAGES):
            page = _read(self._api.ask(f"/{coin}/pendingapprovals", query), Page)
            yield from (one for one in page.pending_approvals if one.info.type in kinds and one.state in _PENDING)
            if page.next_batch_prev_id is None:
                return
            query = {**query, "prevId": page.next_batch_prev_id}
        raise UnavailableError(f"{next(iter(whose.values()))} has more than {_MAX_PAGES * _PAGE} pending approvals")

    def _reject(self, approval: str) -> Receipt:
        if self._rejected(approval) is Verdict.HOLDS:
            return Receipt(approval, {"state": "rejected"})
        told = _read_call(self._api.call("PUT", _path(approval), {"state": "rejected"}), PendingApproval)
        if told.state != "rejected":
            raise UnknownOutcomeError(f"BitGo answered the rejection with the state {told.state!r}")
        return Receipt(approval, {"state": told.state})

    def _rejected(self, approval: str) -> Verdict:
        try:
            state = _read(self._api.ask(_path(approval)), PendingApproval).state
        except PortcullisError as error:
            return cannot_tell(error)
        if state not in _KNOWN:
            return Verdict.CANNOT_TELL
        return Verdict.HOLDS if state == "rejected" else Verdict.DOES_NOT_HOLD

    def freeze_account(self, account: AccountRef, *, seconds: int, key: str) -> Receipt:  # noqa: ARG002  BitGo takes no key
        """See the port."""
        path = f"/{self._coin(account.ref)}/wallet/{account.ref}"
        until = self._frozen_until(path)
        if until is not None and _is_long(until, seconds):
            return Receipt(account.ref, {"expires": until.isoformat()})
        told = _read_call(self._api.call("POST", f"{path}/freeze", {"duration": seconds}), Freeze)
        return Receipt(account.ref, {"expires": None if told.expires is None else told.expires.isoformat()})

    def account_frozen(self, account: AccountRef, *, seconds: int) -> Verdict:
        """See the port."""
        try:
            until = self._frozen_until(f"/{self._coin(account.ref)}/wallet/{account.ref}")
        except PortcullisError as error:
            return cannot_tell(error)
        return Verdict.HOLDS if _is_long(until, seconds) else Verdict.DOES_NOT_HOLD

    def _coin(self, wallet: str) -> str:
        coin = self._wallets.get(wallet)
        if coin is None:
            raise MissingCapabilityError(
                f"connection {self._config.id} names no coin for wallet {wallet}: add it to {WALLETS}, or act in the console"
            )
        return coin

    def _frozen_until(self, path: str) -> datetime | None:
        told = self._api.ask(path)
        if not told.get("freeze"):
            return None
        until = _read(told["freeze"], Freeze).expires
        if until is None or until.tzinfo is None:
            raise UnavailableError("BitGo says that the wallet is frozen and not for how long", retry_after_s=2)
        return until


def _is_long(until: datetime | None, seconds: int) -> bool:
    """Whether a freeze has more than half of so many seconds to run: then it is not made again."""
    return until is not None and (until - datetime.now(UTC)).total_seconds() > seconds / 2


def _path(named: str) -> str:
    """`coin/id`, as `pending` and `pending_changes` name them."""
    coin, _, approval = named.partition(_SEPARATOR)
    if not coin.isalnum() or not approval.isalnum() or not approval.isascii():
        raise InputError(f"{named} is not a pending approval of BitGo's", field="transaction")
    return f"/{coin}/pendingapprovals/{approval}"


def _transfer(coin: str, told: PendingApproval, account: str) -> PendingTransfer:
    paid = () if told.info.transaction_request is None else told.info.transaction_request.recipients
    return PendingTransfer(
        f"{coin}{_SEPARATOR}{told.id}", account, paid[0].address if len(paid) == 1 else None, None, told.state
    )


def _read(told: object, kind: type[T]) -> T:
    """Read the answer to a question."""
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise UnavailableError(f"BitGo's answer is not understood: {error}", retry_after_s=2) from error


def _read_call(told: object, kind: type[T]) -> T:
    """Read the answer to a call."""
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise UnknownOutcomeError(f"BitGo's answer is not understood: {error}") from error


def calls(config: ConnectionConfig, sign: SignHere | None, holds: GateHolds) -> BitgoCalls:  # noqa: ARG001  no API key
    """Return the calls of one connection; goes into the platform's declaration."""
    return BitgoCalls(config, holds)
