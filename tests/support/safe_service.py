"""A Safe transaction service for tests: keeps proposals and confirmations, judging each as the real one does.

It speaks only HTTP; it computes a transaction's hash from what it is told, by eth-account's own EIP-712, and recovers the
signer, so that a proposal of ours that was hashed or signed wrongly is refused.
"""

import json
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.address import is_checksum_address

from service.domain.safe import ZERO
from tests.support import http_server
from tests.support.http_server import Answer, Asked, as_json

KINDS = {
    "to": "address",
    "value": "uint256",
    "data": "bytes",
    "operation": "uint8",
    "safeTxGas": "uint256",
    "baseGas": "uint256",
    "gasPrice": "uint256",
    "gasToken": "address",
    "refundReceiver": "address",
    "nonce": "uint256",
}


def safe_tx(safe: str, **changes: object) -> dict[str, object]:
    """Return the typed data of a transaction of a Safe on Ethereum, as wallets show it: one wei to 0x11…11."""
    zero = "0x" + "0" * 40
    numbers = {name: 0 for name, kind in KINDS.items() if kind.startswith("uint")}
    to = {"to": "0x" + "11" * 20, "value": 1, "data": "0x", "gasToken": zero, "refundReceiver": zero}
    return {
        "types": {"SafeTx": [{"name": name, "type": kind} for name, kind in KINDS.items()]},
        "primaryType": "SafeTx",
        "domain": {"chainId": 1, "verifyingContract": safe},
        "message": numbers | to | changes,
    }


class FakeSafeService:
    """Proposals by hash. `owners` may sign; `break_next` answers 500 after the effect, `signer` signs what `waits`."""

    def __init__(self, chain_id: int, safe: str, owners: list[str]) -> None:
        self.chain_id = chain_id
        self.safe = safe
        self.owners = {owner.lower() for owner in owners}
        self.known: dict[str, dict[str, Any]] = {}
        self.posts: list[str] = []
        self.break_next = False
        self.signer: LocalAccount | None = None
        self.more = False

    def typed(self, told: dict[str, Any]) -> Any:
        message: dict[str, Any] = {
            name: int(told[name]) if kind.startswith("uint") else told[name] or "0x" for name, kind in KINDS.items()
        }
        return encode_typed_data(
            domain_data={"chainId": self.chain_id, "verifyingContract": self.safe},
            message_types={"SafeTx": [{"name": name, "type": kind} for name, kind in KINDS.items()]},
            message_data=message | {"data": bytes.fromhex(message["data"][2:])},
        )

    def propose(self, told: dict[str, Any]) -> tuple[int, Any]:
        addresses = [told[name] for name in ("to", "sender")]
        if not all(is_checksum_address(one) for one in addresses):
            return 422, {"nonFieldErrors": ["Checksum address validation failed"]}
        signable = self.typed(told)
        name = "0x" + _digest(signable).hex()
        if name != told["contractTransactionHash"]:
            return 422, {"nonFieldErrors": [f"Contract-transaction-hash={name} does not match"]}
        if (
            told["sender"].lower() not in self.owners
            or self._signer(signable, told["signature"]) != told["sender"].lower()
        ):
            return 422, {"nonFieldErrors": ["not an owner's signature"]}
        self.posts.append(name)
        self.known.setdefault(name, {**told, "confirmations": []})
        self._confirmed(name, told["sender"].lower(), told["signature"])
        return 201, None

    def confirm(self, name: str, signature: str) -> tuple[int, Any]:
        if name not in self.known:
            return 404, {}
        signer = self._signer(self.typed(self.known[name]), signature)
        if signer not in self.owners:
            return 400, {"signature": ["not an owner"]}
        self._confirmed(name, signer, signature)
        return 201, {}

    def pending(self, asked: dict[str, list[str]]) -> tuple[int, Any]:
        assert (asked["executed"], asked["has_confirmations"]) == (["false"], ["true"])
        low, high = int(asked["nonce__gte"][0]), int(asked["nonce__lt"][0])
        shown = (*KINDS, "confirmations")
        found = [
            {**{name: one[name] for name in shown}, "nonce": int(one["nonce"]), "value": str(one["value"])}
            for one in self.known.values()
            if low <= int(one["nonce"]) < high
        ]
        assert asked["ordering"] == ["-nonce"]
        found.sort(key=lambda one: -one["nonce"])
        return 200, {"count": len(found), "next": "more" if self.more else None, "results": found}

    def waits(self, to: str, nonce: int, *, value: int = 0, data: str | None = None, gas_price: int = 0) -> None:
        """Lay a proposal of somebody else into the queue; without a `signer` its confirmation is invented."""
        gas = {"safeTxGas": "0", "baseGas": "0", "gasPrice": str(gas_price), "gasToken": ZERO, "refundReceiver": ZERO}
        told = {"to": to, "value": str(value), "data": data, "operation": 0, "nonce": nonce, **gas}
        signable, owner, signature = self.typed(told), min(self.owners), "0x" + "11" * 64 + "1b"
        if self.signer is not None:
            owner, signature = self.signer.address, "0x" + bytes(self.signer.sign_message(signable).signature).hex()
        given = [{"owner": owner, "signature": signature}]
        self.known["0x" + _digest(signable).hex()] = {**told, "confirmations": given}

    def _confirmed(self, name: str, owner: str, signature: str) -> None:
        given = self.known[name]["confirmations"]
        if owner not in [one["owner"] for one in given]:
            given.append({"owner": owner, "signature": signature})

    @staticmethod
    def _signer(signable: Any, signature: str) -> str:
        return str(Account.recover_message(signable, signature=signature)).lower()


def _digest(signable: Any) -> bytes:
    from eth_utils.crypto import keccak  # noqa: PLC0415  beside its only use

    return bytes(keccak(b"\x19" + signable.version + signable.header + signable.body))


def serving(service: FakeSafeService) -> AbstractContextManager[str]:
    """Serve on a free loopback port; yields the base URL."""

    def posted(parts: list[str], body: dict[str, Any]) -> Answer:
        status, told = service.propose(body) if parts[2] == "safes" else service.confirm(parts[3], body["signature"])
        if service.break_next:
            service.break_next, status, told = False, 500, {}
        return Answer(status) if told is None else as_json(status, told)

    def answer(asked: Asked) -> Answer:
        split = urlsplit(asked.path)
        parts = split.path.strip("/").split("/")
        if asked.method == "POST":
            return posted(parts, json.loads(asked.body))
        if parts[2] == "safes":
            return as_json(*service.pending(parse_qs(split.query)))
        found = service.known.get(parts[3])
        return as_json(404 if found is None else 200, found or {})

    return http_server.serving(answer, keep_alive=True)
