"""The questions of bench/gate.py: signing requests as a Fireblocks co-signer posts them, made and signed before the run.

Rules (Fireblocks callback handler documentation; EIP-1559): a body is a JWT, RS256; `rawTx` is what would be signed and its
`payload` the hash of that. An honest question signs what it shows; the others pay somebody else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from drills.emulator import evm
from drills.emulator.evm import EvmTransaction, Fees
from drills.emulator.money import full_text, short_text
from drills.emulator.records import EvmCall

CONNECTION: Final = "cosigner"
DEADLINE_S: Final = 5
"""Within which the connection wants its answer; the platform would wait for 30."""
_DISHONEST, _AGAIN = 50, 20
"""One of so many."""
_AGAIN_AFTER_S: Final = 3.0
_DISHONEST_ACCOUNTS: Final = 10
_DECIMALS: Final = 18
_GWEI: Final = 10**9
_FEES: Final = Fees(21_000, 17 * _GWEI, _GWEI)


@dataclass(frozen=True, slots=True)
class Question:
    """One question, asked `at_s` after the beginning."""

    at_s: float
    request: str
    honest: bool
    body: bytes


def connection(key: rsa.RSAPrivateKey) -> dict[str, object]:
    """Return the connection as set-up registers it: a gate, and no API."""
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    settings = {
        "workspace_id": "bench",
        "tenant_id": "bench",
        "webhook_public_key": pem.decode(),
        "cosigner_public_key": pem.decode(),
        "gate_deadline_s": str(DEADLINE_S),
        "rate_per_s": "5000",
    }
    return {"id": CONNECTION, "platform": "fireblocks", "name": CONNECTION, "settings": settings, "secrets": []}


def questions(key: rsa.RSAPrivateKey, per_s: float, seconds: float, accounts: int) -> Iterator[Question]:
    """Yield the questions of a run in their order."""
    asked: list[Question] = []
    for number in range(int(per_s * seconds)):
        at_s = number / per_s
        before = [asked[-int(_AGAIN_AFTER_S * per_s)]] if len(asked) > _AGAIN_AFTER_S * per_s else []
        if before and number % _AGAIN == 1:
            made = Question(at_s, before[0].request, before[0].honest, before[0].body)
        else:
            honest = number % _DISHONEST != 0
            made = Question(at_s, f"q-{number}", honest, _body(key, number, honest, accounts))
        asked.append(made)
        yield made


def _body(key: rsa.RSAPrivateKey, number: int, honest: bool, accounts: int) -> bytes:  # noqa: FBT001  a fact of the question
    account = (
        number % (accounts - _DISHONEST_ACCOUNTS)
        if honest
        else accounts - 1 - number // _DISHONEST % _DISHONEST_ACCOUNTS
    )
    shown = evm.checksum_address(f"0x{0xC0FFEE000 + account:040x}")
    signed = shown if honest else evm.checksum_address(f"0x{0xBAD000000 + number:040x}")
    wei = (20 + account % 9) * 10**18 // 350
    unsigned = EvmTransaction(1, number, _FEES, EvmCall(signed.lower(), wei))
    text = full_text(wei, _DECIMALS)
    destination = {
        "amountNative": float(text),
        "amountNativeStr": text,
        "amountUSD": float(20 + account % 9),
        "dstAddressType": "WHITELISTED",
        "dstType": "UNMANAGED",
        "displayDstAddress": shown,
        "action": "ALLOW",
    }
    claims = {
        "txId": f"q-{number}",
        "requestId": f"q-{number}",
        "operation": "TRANSFER",
        "sourceType": "VAULT",
        "sourceId": str(account),
        "destType": "UNMANAGED",
        "destId": "1",
        "asset": "ETH",
        "amount": float(text),
        "amountStr": text,
        "fee": short_text(_FEES.gas * _FEES.max_fee, _DECIMALS),
        "destAddressType": "WHITELISTED",
        "destAddress": shown,
        "destinations": [destination],
        "rawTx": [
            {
                "keyDerivationPath": f"[ 44, 60, {account}, 0, 0 ]",
                "rawTx": unsigned.unsigned_bytes().hex(),
                "payload": unsigned.payload().hex(),
            }
        ],
        "players": ["a", "b", "c"],
        "signerId": "bench",
    }
    return jwt.encode(claims, key, "RS256").encode()
