"""What the emulator tests share: a receiver that plays the other side, a seed, and a hand on the control calls."""

import functools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from drills.emulator.server import EmulatorServer
from tests.support.http_server import Answer, Asked, serving

HOT = "eip155:1:0x1111111111111111111111111111111111111111"
COLD = "eip155:1:0x2222222222222222222222222222222222222222"
THIEF = "eip155:1:0x00000000000000000000000000000000000bad01"
SAFE = "eip155:1:0x5afe000000000000000000000000000000000001"
CUSTOMER = "eip155:1:0xc000000000000000000000000000000000000001"
USDT = "0xdac17f958d2ee523a2206206994597c13d831ec7"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
API_KEY = "11111111-2222-3333-4444-555555555555"
WAIT_S = 150.0


@functools.cache
def key_of(_owner: str) -> rsa.RSAPrivateKey:
    """One key for each owner in a test process: making RSA keys is the slowest part of these tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def private_pem(key: rsa.RSAPrivateKey) -> str:
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, none).decode()


@dataclass
class Received:
    """One request that the other side got."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class OtherSide:
    """Answers webhooks by `status` and callbacks by `decide`."""

    key: rsa.RSAPrivateKey
    received: list[Received] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    decide: Callable[[dict[str, Any]], str] = lambda _claims: "APPROVE"
    arrived: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def answer(self, request: Received) -> tuple[int, bytes]:
        with self.arrived:
            self.received.append(request)
            self.arrived.notify_all()
        if request.path.startswith("/cosigner/"):
            claims = msgspec.json.decode(jwt.api_jws.decode(request.body, options={"verify_signature": False}))
            answer = {"action": self.decide(claims), "requestId": claims["requestId"]}
            return 200, jwt.encode(answer, self.key, "RS256").encode()
        return (self.statuses.pop(0) if self.statuses else 200), b""

    def wait_for(self, wanted: Callable[[Received], bool], count: int = 1) -> list[Received]:
        def found() -> list[Received]:
            return [r for r in self.received if wanted(r)]

        with self.arrived:
            assert self.arrived.wait_for(lambda: len(found()) >= count, WAIT_S), [r.path for r in self.received]
        return found()


@contextmanager
def other_side_listening() -> Iterator[OtherSide]:
    """Receive webhooks and callbacks on a free port, in a thread."""
    side = OtherSide(key_of("callback"))

    def answer(asked: Asked) -> Answer:
        return Answer(*side.answer(Received(asked.path, dict(asked.headers), asked.body)))

    with serving(answer) as side.url:
        yield side


@dataclass
class Drill:
    """A seeded emulator and how to talk to its control side."""

    server: EmulatorServer
    http: httpx.Client
    api_key: rsa.RSAPrivateKey
    seeded: dict[str, Any]

    def post(self, path: str, body: object = None, expect: int = 200) -> Any:
        answer = self.http.post("/emulator" + path, json=body)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        answer = self.http.get("/emulator" + path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rpc(self, method: str, *params: object) -> Any:
        answer = self.http.post("/chain/rpc", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return answer.json()

    def transfer(self, amount: int = 10**16, to: str = CUSTOMER, **more: object) -> str:
        order = {"account": "0", "asset": "ETH", "amount_base_units": str(amount), "user": "u-1"}
        return str(self.post("/transfer", {**order, "destination": to.split(":")[2], **more})["transaction"])

    def status(self, transaction: str) -> dict[str, Any]:
        return next(t for t in self.get("/transactions") if t["id"] == transaction)

    def wait_status(self, transaction: str, *wanted: str) -> dict[str, Any]:
        waited = threading.Event()
        for _ in range(int(WAIT_S / 0.02)):
            found = self.status(transaction)
            if found["status"] in wanted:
                return found
            waited.wait(0.02)
        raise AssertionError(found)


def seed_of(other: OtherSide, api_key: rsa.RSAPrivateKey) -> dict[str, Any]:
    eth = {"id": "ETH", "caip19": "eip155:1/slip44:60", "decimals": 18, "price_usd": "350.00"}
    usdt = {
        "id": "USDT_ERC20",
        "caip19": f"eip155:1/erc20:{USDT}",
        "decimals": 6,
        "price_usd": "1.00",
        "contract": USDT,
    }
    hot = {"id": "0", "name": "hot-eth-1", "addresses": [HOT], "key_stolen": True, "at_risk": True}
    cold = {"id": "1", "name": "cold-eth-1", "addresses": [COLD], "balances": {"ETH": str(5 * 10**18)}}
    return {
        "workspace_id": str(uuid.uuid4()),
        "tenant_id": str(uuid.uuid4()),
        "assets": [eth, usdt],
        "accounts": [hot | {"balances": {"ETH": str(100 * 10**18), "USDT_ERC20": str(10**12)}}, cold],
        "destinations": [
            {"address": THIEF, "kind": "attacker", "name": "thief"},
            {"address": SAFE, "kind": "safe", "name": "safe", "wallet_id": "w-safe"},
            {"address": CUSTOMER, "kind": "customer", "name": "customer"},
        ],
        "users": [{"id": "u-1", "name": "Ada Ops", "role": "SIGNER"}],
        "api_users": [{"api_key": API_KEY, "public_key_pem": public_pem(api_key)}],
        "webhooks": {"v2_url": other.url + "/webhooks/v2", "gaps_s": [0.01] * 9},
        "callback": {
            "base_url": other.url + "/cosigner",
            "public_key_pem": public_pem(other.key),
            "retry_interval_s": 0.01,
            "retry_max": 10_000,
            "answer_timeout_s": WAIT_S,
        },
        "standard_action_secret": SECRET,
    }
