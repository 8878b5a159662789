"""The API co-signer: asks the callback handler before anything is signed, and does what the signed answer says.

Rules (platform documentation): the request is a compact RS256 JWS as text, claim names as documented; the answer
counts only as HTTP 200 with an RS256 JWS of the callback's key that echoes requestId. RETRY is asked again after the
interval with identical parameters, up to the maximum. No answer in time, a bad signature or an unknown action fails
the request: never a signature.
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jwt
import msgspec

from drills.emulator import evm
from drills.emulator.clock import now_ms
from drills.emulator.evm import EvmTransaction
from drills.emulator.keys import PlatformKeys
from drills.emulator.money import full_text, short_text, to_decimal, usd
from drills.emulator.outbound import Message, Outbound
from drills.emulator.records import Transaction
from drills.emulator.settings import CallbackSeed
from drills.emulator.world import World

TX_PATH = "/v2/tx_sign_request"
CONFIG_PATH = "/v2/config_change_sign_request"
HTTP_OK = 200
COIN_TYPE_ETHER = 60


class CallbackAnswer(msgspec.Struct, frozen=True):
    """The claims of an answer; more claims are allowed and ignored."""

    action: Literal["APPROVE", "REJECT", "RETRY"]
    request_id: str = msgspec.field(name="requestId")
    rejection_reason: str = msgspec.field(name="rejectionReason", default="")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a request: APPROVE, REJECT, FAILED (with the sub-status) or STOPPED (cancelled meanwhile)."""

    outcome: Literal["APPROVE", "REJECT", "FAILED", "STOPPED"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One exchange with the callback handler, kept for inspection; never the signed text."""

    request_id: str
    path: str
    result: str
    at_ms: int


class Cosigner:
    """Asks one callback handler."""

    def __init__(self, world: World, callback: CallbackSeed, keys: PlatformKeys, outbound: Outbound) -> None:
        self._world = world
        self._callback = callback
        self._keys = keys
        self._outbound = outbound
        self._signer_id = str(uuid.uuid5(uuid.NAMESPACE_URL, "emulator-cosigner"))
        self.exchanges: list[Asked] = []

    async def ask_transaction(self, tx: Transaction, unsigned: EvmTransaction, stopped: asyncio.Event) -> Verdict:
        """Ask for one transaction until it is decided or `stopped`."""
        return await self._ask(TX_PATH, tx.request_id, self._claims(tx, unsigned), stopped)

    async def ask_config_change(self, kind: str, extra_info: Mapping[str, object]) -> Verdict:
        """Ask for a change of the workspace's configuration."""
        request_id = str(uuid.uuid4())
        claims: dict[str, object] = {"requestId": request_id, "type": kind, "extraInfo": extra_info}
        return await self._ask(CONFIG_PATH, request_id, claims, asyncio.Event())

    async def _ask(self, path: str, request_id: str, claims: dict[str, object], stopped: asyncio.Event) -> Verdict:
        for _ in range(self._callback.retry_max + 1):
            answer = await self._once(path, request_id, claims)
            if stopped.is_set():
                return Verdict("STOPPED")
            if isinstance(answer, str):
                return Verdict("FAILED", answer)
            if answer.action != "RETRY":
                return Verdict(answer.action, answer.rejection_reason)
            if await self._wait(stopped):
                return Verdict("STOPPED")
        return Verdict("FAILED", "TIMEOUT")

    async def _wait(self, stopped: asyncio.Event) -> bool:
        """Wait one retry interval; True as soon as the request is stopped."""
        try:
            async with asyncio.timeout(self._callback.retry_interval_s):
                return await stopped.wait()
        except TimeoutError:
            return False

    async def _once(self, path: str, request_id: str, claims: dict[str, object]) -> CallbackAnswer | str:
        body = self._keys.cosigner.claims_jws(claims).encode()
        url = self._callback.base_url.rstrip("/") + path
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        message = Message(url, body, headers, self._callback.answer_timeout_s)
        answer = await self._outbound.post(message)
        result: CallbackAnswer | str = "TIMEOUT"
        if answer.status is not None:
            result = self._read(answer.status, answer.body, request_id)
        self.exchanges.append(Asked(request_id, path, result if isinstance(result, str) else result.action, now_ms()))
        return result

    def _read(self, status: int, body: bytes, request_id: str) -> CallbackAnswer | str:
        if status != HTTP_OK:
            return f"CALLBACK_HTTP_{status}"
        try:
            payload = jwt.api_jws.decode(body.strip(), self._callback.public_key_pem, ["RS256"])
            found = msgspec.json.decode(payload, type=CallbackAnswer)
        except jwt.PyJWTError:
            return "CALLBACK_SIGNATURE_INVALID"
        except msgspec.MsgspecError:
            return "CALLBACK_ANSWER_INVALID"
        return found if found.request_id == request_id else "CALLBACK_REQUEST_ID_MISMATCH"

    def _claims(self, tx: Transaction, unsigned: EvmTransaction) -> dict[str, object]:
        asset = self._world.ledger.asset(tx.asset_id)
        native = self._world.ledger.asset(self._world.chain.native_asset_id)
        number, text = to_decimal(tx.amount, asset.decimals), full_text(tx.amount, asset.decimals)
        peer_type = {"VAULT_ACCOUNT": "VAULT"}.get(tx.peer.type, "UNMANAGED")
        shown = evm.checksum_address(evm.from_caip10(tx.peer.address))
        account = int(tx.account_id) if tx.account_id is not None and tx.account_id.isdigit() else 0
        return {
            "txId": tx.id,
            "operation": tx.operation,
            "sourceType": "VAULT",
            "sourceId": tx.account_id,
            "destType": peer_type,
            "destId": tx.peer.id or "",
            "asset": tx.asset_id,
            "amount": number,
            "amountStr": text,
            "requestedAmount": number,
            "requestedAmountStr": text,
            "fee": short_text(unsigned.fees.gas * unsigned.fees.max_fee, native.decimals),
            "destAddressType": tx.address_type or "WHITELISTED",
            "destAddress": shown,
            "destinations": [self._shown_destination(tx, peer_type, shown)],
            "rawTx": [
                {
                    "keyDerivationPath": f"[ 44, {COIN_TYPE_ETHER}, {account}, 0, 0 ]",
                    "rawTx": unsigned.unsigned_bytes().hex(),
                    "payload": unsigned.payload().hex(),
                }
            ],
            "players": [str(uuid.uuid5(uuid.NAMESPACE_URL, f"player-{n}")) for n in range(3)],
            "requestId": tx.request_id,
            "externalTxId": tx.external_id,
            "signerId": self._signer_id,
        }

    def _shown_destination(self, tx: Transaction, peer_type: str, shown: str) -> dict[str, object]:
        asset = self._world.ledger.asset(tx.asset_id)
        return {
            "amountNative": to_decimal(tx.amount, asset.decimals),
            "amountNativeStr": full_text(tx.amount, asset.decimals),
            "amountUSD": usd(tx.amount, asset.decimals, asset.price_usd),
            "dstAddressType": tx.address_type or "WHITELISTED",
            "dstId": tx.peer.id or "",
            "dstWalletId": "",
            "dstName": tx.peer.name,
            "dstSubType": tx.peer.sub_type,
            "dstType": peer_type,
            "displayDstAddress": shown,
            "action": "ALLOW",
            "actionInfo": {
                "capturedRuleNum": 1,
                "rulesSnapshotId": 1,
                "byGlobalPolicy": False,
                "byRule": True,
                "capturedRule": '{"type":"TRANSFER","action":"ALLOW","asset":"*","amount":0}',
            },
        }
