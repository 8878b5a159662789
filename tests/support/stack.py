"""One real installation for end-to-end tests: `portcullis up` on a free port, set up over HTTP as a person would.

The platform at the other side is the drills' emulator; people, phones and receivers are the drills' too, because both
stand outside and know the service by HTTP alone. Started once per session; nothing is shared between two stacks.
"""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from standardwebhooks.webhooks import Webhook

from bench.emulated import ETH, emulated_world
from drills.runner.crew import Member, crew_of
from drills.runner.platform import Platform
from drills.runner.processes import Installation, await_emulator, start_emulator
from drills.runner.receivers import Receivers
from drills.runner.service import Service
from drills.runner.setting_up import SetUp
from drills.scenario import load_named
from service.runtime.accounts import myself
from tests.support.http_server import as_json, serving
from tests.support.servers import short_folder

INTAKE: Final = "intake"
"""A `standard` connection that nothing can be done to: for what is sent in bulk. Two secrets are in force."""
GUARDED: Final = "guarded"
"""A `standard` connection whose platform carries out containment actions."""
CUSTODY: Final = "custody"
"""A `fireblocks` connection whose key set the stack publishes (v2)."""
LEGACY: Final = "legacy"
"""A `fireblocks` connection with a static key (v1)."""
DARK: Final = "dark"
"""A `fireblocks` connection whose key set cannot be fetched."""
VAULTS: Final = tuple(f"vault-{number}" for number in range(1, 9))
"""Accounts of GUARDED; each test that opens an incident takes its own."""
KID: Final = "stack-key-1"
WAIT_S: Final = 120.0


@dataclass
class Stack:
    """A running installation and everything that talks to it."""

    home: Path
    url: str
    service: Service
    platform: Platform
    receivers: Receivers
    crew: list[Member]
    http: httpx.Client
    ingest: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)
    """Every secret that was handed in or shown, by what it is."""
    signing_key: rsa.RSAPrivateKey = field(repr=False)
    """Signs the webhooks of CUSTODY (kid KID) and LEGACY."""
    workspace_id: str
    tenant_id: str

    def token(self, role: str) -> str:
        """The API token of somebody whose token has this role."""
        return next(m.token for m in self.crew if m.strongest == role)

    @property
    def reader(self) -> str:
        """A token that may read everything."""
        return self.crew[0].token

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `portcullis …` as a user of this installation would."""
        return portcullis(self.home, *arguments)

    def activities(self, **query: str) -> list[dict[str, Any]]:
        """List activities over the API."""
        return list(self.service.pages("/v1/activities", self.reader, **query))

    def deliver(self, connection: str, event_id: str, body: bytes, **headers: str) -> httpx.Response:
        """Send one genuine webhook of a `standard` connection, signed by the official package."""
        signed = standard_headers(self.secrets[f"{connection} webhook secret"], event_id, body)
        return self.http.post(f"/webhooks/{connection}", content=body, headers=signed | headers)

    def processes(self) -> dict[str, dict[str, Any]]:
        """What `portcullis status --json` says of every process, by name."""
        return {part["name"]: part for part in status(self.home)["parts"]}

    def pending_transfer(self, account: str, destination: str) -> str:
        """Order a transfer at the platform that waits there, because the account is held for a moment; returns its id."""
        self._act("hold_outgoing", account)
        order = {
            "account": account,
            "asset": "ETH",
            "amount_base_units": str(10**18),
            "user": "signer",
            "destination": destination.rpartition(":")[2],
        }
        return str(self.platform.call("/emulator/transfer", order)["transaction"])

    def attack(self, account: str, event_id: str, **headers: str) -> httpx.Response:
        """Tell of a first delegatecall of an account: held at once, and an incident of kind signing_tampering."""
        number = VAULTS.index(account)
        destination = f"eip155:1:0x{0xBAD000 + number:040x}"
        # Not to the destination that will be locked: the platform would block the transfer before we cancel it.
        transaction = self.pending_transfer(account, f"eip155:1:0x{0xC0DE00 + number:040x}")
        return self.deliver(GUARDED, event_id, tampered_signing(number, transaction, destination), **headers)

    def _act(self, action: str, account: str) -> None:
        body = json.dumps({"id": f"test-{action}-{account}", "action": action, "account": account}).encode()
        headers = standard_headers(self.secrets["action secret"], f"test-{action}-{account}", body)
        httpx.post(f"{self.platform.url}/standard/action", content=body, headers=headers).raise_for_status()

    def incident_of(self, account: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Wait for the incident about an account of GUARDED to be contained; returns it."""
        found: dict[str, Any] = {}

        def contained() -> bool:
            for one in self.service.pages("/v1/incidents", self.reader):
                if f"account:{GUARDED}/{account}" in one["entities"]:
                    found.update(self.service.get(f"/v1/incidents/{one['id']}", self.reader))
            return found.get("state") in {"contained", "recovering", "closed"}

        wait_until(contained, f"the incident of {account} is contained", timeout_s, lambda: found)
        return found


@contextmanager
def running_stack() -> Iterator[Stack]:
    """Start and set up a whole installation; stop it cleanly at the end."""
    with ExitStack() as running:
        folder = running.enter_context(short_folder(myself()))
        folder.chmod(0o711)
        receivers = running.enter_context(Receivers())
        emulator = running.enter_context(start_emulator(folder, None, 0, _unheard))
        platform = running.enter_context(Platform(await_emulator(emulator, folder)))
        installation = Installation(folder / "home", {}, _unheard)
        running.enter_context(installation.program)
        told = installation.wait()
        service = running.enter_context(Service(told.url))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwks = running.enter_context(_publishing(key))
        http = running.enter_context(httpx.Client(base_url=told.url, timeout=30, trust_env=False))
        yield _set_up(service, told.token, platform, receivers, Places(folder / "home", jwks, key, http))


@dataclass(frozen=True, slots=True)
class Places:
    """What set-up needs to know of this test process."""

    home: Path
    jwks_url: str
    key: rsa.RSAPrivateKey
    http: httpx.Client


def _set_up(service: Service, token: str, platform: Platform, receivers: Receivers, places: Places) -> Stack:
    known = {f"{c} webhook secret": _whsec() for c in (INTAKE, GUARDED)}
    known |= {"second intake secret": _whsec(), "action secret": _whsec(), "set-up token": token}
    known["API signing key"] = _private_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    workspace_id, tenant_id = str(uuid.uuid4()), str(uuid.uuid4())
    crew = crew_of([])
    setting_up = SetUp(service, token, load_named("kucoin-2020"))
    setting_up.channels(receivers)
    setting_up.people(crew)
    connections = _connections(platform.url, places, known, (workspace_id, tenant_id))
    made = service.post("/v1/setup/connections", token, {"connections": connections})["connections"]
    accounts = [_account(INTAKE, "hot-1"), *(_account(GUARDED, ref) for ref in VAULTS)]
    registered = service.post("/v1/setup/accounts", token, {"accounts": accounts})["accounts"]
    setting_up.complete()
    platform.seed(emulated_world(VAULTS, workspace_id, tenant_id, known["action secret"]))
    stack = Stack(
        home=places.home,
        url=service.url,
        service=service,
        platform=platform,
        receivers=receivers,
        crew=crew,
        http=places.http,
        ingest={str(one["id"]): str(one["ingest_token"]) for one in made},
        secrets=known | {"users' webhook secret": receivers.webhook_secret},
        signing_key=places.key,
        workspace_id=workspace_id,
        tenant_id=tenant_id,
    )
    for one in registered:
        service.post(f"/v1/accounts/{one['id']}/go-live", stack.token("admin"))
    return stack


def _connections(
    platform: str, places: Places, known: Mapping[str, str], owner: tuple[str, str]
) -> list[dict[str, object]]:
    pem = places.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    acting = {"action_url": f"{platform}/standard/action", "status_url": f"{platform}/standard/status"}
    both = {"webhook_secret.0": known[f"{INTAKE} webhook secret"], "webhook_secret.1": known["second intake secret"]}
    custody = {
        "workspace_id": owner[0],
        "jwks_url": places.jwks_url,
        "api_base_url": f"{platform}/v1",
        "api_key": str(uuid.uuid4()),
    }
    guarded = {"webhook_secret.0": known[f"{GUARDED} webhook secret"], "action_secret": known["action secret"]}
    return [
        _connection(INTAKE, "standard", {}, both),
        _connection(GUARDED, "standard", acting, guarded),
        _connection(CUSTODY, "fireblocks", custody, {"api_private_key": known["API signing key"]}),
        _connection(LEGACY, "fireblocks", {"tenant_id": owner[1], "webhook_public_key": pem.decode()}, {}),
        _connection(DARK, "fireblocks", {"workspace_id": owner[0], "jwks_url": "http://127.0.0.1:1/jwks.json"}, {}),
    ]


def _connection(name: str, platform: str, settings: Mapping[str, str], known: Mapping[str, str]) -> dict[str, object]:
    told = [{"name": one, "value": value} for one, value in known.items()]
    return {"id": name, "platform": platform, "name": name, "settings": dict(settings), "secrets": told}


def _account(connection: str, ref: str) -> dict[str, object]:
    return {"connection": connection, "ref": ref, "name": ref, "holder": "platform", "assets": [ETH]}


def withdrawal(number: int) -> bytes:
    """One withdrawal of INTAKE's account in our wire schema."""
    data = {
        "account": "hot-1",
        "actor": "payout-bot",
        "transaction": f"tx-{number}",
        "asset": ETH,
        "amount_base_units": str(10**16 * (1 + number % 7)),
        "amount_usd": f"{30 * (1 + number % 7)}.00",
        "destination": f"eip155:1:0x{0xC0FFEE00 + number % 50:040x}",
        "destination_kind": "one_time",
    }
    return encoded("withdrawal.requested", data)


def tampered_signing(number: int, transaction: str, destination: str) -> bytes:
    """A request to sign a delegatecall, which no account of GUARDED ever made."""
    data = {
        "account": VAULTS[number],
        "actor": f"signer-{number}",
        "transaction": transaction,
        "asset": ETH,
        "amount_base_units": str(400 * 10**18),
        "amount_usd": "140000.00",
        "destination": destination,
        "contract_call": {
            "to": destination.rpartition(":")[2],
            "operation": 1,
            "method": "transfer",
            "data": "0xa9059cbb",
        },
    }
    return encoded("signing.requested", data)


def encoded(kind: str, data: Mapping[str, object], **more: object) -> bytes:
    """One activity as JSON."""
    return json.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data, **more}).encode()


def standard_headers(secret: str, event_id: str, body: bytes) -> dict[str, str]:
    """Headers of one webhook, signed by the official `standardwebhooks` package."""
    at = datetime.now(UTC)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, body.decode()),
    }


def jws_header(key: rsa.RSAPrivateKey, body: bytes, *, kid: str = KID) -> str:
    """The detached JWS (RS512) of a Fireblocks v2 webhook."""
    protected, _, signature = jwt.api_jws.encode(body, key, "RS512", headers={"kid": kid, "typ": None}).split(".")
    return f"{protected}..{signature}"


def portcullis(home: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line against a home; its errors are in `stderr`."""
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env={**os.environ, **environment, "PORTCULLIS_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def status(home: Path) -> dict[str, Any]:
    """What `portcullis status --json` says."""
    done = portcullis(home, "status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_until(
    done: Callable[[], bool], what: str, timeout_s: float = WAIT_S, shown: Callable[[], object] = lambda: ""
) -> None:
    """Ask again and again until it is so; AssertionError that says what never came."""
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"waited {timeout_s:.0f} s and never saw: {what} {shown()}"
        time.sleep(0.1)


def _whsec() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _private_pem(key: rsa.RSAPrivateKey) -> str:
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, none).decode()


def _unheard(_line: str) -> None:
    """What a program prints is kept by the program for when it fails."""


@contextmanager
def _publishing(key: rsa.RSAPrivateKey) -> Iterator[str]:
    """Serve a JSON Web Key Set with this key on loopback."""
    one = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    keys = as_json(200, {"keys": [one | {"kid": KID, "alg": "RS512", "use": "sig"}]})
    with serving(lambda _: keys) as url:
        yield f"{url}/jwks.json"
