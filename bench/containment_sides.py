"""The rounds of `bench.containment` that touch no chain: an address list, a letter to an issuer, a freeze at BitGo."""

import asyncio
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from bench.containment_clock import Stopwatch, require
from hsm.pkcs11.platform import PlatformToken
from hsm.power import Power
from service.actions.base import ActionContext, actions_in
from service.clock import SystemClock
from service.custody.bitgo.calls import BitgoCalls
from service.domain.freeze_letter import Payment, Stolen, letter
from service.domain.ids import AccountId, ConnectionId
from service.domain.issuer import Issuer
from service.domain.plan import Target
from service.domain.quorum import Role
from service.notifiers.outside import SignedMail
from service.notifiers.smtp import SmtpChannel
from service.ports.custody import ConnectionConfig
from tests.integration.hsm.tokens import set_up
from tests.support import intake
from tests.support.api import ApiWorld, api_on
from tests.support.bitgo import SETTINGS, TOKEN, WALLET, bitgo
from tests.support.fakes import FakePlatform, Ledger
from tests.support.receivers import running_mailbox
from tests.support.servers import running_postgres, softhsm_folder
from workers.letters import signed

LISTED: Final = 1_000
STOLEN: Final = "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
ISSUER: Final = Issuer(asset=STOLEN, name="Example Coin Ltd", contact="freeze@example.org", channel="mail")
ACTIONS: Final = actions_in("service.actions")


def imported_list(rounds: int) -> dict[str, list[float]]:
    """A list of addresses is imported over the API, and the gate is asked about one of them by the next question."""
    watch = Stopwatch()
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as folder:
        url = postgres.migrated_database()
        intake.add_connection(url, "std", "standard", {}, {"webhook_secret": intake.SECRET})
        intake.add_account(url, "std", "hot-1")
        api = api_on(url, SystemClock(), Path(folder))

        async def play() -> None:
            async with intake.running(url) as world:
                if await _asked(world.client, -1, _address(-1, 0)) != "approve":
                    raise RuntimeError("an address that nobody listed is held: what is timed would prove nothing")
                for number in range(rounds):
                    with watch.timing(f"address list: {LISTED:,} addresses imported until one of them is held"):
                        await asyncio.to_thread(_import, api, number)
                        decision = await _asked(world.client, number, _address(number, LISTED // 2))
                    if decision != "hold":
                        raise RuntimeError(f"a sanctioned address was answered {decision}")

        asyncio.run(play())
        api.close()
    return watch.times


def _address(number: int, row: int) -> str:
    return f"0x{(number + 2) * 10**6 + row:040x}"


def _import(api: ApiWorld, number: int) -> None:
    rows = "".join(f"{_address(number, row)},Somebody {row},sanctioned\n" for row in range(LISTED))
    listed = {"source": f"list {number}", "listed_on": "2026-11-01", "text": f"address,name,kind\n{rows}"}
    answer = api.call("POST", "/v1/address-lists", Role.ADMIN, json=listed)
    if answer.status_code != httpx.codes.CREATED:
        raise RuntimeError(answer.text)


async def _asked(client: httpx.AsyncClient, number: int, address: str) -> str:
    question = intake.withdrawal(number + 2, destination=f"eip155:1:{address}")
    body = intake.encoded(question | {"id": f"question-{number}", "deadline_ms": 20_000})
    answer = await client.post("/v1/decisions", content=body, headers={"authorization": f"Bearer {intake.TOKEN}"})
    return str(answer.json()["decision"])


def issuer_letter(rounds: int) -> dict[str, list[float]]:
    """A letter of 100 payments: signed in the platform token, made a page and a PDF, handed to a mail server."""
    watch = Stopwatch()
    paid = [Payment(f"0x{n:064x}", datetime.now(UTC), f"eip155:1:0x{n:040x}", 10**6 + n) for n in range(100)]
    told = letter(ISSUER, Stolen(STOLEN, paid, {}), "inc-bench", datetime.now(UTC))
    action = ACTIONS["request_issuer_freeze"]
    with softhsm_folder() as softhsm, tempfile.TemporaryDirectory() as folder, running_mailbox() as box:
        config = set_up(softhsm.module, softhsm.configuration, Path(folder), Power.PLATFORM, "bench-letters")
        token = PlatformToken.open(config)
        mail = SmtpChannel("127.0.0.1", box.port, "portcullis@example.org", security="none")
        outside = SignedMail(lambda: {"mail": mail}, partial(signed, token))
        signed(token, b"the key is made once")
        for number in range(rounds):
            target = Target("asset", ConnectionId("main"), STOLEN)
            ctx = ActionContext(target, told, f"key-{number}", SystemClock(), None, outside=outside)
            with watch.timing("letter to an issuer: signed, with page and PDF, taken by the mail server"):
                receipt = action.execute(ctx)
            require(partial(action.verify, ctx, receipt))
        token.close()
        if len(box.mails) != rounds:
            raise RuntimeError(f"{len(box.mails)} letters arrived of {rounds}")
    return watch.times


def frozen_wallet(rounds: int) -> dict[str, list[float]]:
    """A BitGo wallet is frozen for a day, by requests and answers with HMAC, and asked whether it is."""
    watch = Stopwatch()
    action = ACTIONS["freeze_account"]
    with bitgo() as side:
        settings = {"api_base_url": side.url, **SETTINGS}
        config = ConnectionConfig(ConnectionId("bg"), "bitgo", settings, lambda _: TOKEN.encode(), ("access_token",))
        calls = BitgoCalls(config, FakePlatform(Ledger()))  # type: ignore[arg-type]  # its holds are not asked here
        for number in range(rounds):
            side.wallets[WALLET] = None
            target = Target("account", config.id, WALLET)
            ctx = ActionContext(target, {}, f"key-{number}", SystemClock(), AccountId("acc"), custody=calls)
            with watch.timing("BitGo wallet: frozen for 24 hours and seen frozen"):
                receipt = action.execute(ctx)
                require(partial(action.verify, ctx, receipt))
        calls.close()
    return watch.times
