"""Containment at Fireblocks: API calls signed inside the platform token, and holds of our own gate.

Rules: suspending one account *means* that our co-signer callback answers RETRY for it: Fireblocks has no call that stops
the outgoing transfers of one vault account (freezing a transaction quarantines incoming funds). The calls are those of
the official API description; freezing the workspace is lifted by Fireblocks support alone. What is broadcast on an EVM
chain is dropped: replaced at its nonce by a transaction of amount 0, which itself is never dropped. Lists are read page by
page, the newest first; one that goes on beyond MOST_PAGES, or cannot be read on, is told as incomplete.
"""

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final
from urllib.parse import quote

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from service.custody.base import GateHeldCalls, calls_setting, cannot_tell, rate_of, require_url
from service.custody.fireblocks.api import CALLS_PER_S, FireblocksApi
from service.custody.fireblocks.assets import read_assets
from service.custody.fireblocks.mapping import MILLISECONDS_FROM
from service.custody.fireblocks.wallets import InternalWallets
from service.domain.account import AccountRef
from service.domain.errors import (
    ConfigurationError,
    IncompleteListError,
    InputError,
    PortcullisError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.plan import Receipt, Verdict
from service.ports.custody import Capability, ConnectionConfig, GateHolds, PendingTransfer, Setting, SignHere

_MIN_BITS: Final = 2048


def check_private_key(pem: bytes, name: str) -> None:
    """Raise ConfigurationError naming the secret when it is no RSA private key of at least 2048 bits in PEM."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _MIN_BITS:
        raise ConfigurationError(
            f"{name} must be an RSA private key of at least {_MIN_BITS} bits as PEM, without a passphrase", field=name
        )


CAPABILITIES: Final = frozenset(
    {
        Capability.HOLD_OUTGOING,
        Capability.CANCEL_PENDING,
        Capability.DROP_BROADCAST,
        Capability.LOCK_DESTINATION,
        Capability.FORBID_ONE_TIME_ADDRESSES,
        Capability.FREEZE_WORKSPACE,
        Capability.PUBLISH_ADDRESS,
    }
)
MISSING: Final[Mapping[Capability, str]] = {
    Capability.FREEZE_ACCOUNT: (
        "Fireblocks has no API call for freeze_account: suspend_withdrawals holds the account at our own gate"
    ),
    Capability.REVOKE_CREDENTIAL: (
        "Fireblocks describes no API call that ends a credential, so no revoke_credential (unpairing takes a key from one "
        "co-signer, resetting a device asks people there): in its console, an admin removes the user or the API user"
    ),
    Capability.REJECT_CHANGES: (
        "Fireblocks has no API call for reject_changes: in its console or mobile application, an approver rejects the "
        "pending change"
    ),
}
SETTINGS: Final = (
    calls_setting(CALLS_PER_S),
    Setting("api_base_url", required=False, secret=False, opened_by="", help="such as https://api.fireblocks.io/v1"),
    Setting("api_key", required=False, secret=False, opened_by="", help="id of the API user, sent as X-API-Key"),
    Setting(
        "api_private_key",
        required=False,
        secret=True,
        opened_by="containment",
        help="the API user's RSA key, as PEM",
        check=check_private_key,
    ),
)

_PENDING: Final = (
    "SUBMITTED",
    "PENDING_AML_SCREENING",
    "PENDING_ENRICHMENT",
    "PENDING_AUTHORIZATION",
    "QUEUED",
    "PENDING_SIGNATURE",
    "PENDING_3RD_PARTY_MANUAL_APPROVAL",
    "PENDING_3RD_PARTY",
)
_BROADCAST: Final = "BROADCASTING"
_CANCELLED: Final = frozenset({"CANCELLED", "CANCELLING", "REJECTED", "BLOCKED", "FAILED", "TIMEOUT"})
_GONE: Final = frozenset({"CANCELLED", "REJECTED", "BLOCKED", "FAILED", "TIMEOUT"})
"""Ends of a transfer that moved nothing; one of a contract that failed in a block (FAILED, too) moved nothing either."""
_PAGE: Final = 200
MOST_PAGES: Final = 10
"""Pages of one status that are read: 2,000 transfers."""
_FROZEN: Final = "FROZEN"
_EVM: Final = "eip155:"


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting: base URL and API user come together."""
    rate_of(settings, CALLS_PER_S)
    given = [name for name in ("api_base_url", "api_key") if settings.get(name)]
    if len(given) == 1:
        other = "api_key" if given[0] == "api_base_url" else "api_base_url"
        raise InputError(f"{other} is missing: without it nothing at Fireblocks can be cancelled", field=other)
    if settings.get("api_base_url"):
        require_url("api_base_url", settings["api_base_url"])


class FireblocksCalls(GateHeldCalls):
    """Implements `ports.custody.ContainmentCalls` for one workspace."""

    def __init__(
        self, config: ConnectionConfig, sign: SignHere | None, holds: GateHolds, client: httpx.Client | None = None
    ) -> None:
        super().__init__(config, holds, MISSING)
        self._api = FireblocksApi(config, sign, client)
        self._assets = read_assets(config.settings)
        self._wallets = InternalWallets(self._api, self._assets)

    def close(self) -> None:
        """Close the line to the platform."""
        self._api.close()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Without API access only what our own gate does."""
        ours = {Capability.HOLD_OUTGOING, Capability.LOCK_DESTINATION}
        return CAPABILITIES if self._api.reachable else frozenset(ours)

    def _out_of_reach(self, capability: Capability) -> str:
        return (
            f"connection {self._config.id} has no API access, so no {capability.value}: do it in the Fireblocks console, "
            "and register api_base_url, api_key and the API signing key"
        )

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """See the port."""
        for status in _PENDING:
            yield from (_transfer(one, account.ref) for one in self._listed(account, status))

    def cancel(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:  # noqa: ARG002  known by its id
        """See the port."""
        told = self._api.call("POST", f"/transactions/{quote(transaction, safe='')}/cancel", None, key)
        if not (isinstance(told, dict) and told.get("success") is True):
            raise UnknownOutcomeError("Fireblocks answered the cancellation without saying that it succeeded")
        return Receipt(transaction, {"success": True})

    def cancelled(self, transaction: str) -> Verdict:
        """See the port."""
        return self._ended(transaction, _CANCELLED)

    def broadcast(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """See the port; of an asset that nobody described it is not known that it cannot be dropped, so it is tried."""
        for one in self._listed(account, _BROADCAST):
            asset = self._assets.table.get(str(one.get("assetId")))
            if (asset is None or asset.chain.startswith(_EVM)) and not _moves_nothing(one):
                yield _transfer(one, account.ref)

    def drop(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:  # noqa: ARG002  known by its id
        """See the port; at the highest fee that Fireblocks offers, because it is a race."""
        wanted = {"txId": transaction, "feeLevel": "HIGH"}
        told = self._api.call("POST", f"/transactions/{quote(transaction, safe='')}/drop", wanted, key)
        replaced = told.get("replacedTxHash") if isinstance(told, dict) else None
        return Receipt(transaction, {"replacedTxHash": replaced if isinstance(replaced, str) else ""})

    def dropped(self, transaction: str) -> Verdict:
        """See the port."""
        return self._ended(transaction, _GONE)

    def _listed(self, account: AccountRef, status: str) -> Iterator[dict[str, object]]:
        """Yield each transaction once. Raises IncompleteListError where more are listed than can be read."""
        query = {"status": status, "sourceType": "VAULT_ACCOUNT", "sourceId": account.ref, "limit": str(_PAGE)}
        query |= {"orderBy": "createdAt", "sort": "DESC"}
        seen: set[object] = set()
        for _ in range(MOST_PAGES):
            page = self._page(query)
            fresh = [one for one in page if isinstance(one, dict) and one.get("id") not in seen]
            yield from fresh
            if len(page) < _PAGE:
                return
            created = [_created_ms(one) for one in fresh]
            if not created or None in created:
                break
            seen |= {one.get("id") for one in fresh}
            # One millisecond more: whether the bound itself is meant is not told, and several may share it.
            query["before"] = str(min(at for at in created if at is not None) + 1)
        raise IncompleteListError(f"Fireblocks lists more {status} transactions of {account.ref} than can be read")

    def _page(self, query: Mapping[str, str]) -> list[object]:
        found = self._api.ask("/transactions", query)
        if not isinstance(found, list):
            raise UnavailableError("Fireblocks answered the list of transactions with something else", retry_after_s=2)
        return found

    def _ended(self, transaction: str, ends: Collection[str]) -> Verdict:
        """Say whether a transaction's status is one of these."""
        try:
            told = self._api.ask(f"/transactions/{quote(transaction, safe='')}")
        except PortcullisError as error:
            return cannot_tell(error)
        status = told.get("status") if isinstance(told, dict) else None
        if not isinstance(status, str):
            return Verdict.CANNOT_TELL
        return Verdict.HOLDS if status in ends else Verdict.DOES_NOT_HOLD

    def forbid_one_time_addresses(self, *, key: str) -> Receipt:
        """See the port."""
        return self._switch_one_time_addresses(enabled=False, key=key)

    def one_time_addresses_forbidden(self) -> Verdict:
        """See the port."""
        try:
            told = self._api.ask("/management/ota")
        except PortcullisError as error:
            return cannot_tell(error)
        enabled = told.get("enabled") if isinstance(told, dict) else None
        if not isinstance(enabled, bool):
            return Verdict.CANNOT_TELL
        return Verdict.DOES_NOT_HOLD if enabled else Verdict.HOLDS

    def allow_one_time_addresses(self, *, key: str) -> Receipt:
        """See the port."""
        return self._switch_one_time_addresses(enabled=True, key=key)

    def freeze_workspace(self, *, key: str) -> Receipt:
        """See the port."""
        self._api.call("POST", "/workspace/freeze", None, key)
        return Receipt(key, {})

    def workspace_frozen(self) -> Verdict:
        """See the port; the question is not open to every workspace, and of its answers only this one is plain."""
        try:
            told = self._api.ask("/management/workspace_status")
        except PortcullisError as error:
            return cannot_tell(error)
        frozen = isinstance(told, dict) and told.get("status") == _FROZEN
        return Verdict.HOLDS if frozen else Verdict.CANNOT_TELL

    def publish_address(self, account: AccountRef, address: str, *, key: str) -> Receipt:
        """See the port."""
        return self._wallets.publish(account, address, key=key)

    def address_published(self, account: AccountRef, address: str) -> Verdict:
        """See the port."""
        try:
            return self._wallets.published(account, address)
        except PortcullisError as error:
            return cannot_tell(error)

    def _switch_one_time_addresses(self, *, enabled: bool, key: str) -> Receipt:
        self._api.call("PUT", "/management/ota", {"enabled": enabled}, key)
        return Receipt(key, {"enabled": enabled})


def _moves_nothing(told: Mapping[str, object]) -> bool:
    """Say whether a transaction replaces another and pays nobody: what dropping one leaves behind."""
    info, extra = told.get("amountInfo"), told.get("extraParameters")
    amount = _number(info.get("amount") if isinstance(info, dict) else None)
    calls_something = isinstance(extra, dict) and bool(extra.get("contractCallData"))
    return bool(told.get("replacedTxHash")) and amount == 0 and not calls_something


def _created_ms(told: Mapping[str, object]) -> int | None:
    """Return when it was made, in milliseconds; None where that is told in seconds, or not at all."""
    created = told.get("createdAt")
    return created if isinstance(created, int) and created > MILLISECONDS_FROM else None


def _number(text: object) -> Decimal | None:
    try:
        return None if text is None else Decimal(str(text))
    except InvalidOperation:
        return None


def _transfer(told: Mapping[str, object], account: str) -> PendingTransfer:
    info = told.get("amountInfo")
    amount = _number(info.get("amountUSD") if isinstance(info, dict) else None)
    destination = told.get("destinationAddress")
    return PendingTransfer(
        str(told.get("id")),
        account,
        destination if isinstance(destination, str) else None,
        amount,
        str(told.get("status")),
    )


def calls(config: ConnectionConfig, sign: SignHere | None, holds: GateHolds) -> FireblocksCalls:
    """Return the calls of one workspace; goes into the platform's declaration."""
    return FireblocksCalls(config, sign, holds)
