"""BitGo's side in tests: an outsider over HTTP that checks HMAC v3, keeps wallets and approvals, and signs its answers.

Made from BitGo's documentation and its own client; the HMAC is computed here once more, not by the code under test.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from embit.networks import NETWORKS
from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from tests.support.http_server import Answer, Asked, serving

COIN = "tbtc4"
WALLET = "59cd72485007a239fb00282ed480da1f"
ENTERPRISE = "5a" * 16
TOKEN = "v2x" + "a" * 64
WEBHOOK_SECRET = "webhook-secret-of-the-enterprise"
PATH_SECRET = "q" * 40
TBTC = '{"tbtc4": {"caip19": "bip122:00000000da84f2bafbbc53dee25a72ae/slip44:1", "decimals": 8}}'
SETTINGS = {"wallets": json.dumps({WALLET: COIN}), "assets": TBTC}
_PENDING = re.compile(r"/api/v2/(\w+)/pendingapprovals(?:/(\w+))?")
_OWNERS = {"walletId": "wallet", "enterprise": "enterprise"}
_WALLET = re.compile(r"/api/v2/(\w+)/wallet/(\w+)(/freeze)?")


@dataclass
class Bitgo:
    """One enterprise. `answer_late`, `drop_answer` and `forge` spoil the next answer to a call."""

    url: str
    wallets: dict[str, datetime | None] = field(default_factory=lambda: {WALLET: None})
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    """Wallets and enterprises whose approvals the API user may not see."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    drop_answer: bool = False
    forge: bool = False

    def pend(
        self, kind: str = "transactionRequest", state: str = "pending", *addresses: str, wallet: str | None = WALLET
    ) -> str:
        """Let something wait for approval, of a wallet or else of the enterprise itself; returns its id."""
        approval = secrets.token_hex(16)
        info = {"type": kind, "transactionRequest": {"recipients": [{"address": a, "amount": "5"} for a in addresses]}}
        owner = {"enterprise": ENTERPRISE} if wallet is None else {"wallet": wallet}
        self.approvals[approval] = {"id": approval, "coin": COIN, "state": state, "info": info, **owner}
        return approval

    def answer(self, method: str, path: str, query: str, body: dict[str, Any]) -> tuple[int, object]:
        """Carry one authenticated request out."""
        self.calls.append((method, path))
        if (found := _WALLET.fullmatch(path)) and found[2] in self.wallets and found[1] == COIN:
            return self._wallet(method, found[2], frozen=found[3] is not None, body=body)
        if (found := _PENDING.fullmatch(path)) and found[1] == COIN:
            return self._approval(method, found[2], query, body)
        return 404, {"error": "not found", "name": "NotFound"}

    def _wallet(self, method: str, wallet: str, *, frozen: bool, body: dict[str, Any]) -> tuple[int, object]:
        if method == "POST" and frozen:
            now = datetime.now(UTC)
            self.wallets[wallet] = now + timedelta(seconds=body["duration"])
            return 200, self._freeze(wallet)
        return 200, {"id": wallet, "coin": COIN, **({"freeze": self._freeze(wallet)} if self.wallets[wallet] else {})}

    def _freeze(self, wallet: str) -> dict[str, str]:
        until = self.wallets[wallet]
        assert until is not None
        return {"time": datetime.now(UTC).isoformat(), "expires": until.isoformat().replace("+00:00", "Z")}

    def _approval(self, method: str, approval: str | None, query: str, body: dict[str, Any]) -> tuple[int, object]:
        if approval is None:
            asked = dict(parse_qsl(query))
            whose = [(mine, asked[theirs]) for theirs, mine in _OWNERS.items() if theirs in asked]
            if len(whose) != 1:
                return 400, {"error": "name exactly one of walletId and enterprise"}
            if whose[0][1] in self.unseen:
                return 403, {"error": "no role there"}
            known = [one for one in self.approvals.values() if one.get(whose[0][0]) == whose[0][1]]
            start = int(asked.get("prevId", 0))
            page = {"pendingApprovals": known[start : start + 2]}
            return 200, page | ({"nextBatchPrevId": str(start + 2)} if start + 2 < len(known) else {})
        if approval not in self.approvals:
            return 404, {"error": "pending approval not found"}
        if method == "PUT":
            if self.approvals[approval]["state"] in {"approved", "processing", "rejected"}:
                return 400, {"error": "pending approval is not pending"}
            self.approvals[approval]["state"] = body["state"]
        return 200, self.approvals[approval]


def mac(token: str, *parts: object) -> str:
    """HMAC-SHA256 of parts joined by bars."""
    text = b"|".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    return hmac.new(token.encode(), text, hashlib.sha256).hexdigest()


def signed(body: bytes, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    """The header of a notification."""
    return {"x-signature-sha256": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


PAID = b"\x00\x14" + bytes(range(20))
CHANGE = b"\x00\x20" + bytes(range(32))
SPENT = b"\x00\x20" + bytes(range(32, 64))
THERE = str(Script(PAID).address(NETWORKS["test"]))
BACK = str(Script(CHANGE).address(NETWORKS["test"]))


def half_signed(*outputs: tuple[int, bytes], fee: int = 1_000, spent: bytes = SPENT, sighash: int | None = None) -> str:
    """A PSBT in hex that spends a coin of its own, as embit writes it: who pays what to which script."""
    paid = outputs or ((250_000, PAID), (749_000, CHANGE))
    vin = [TransactionInput(secrets.token_bytes(32), 0)]
    made = PSBT(Transaction(vin=vin, vout=[TransactionOutput(amount, Script(script)) for amount, script in paid]))
    made.inputs[0].witness_utxo = TransactionOutput(sum(amount for amount, _ in paid) + fee, Script(spent))
    made.inputs[0].sighash_type = sighash
    return str(made.serialize().hex())


def policy_request(**changes: object) -> dict[str, object]:
    """What the webhook policy tells, with one output that pays and one that is change."""
    return {
        "walletId": WALLET,
        "ruleId": "portcullis",
        "spendAmount": 250_000,
        "approvalCount": 0,
        "halfSigned": half_signed(),
        "outputs": [
            {"outputAddress": THERE, "outputValue": 250_000},
            {"outputAddress": BACK, "outputValue": 749_000, "outputWallet": WALLET},
        ],
    } | changes


@contextmanager
def bitgo() -> Iterator[Bitgo]:
    """Run BitGo on loopback."""
    state = Bitgo("")

    def answer(asked: Asked) -> Answer | None:
        path, _, query = asked.path.partition("?")
        status, told = 401, {"error": "unauthorized"}  # type: tuple[int, object]
        if _authentic(asked):
            status, told = state.answer(asked.method, path, query, json.loads(asked.body or b"{}"))
        if state.drop_answer and asked.method != "GET":
            return None
        content, at = json.dumps(told).encode(), int(time.time() * 1000)
        signature = mac("another" if state.forge else TOKEN, asked.method, at, asked.path, status, content)
        return Answer(status, content, {"Timestamp": str(at), "HMAC": signature})

    with serving(answer) as state.url:
        yield state


def _authentic(asked: Asked) -> bool:
    at = asked.headers.get("auth-timestamp", "")
    wanted = mac(TOKEN, asked.method, at, "3.0", asked.path, asked.body)
    return (
        asked.headers.get("bitgo-auth-version") == "3.0"
        and asked.headers.get("hmac") == wanted
        and asked.headers.get("authorization") == f"Bearer {hashlib.sha256(TOKEN.encode()).hexdigest()}"
        and abs(time.time() * 1000 - int(at)) < 60_000
    )
