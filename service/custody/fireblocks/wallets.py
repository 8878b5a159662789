"""Publishing an account's new address: a whitelisted internal wallet, which a workspace may pay into by name.

Rules: one wallet per account and address, found again by its name, because Fireblocks forgets an idempotency key after
24 h and a wallet must not be made twice; the address is entered for the chain's native coin and for every other asset of
that chain that the connection's setting `assets` names. It is published once each of them is approved, which may take
people at Fireblocks. A wallet of our name with another address is somebody else's work: it is refused, never paid into.
"""

from typing import Annotated, Final
from urllib.parse import quote

import msgspec

from service.custody.fireblocks.api import FireblocksApi
from service.domain.account import AccountRef
from service.domain.assets import Assets
from service.domain.errors import (
    InputError,
    MissingCapabilityError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.plan import Receipt, Verdict

_WALLETS: Final = "/internal_wallets"
_APPROVED: Final = "APPROVED"
_ENDED: Final = frozenset({"CANCELLED", "REJECTED", "FAILED"})
_MAX_NAME: Final = 200

Id = Annotated[str, msgspec.Meta(min_length=1)]


class WalletAsset(msgspec.Struct, frozen=True):
    """One asset of a wallet; every field is optional in the official description."""

    id: str = ""
    address: str = ""
    status: str = ""


class Wallet(msgspec.Struct, frozen=True):
    """`UnmanagedWallet`, as far as we read it."""

    id: Id
    name: str
    assets: tuple[WalletAsset, ...]


class InternalWallets:
    """The internal wallets of one workspace that hold our rotated addresses."""

    def __init__(self, api: FireblocksApi, assets: Assets) -> None:
        self._api = api
        self._assets = assets

    def publish(self, account: AccountRef, address: str, *, key: str) -> Receipt:
        """Make the wallet and enter what it lacks. `address` is CAIP-10.

        Raises MissingCapabilityError for a chain without a described asset, RefusedByOtherSideError where people refused
        it or the wallet is not ours, and what the API raises.
        """
        plain, wanted = self._wanted(address)
        name = wallet_name(account, plain)
        wallet = self._find(name) or self._made(name, key)
        for asset in wanted:
            there = _of(wallet, asset)
            if there is None:
                self._enter(wallet, asset, plain, key)
            else:
                _require_ours(there, plain, name)
        return Receipt(wallet.id, {"wallet": name, "assets": list(wanted), "address": plain})

    def published(self, account: AccountRef, address: str) -> Verdict:
        """HOLDS once every wanted asset of the wallet has exactly this address and is approved."""
        plain, wanted = self._wanted(address)
        wallet = self._find(wallet_name(account, plain))
        there = [None if wallet is None else _of(wallet, asset) for asset in wanted]
        good = all(a is not None and _same(a.address, plain) and a.status == _APPROVED for a in there)
        return Verdict.HOLDS if good else Verdict.DOES_NOT_HOLD

    def _wanted(self, address: str) -> tuple[str, tuple[str, ...]]:
        chain, _, plain = address.rpartition(":")
        if not chain or not plain:
            raise InputError(f"the new address {address!r} is not CAIP-10: chain and address", field="address")
        wanted = self._assets.on(chain)
        if not wanted:
            raise MissingCapabilityError(
                f"no asset of chain {chain} is known for publish_address: name its Fireblocks asset ids in the "
                "connection's setting assets, or whitelist the new address in the Fireblocks console"
            )
        return plain, wanted

    def _find(self, name: str) -> Wallet | None:
        try:
            wallets = msgspec.convert(self._api.ask(_WALLETS), tuple[Wallet, ...])
        except msgspec.ValidationError as error:
            raise UnavailableError(
                f"Fireblocks answered the list of internal wallets with something else: {error}", retry_after_s=2
            ) from error
        return next((wallet for wallet in wallets if wallet.name == name), None)

    def _made(self, name: str, key: str) -> Wallet:
        told = self._api.call("POST", _WALLETS, {"name": name}, f"{key}:wallet")
        try:
            return msgspec.convert(told, Wallet)
        except msgspec.ValidationError as error:
            raise UnknownOutcomeError(f"Fireblocks answered the new wallet with something else: {error}") from error

    def _enter(self, wallet: Wallet, asset: str, address: str, key: str) -> None:
        path = f"{_WALLETS}/{quote(wallet.id, safe='')}/{quote(asset, safe='')}"
        self._api.call("POST", path, {"address": address}, f"{key}:{asset}")


def wallet_name(account: AccountRef, address: str) -> str:
    """Return the name by which people and we find the wallet of one account's address."""
    return f"Portcullis {address} for {account.ref}"[:_MAX_NAME]


def _of(wallet: Wallet, asset: str) -> WalletAsset | None:
    return next((one for one in wallet.assets if one.id == asset), None)


def _require_ours(there: WalletAsset, address: str, name: str) -> None:
    if not _same(there.address, address):
        raise RefusedByOtherSideError(
            f"the internal wallet {name!r} has another address for {there.id}: find out who entered it, remove it, "
            "then ask again"
        )
    if there.status in _ENDED:
        raise RefusedByOtherSideError(
            f"Fireblocks did not whitelist {address} for {there.id}: {there.status.lower()}; remove it from the wallet "
            f"{name!r}, then ask again"
        )


def _same(one: str, other: str) -> bool:
    """Hexadecimal addresses are the same in any case (EIP-55); others only letter by letter."""
    if one[:2] in {"0x", "0X"} and other[:2] in {"0x", "0X"}:
        return one.lower() == other.lower()
    return one == other
