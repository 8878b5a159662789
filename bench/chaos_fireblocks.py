"""The Fireblocks workspace of bench/chaos.py: signed calls out of Portcullis, and a co-signer that asks before it signs.

Of the attacked accounts every even one is *robbed*: a large transfer is ordered beside one that waits already, both must be
cancelled by signed calls. Every odd one is *deceived*: what its co-signer is asked to sign pays somebody else than is shown.
`asked` accounts pay as usual all the time, so that questions come while everything dies. The platform's webhooks, its
co-signer and its ledger are the emulator's; nothing here speaks for Portcullis.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, Self

from bench.emulated import BALANCE_WEI, ETH
from drills.runner.errors import ApiError
from drills.runner.platform import Platform
from drills.runner.setting_up import Credentials

FIREBLOCKS: Final = "fireblocks"
ASKED: Final = 12
"""Accounts that pay as usual."""
PER_S: Final = 3.0
KNOWN: Final = 3
"""Whitelisted wallets that all of them pay."""
DECOY: Final = "decoy"
"""The one that deceived signers are shown, and that nobody else pays: it may be locked."""
_WEI_OF_A_DOLLAR: Final = 10**18 // 350
_LARGE_WEI: Final = 900 * 10**18
_FIRST: Final = 0xF1B0000
_KNOWN: Final = 0xC0FFEE200
_THIEF: Final = 0xBADF000000
GAPS_S: Final = (0.2, 0.5, 1.0, 1.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 10.0, 10.0, 10.0, 10.0, 20.0, 20.0)
"""How soon the platform delivers a webhook again: real gaps are longer than a run."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace. `attacked`: its accounts that are, each once, towards a wallet of its own."""

    platform: Platform
    attacked: tuple[str, ...]
    credentials: Credentials = field(default_factory=Credentials.fresh)

    @property
    def asked(self) -> tuple[str, ...]:
        """Its accounts that pay as usual."""
        return tuple(f"asked-{n}" for n in range(ASKED)) if self.attacked else ()

    def is_deceived(self, ref: str) -> bool:
        """Say whether an attacked account's signers are shown something else than they sign."""
        return self.attacked.index(ref) % 2 == 1

    @property
    def robbed(self) -> tuple[str, ...]:
        """The attacked accounts that are not deceived."""
        return tuple(ref for ref in self.attacked if not self.is_deceived(ref))

    def connection(self) -> dict[str, object]:
        """Return the connection as set-up registers it."""
        mine = self.credentials
        settings = {
            "api_base_url": f"{self.platform.url}/v1",
            "api_key": mine.api_key,
            "workspace_id": mine.workspace_id,
            "tenant_id": mine.tenant_id,
            "jwks_url": self.platform.jwks_url(),
            "cosigner_public_key": self.platform.keys()["cosigner_public_key_pem"],
            "rate_per_s": "5000",
        }
        secrets = [{"name": "api_private_key", "value": mine.private_pem}]
        return {"id": FIREBLOCKS, "platform": FIREBLOCKS, "name": FIREBLOCKS, "settings": settings, "secrets": secrets}

    def accounts(self) -> list[dict[str, object]]:
        """Return its accounts as set-up registers them."""
        return [
            {"connection": FIREBLOCKS, "ref": ref, "name": ref, "holder": "platform", "assets": [ETH]}
            for ref in (*self.attacked, *self.asked)
        ]

    def world(self, service_url: str, gate_pem: Path) -> dict[str, object]:
        """Return what the emulator is told beside its other accounts (`drills/emulator/settings.py`)."""
        mine = self.credentials
        return {
            "workspace_id": mine.workspace_id,
            "tenant_id": mine.tenant_id,
            "api_users": [{"api_key": mine.api_key, "public_key_pem": mine.public_pem}],
            "destinations": [*self._wallets()],
            "webhooks": {"v2_url": f"{service_url}/webhooks/{FIREBLOCKS}", "gaps_s": list(GAPS_S), "timeout_s": 10.0},
            "callback": {
                "base_url": f"{service_url}/cosigner/{FIREBLOCKS}",
                "public_key_pem": gate_pem.read_text(),
                "retry_interval_s": 1.0,
                "retry_max": 600,
            },
        }

    def emulated(self) -> list[dict[str, object]]:
        """Return its accounts as the emulator has them."""
        return [
            {
                "id": ref,
                "name": ref,
                "addresses": [self.address(ref)],
                "balances": {"ETH": str(BALANCE_WEI)},
                "platform": FIREBLOCKS,
            }
            for ref in (*self.attacked, *self.asked)
        ]

    def address(self, ref: str) -> str:
        """Return the CAIP-10 address of an account."""
        return f"eip155:1:0x{_FIRST + (*self.attacked, *self.asked).index(ref):040x}"

    def attack(self, ref: str) -> None:
        """Order what a thief orders. Raises ApiError when the platform refuses it."""
        thief = f"0x{_THIEF + self.attacked.index(ref):040x}"
        if self.is_deceived(ref):
            signed = {"to": thief, "value": str(_LARGE_WEI)}
            self._order(ref, 30 * _WEI_OF_A_DOLLAR, DECOY, raw_call=signed)
        else:
            self._order(ref, _LARGE_WEI, thief, destination_type="ONE_TIME_ADDRESS")

    def pay(self, number: int) -> str:
        """Order the next of the usual payments; returns its id at the platform."""
        usd = 20 + number % ASKED + number % 7
        return self._order(self.asked[number % ASKED], usd * _WEI_OF_A_DOLLAR, f"known-{number % KNOWN}")

    def _order(self, ref: str, amount: int, wallet: str, **more: object) -> str:
        order = {"account": ref, "asset": "ETH", "amount_base_units": str(amount), "user": f"payouts-{ref}"}
        place = {"destination": wallet, "destination_type": "EXTERNAL_WALLET"}
        return str(self.platform.call("/emulator/transfer", {**order, **place, **more})["transaction"])

    def _wallets(self) -> list[Mapping[str, str]]:
        return [
            {"address": f"eip155:1:0x{_KNOWN + n:040x}", "kind": "customer", "name": name, "wallet_id": name}
            for n, name in enumerate([*(f"known-{n}" for n in range(KNOWN)), DECOY])
        ]


class Payer:
    """Orders the usual payments in a thread of its own, each of which the co-signer asks about. A context manager.

    It also plays the thieves: who deceives orders again when the platform failed the request because nobody answered, and
    who robs can do nothing once one-time addresses are forbidden.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="payer", daemon=True)
        self.ordered: list[str] = []
        self.refused: list[str] = []
        self.spared: list[str] = []
        """Accounts that could not be attacked any more."""
        self._deceived: list[str] = []

    def __enter__(self) -> Self:
        if self._workspace.asked:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Order nothing more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def strike(self, ref: str) -> None:
        """Attack an account."""
        try:
            self._workspace.attack(ref)
        except ApiError:
            self.spared.append(ref)
        else:
            self._deceived += [ref] if self._workspace.is_deceived(ref) else []

    def waiting(self) -> list[str]:
        """Return those of its payments and thefts that the platform has neither carried out nor refused nor cancelled."""
        mine, told = set(self.ordered), self._workspace.platform.transactions()
        return [*(str(t["id"]) for t in told if t["id"] in mine and not is_over(t)), *self._again(told)]

    def _again(self, told: Sequence[Mapping[str, object]]) -> list[str]:
        """Deceive again where no question about it was answered; return those accounts."""
        states = {ref: {t["status"] for t in told if source_of(t) == ref} for ref in list(self._deceived)}
        unheard = [ref for ref, found in states.items() if found == {"FAILED"}]
        for ref in unheard:
            self._workspace.attack(ref)
        return [ref for ref, found in states.items() if not found & {"REJECTED", "CANCELLED"}]

    def _run(self) -> None:
        for number in count():
            if self._over.wait(1 / PER_S):
                return
            try:
                self._again(self._workspace.platform.transactions() if self._deceived else ())
                self.ordered.append(self._workspace.pay(number))
            except ApiError as error:
                self.refused.append(str(error))


def is_over(transaction: Mapping[str, object]) -> bool:
    """Say whether a transaction is in a final state of the platform's."""
    return transaction["status"] in {"COMPLETED", "CANCELLED", "REJECTED", "BLOCKED", "FAILED"}


def source_of(transaction: Mapping[str, object]) -> str:
    """Return the account that a transaction leaves; empty for one that came in."""
    source = transaction["source"]
    return str(source.get("id") or "") if isinstance(source, Mapping) else ""


def of_accounts(platform: Platform, refs: Sequence[str]) -> list[dict[str, object]]:
    """Return the transactions that left, or would leave, these accounts."""
    return [t for t in platform.transactions() if source_of(t) in refs]
