"""What bench/chaos.py plays on: the emulated platform and a fresh `portcullis up`, set up over HTTP as people would.

Connections of our own wire schema: `load` takes webhooks in bulk and can do nothing; `single`, `calm`, `guarded` and `vault`
stand for platforms that keep idempotency keys (several, because of each at most 50 accounts are held in an hour without
people); `forgetful` for one that acts on every request anew and cannot be asked afterwards. `fireblocks` is the emulator's
Fireblocks face (`bench/chaos_fireblocks.py`).
"""

import base64
import json
import random
import secrets
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

import httpx

from bench.chaos_fireblocks import FIREBLOCKS, Workspace
from bench.chaos_load import Event, headers_of
from bench.emulated import ETH, emulated_world
from drills.runner.crew import Member, crew_of
from drills.runner.platform import Platform
from drills.runner.processes import Installation, await_emulator, start_emulator
from drills.runner.receivers import Receivers
from drills.runner.service import Service
from drills.runner.setting_up import SetUp
from drills.scenario import load_named
from service.runtime.layout import Layout, layout_of

LOAD, SINGLE, CALM, GUARDED, FORGETFUL, VAULT = "load", "single", "calm", "guarded", "forgetful", "vault"
PAYERS: Final = 100
"""Accounts of `load`."""
PLAIN_HISTORY: Final = 40
"""Withdrawals of each vault account before it goes live: enough for an amount to be far above all of them."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Which accounts are attacked. Each is attacked once, by an actor and towards a destination of its own."""

    calm: int
    guarded: int
    forgetful: int
    vault: int
    single: int = 0
    fireblocks: int = 0

    @property
    def numbers(self) -> Mapping[str, int]:
        """How many accounts each connection has."""
        every = {SINGLE: self.single, CALM: self.calm, GUARDED: self.guarded}
        return {**every, FORGETFUL: self.forgetful, VAULT: self.vault, FIREBLOCKS: self.fireblocks}

    @property
    def accounts(self) -> tuple[tuple[str, str], ...]:
        """(connection, account) of all of them."""
        return tuple(one for name in self.numbers for one in self.of(name))

    def of(self, *names: str) -> tuple[tuple[str, str], ...]:
        """(connection, account) of those behind these connections."""
        return tuple((name, f"{name}-{n}") for name in names for n in range(self.numbers[name]))


@dataclass(slots=True)
class Stage:
    """What is running."""

    layout: Layout
    service: Service
    platform: Platform
    crew: list[Member]
    cast: Cast
    workspace: Workspace
    secrets: Mapping[str, str] = field(repr=False)
    action_secret: str = field(repr=False)
    pending: dict[str, str] = field(default_factory=dict)
    """A transfer of each account that waits at the platform, so that there is one to cancel."""

    @property
    def reader(self) -> str:
        """A token that may read everything."""
        return self.crew[0].token

    def crew_token(self, role: str) -> str:
        """The token of somebody whose token has this role."""
        return next(m.token for m in self.crew if m.strongest == role)

    @property
    def address(self) -> tuple[str, int]:
        """Where the API listens."""
        url = httpx.URL(self.service.url)
        return url.host, url.port or 80

    def usual(self, seed: int) -> Iterator[Event]:
        """Withdrawals that nobody need look at."""
        chance = random.Random(seed)  # noqa: S311  repeatable on purpose
        for number in count():
            payer = number % PAYERS
            usd = 20 + payer + chance.randrange(10)
            data = _withdrawal(
                f"payer-{payer}", f"tx-{seed}-{number}", usd, 0xC0FFEE000 + payer * 4 + chance.randrange(3)
            )
            yield self._event(LOAD, f"usual-{seed}-{number}", "withdrawal.requested", data)

    def attack(self, account: tuple[str, str]) -> Event:
        """Return the webhook that tells of an attack on one account."""
        connection, ref = account
        place = 0xBAD0000000 + self.cast.accounts.index(account)
        if connection == VAULT:
            data = _withdrawal(ref, self.pending[ref], 400_000, place)
            return self._event(connection, f"attack-{ref}", "withdrawal.requested", data)
        to = f"0x{place:040x}"
        transaction = self.pending.get(ref, f"none-{ref}")
        data = _withdrawal(ref, transaction, 140_000, place)
        data |= {"actor": f"signer-{ref}", "contract_call": {"to": to, "operation": 1, "data": "0xa9059cbb"}}
        return self._event(connection, f"attack-{ref}", "signing.requested", data)

    def ended(self, account: tuple[str, str]) -> Event | None:
        """Return the webhook that ends a forgetful account's transfer: nobody could ask whether it was cancelled."""
        connection, ref = account
        if connection != FORGETFUL:
            return None
        place = 0xBAD0000000 + self.cast.accounts.index(account)
        data = _withdrawal(ref, f"none-{ref}", 140_000, place)
        return self._event(connection, f"ended-{ref}", "withdrawal.failed", data)

    def order(self, ref: str) -> None:
        """Order a transfer that waits at the platform, because the account is held for a moment."""
        key = f"bench-{ref}"
        body = json.dumps({"id": key, "action": "hold_outgoing", "account": ref}).encode()
        signed = headers_of(Event("", key, body, self.action_secret))
        httpx.post(f"{self.platform.url}/standard/action", content=body, headers=signed).raise_for_status()
        order = {
            "account": ref,
            "asset": "ETH",
            "amount_base_units": "1000",
            "user": "signer",
            "destination": f"0x{0xC0DE:040x}",
        }
        self.pending[ref] = str(self.platform.call("/emulator/transfer", order)["transaction"])

    def _event(self, connection: str, name: str, kind: str, data: Mapping[str, object]) -> Event:
        body = json.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}).encode()
        return Event(connection, name, body, self.secrets[connection])


@contextmanager
def scratch(keep: Path | None) -> Iterator[Path]:
    """A folder with a short path, because sockets go below it (unix(7)); open enough for the service's own users."""
    if keep is not None:
        keep.mkdir(mode=0o711, parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="pcl-", dir="/tmp", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)
        yield Path(made)


@contextmanager
def running(folder: Path, cast: Cast) -> Iterator[Stage]:
    """Start and set up everything below `folder`; stop all of it at the end. DrillError says what did not start."""
    with ExitStack() as started:
        receivers = started.enter_context(Receivers())
        emulator = started.enter_context(start_emulator(folder, None, 0, _unheard))
        platform = started.enter_context(Platform(await_emulator(emulator, folder)))
        home = folder / "home"
        installation = Installation(home, {}, _unheard)
        started.enter_context(installation.program)
        told = installation.wait()
        service = started.enter_context(Service(told.url))
        known = {name: _whsec() for name in (LOAD, *cast.numbers) if name != FIREBLOCKS}
        workspace = Workspace(platform, tuple(ref for _, ref in cast.of(FIREBLOCKS)))
        stage = Stage(layout_of(home), service, platform, crew_of([]), cast, workspace, known, _whsec())
        _set_up(stage, told.token, receivers)
        yield stage


def _set_up(stage: Stage, token: str, receivers: Receivers) -> None:
    service, cast = stage.service, stage.cast
    setting_up = SetUp(service, token, load_named("kucoin-2020"))
    setting_up.channels(receivers)
    setting_up.people(stage.crew)
    made = service.post("/v1/setup/connections", token, {"connections": list(_connections(stage))})["connections"]
    others = [one for one in cast.accounts if one[0] != FIREBLOCKS]
    accounts = [_account(LOAD, f"payer-{n}") for n in range(PAYERS)] + [_account(*one) for one in others]
    accounts += stage.workspace.accounts()
    registered = service.post("/v1/setup/accounts", token, {"accounts": accounts})["accounts"]
    setting_up.complete()
    stage.platform.seed(_world(stage, [ref for _, ref in others]))
    ingest = {str(one["id"]): str(one["ingest_token"]) for one in made}
    for connection, refs in ((VAULT, [ref for _, ref in cast.of(VAULT)]), (FIREBLOCKS, stage.workspace.robbed)):
        lines = [line for ref in refs for line in _history(ref)]
        if lines:
            list(service.history(ingest[connection], sorted(lines)))
    for connection, ref in cast.accounts:
        if connection != FORGETFUL and ref not in stage.workspace.attacked:
            stage.order(ref)
    for ref in stage.workspace.robbed:
        stage.order(ref)
    for one in registered:
        service.post(f"/v1/accounts/{one['id']}/go-live", stage.crew_token("admin"))


def _world(stage: Stage, refs: Sequence[str]) -> dict[str, object]:
    workspace = stage.workspace
    world = emulated_world(refs, str(uuid.uuid4()), str(uuid.uuid4()), stage.action_secret)
    if not workspace.attacked:
        return world
    told = workspace.world(stage.service.url, stage.layout.public / "gate-callback.pem")
    accounts = world["accounts"]
    return world | told | {"accounts": [*(accounts if isinstance(accounts, list) else []), *workspace.emulated()]}


def _connections(stage: Stage) -> Iterator[dict[str, object]]:
    for name, secret in stage.secrets.items():
        face = f"{stage.platform.url}/{FORGETFUL if name == FORGETFUL else 'standard'}"
        acts = {"action_url": f"{face}/action", "status_url": f"{face}/status"} if name != LOAD else {}
        told = {"webhook_secret.0": secret} | ({"action_secret": stage.action_secret} if acts else {})
        kept = [{"name": key, "value": value} for key, value in told.items()]
        yield {
            "id": name,
            "platform": "standard",
            "name": name,
            "settings": acts | {"rate_per_s": "5000"},
            "secrets": kept,
        }
    if stage.workspace.attacked:
        yield stage.workspace.connection()


def _account(connection: str, ref: str) -> dict[str, object]:
    made: dict[str, object] = {"connection": connection, "ref": ref, "name": ref, "holder": "platform", "assets": [ETH]}
    if connection == VAULT:
        made |= {"holder": "vault_key", "wallet_id": f"wallet-{ref}"}
    return made


def _history(ref: str) -> Iterator[bytes]:
    """Lines of NDJSON that begin with their time, so that sorting them is the order they happened in."""
    for number in range(PLAIN_HISTORY):
        at = datetime.now(UTC) - timedelta(hours=6 * (PLAIN_HISTORY - number), minutes=30)
        data = _withdrawal(ref, f"old-{ref}-{number}", 100 + number % 7, 0xC0FFEE100 + number % 5)
        line = {"timestamp": at.isoformat(), "id": f"old-{ref}-{number}", "type": "withdrawal.confirmed", "data": data}
        yield json.dumps(line).encode() + b"\n"


def _withdrawal(ref: str, transaction: str, usd: int, place: int) -> dict[str, object]:
    return {
        "account": ref,
        "actor": f"payouts-{ref}",
        "transaction": transaction,
        "asset": ETH,
        "amount_base_units": str(usd * 10**18 // 350),
        "amount_usd": f"{usd}.00",
        "destination": f"eip155:1:0x{place:040x}",
        "destination_kind": "one_time",
    }


def _whsec() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _unheard(_line: str) -> None:
    """What a program prints is kept by the program for when it fails."""
