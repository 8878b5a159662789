"""The official Fireblocks description holds for what our adapter sends and for what the emulator answers.

Run by `make contract SPEC=path/to/fireblocks-openapi.yaml`; the description is used where it lies.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from fireblocks.client import Fireblocks
from fireblocks.client_configuration import ClientConfiguration
from fireblocks.exceptions import ApiException
from fireblocks.models.set_ota_status_request import SetOtaStatusRequest
from fireblocks.models.transaction_request import TransactionRequest

from drills.emulator.server import EmulatorServer
from service.custody.fireblocks.calls import FireblocksCalls
from service.domain.account import AccountRef
from service.domain.ids import ConnectionId
from service.domain.plan import Receipt, Verdict
from service.ports.custody import ConnectionConfig, PendingTransfer
from tests.contract.description import Description, Exchange, read_exchanges
from tests.integration.drills.harness import (
    API_KEY,
    CUSTOMER,
    Drill,
    OtherSide,
    key_of,
    other_side_listening,
    private_pem,
    seed_of,
)

pytestmark = [pytest.mark.contract, pytest.mark.servers, pytest.mark.timeout(300)]
VARIABLE = "PORTCULLIS_CONTRACT_SPEC"
DRILL_TIMEOUT_S = 240


@pytest.fixture(scope="module")
def description() -> Description:
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.fail(f"{VARIABLE} is not set: run `make contract SPEC=path/to/fireblocks-openapi.yaml`")
    return Description(Path(path))


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> list[Exchange]:
    """Every exchange of one whole drill."""
    folder = tmp_path_factory.mktemp("drill")
    record = folder / "exchanges.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "drills", "demo"],
        cwd=folder,
        env={**os.environ, "PORTCULLIS_DRILL_RECORD": str(record)},
        capture_output=True,
        text=True,
        timeout=DRILL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return read_exchanges(record)


@contextmanager
def recording(folder: Path, side: OtherSide) -> Iterator[tuple[Drill, Path]]:
    """Run a seeded emulator that writes its exchanges down."""
    record = folder / "exchanges.jsonl"
    with EmulatorServer(record=record) as server:
        headers = {"Authorization": f"Bearer {server.emulator.token}"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as http:
            api_key = key_of("api user")
            drill = Drill(server, http, api_key, {})
            world = seed_of(side, api_key)
            world["callback"] |= {"retry_interval_s": 0.2, "retry_max": 10_000}
            drill.seeded = drill.post("/seed", world)
            yield drill, record


def test_every_exchange_of_a_whole_drill_keeps_the_description(
    description: Description, drilled: list[Exchange]
) -> None:
    assert [fault for exchange in drilled for fault in description.faults(exchange)] == []
    operations = {(e.method, e.path.split("/")[2], e.path.split("/")[-1]) for e in drilled}
    assert ("GET", "transactions", "transactions") in operations, "the adapter listed what was pending"


def test_every_call_of_the_adapter_keeps_the_description(description: Description, tmp_path: Path) -> None:
    with ExitStack() as running:
        side = running.enter_context(other_side_listening())
        drill, record = running.enter_context(recording(tmp_path, side))
        side.decide = lambda _claims: "RETRY"
        held = drill.transfer()
        side.wait_for(lambda r: r.path.startswith("/cosigner"))
        adapter = running.enter_context(an_adapter(drill))
        account = AccountRef(ConnectionId("custody"), "0")
        assert [t.transaction for t in adapter.pending(account)] == [held]
        adapter.cancel(account, held, key="k-1")
        assert adapter.cancelled(held) is Verdict.HOLDS
        adapter.forbid_one_time_addresses(key="k-2")
        assert adapter.one_time_addresses_forbidden() is Verdict.HOLDS
        side.decide = lambda _claims: "APPROVE"
        adapter.allow_one_time_addresses(key="k-3")
        adapter.freeze_workspace(key="k-4")
    exchanges = read_exchanges(record)  # the emulator writes after it answered; stopped, it has written all
    assert {"/v1/workspace/freeze", "/v1/management/ota", f"/v1/transactions/{held}/cancel"} <= {
        e.path for e in exchanges
    }
    assert [fault for exchange in exchanges for fault in description.faults(exchange)] == []


def test_every_exchange_with_the_official_sdk_keeps_the_description(description: Description, tmp_path: Path) -> None:
    with other_side_listening() as side, recording(tmp_path, side) as (drill, record):
        configuration = ClientConfiguration(
            api_key=API_KEY, secret_key=private_pem(drill.api_key), base_path=drill.seeded["base_path"]
        )
        with Fireblocks(configuration) as sdk:
            _use(sdk, drill)
    exchanges = read_exchanges(record)
    assert {200, 403, 404} <= {int(e.answered["status"]) for e in exchanges}, "refusals were seen too"
    assert [fault for exchange in exchanges for fault in description.faults(exchange)] == []


def test_a_corrupted_exchange_is_noticed(description: Description, tmp_path: Path) -> None:
    with ExitStack() as running:
        side = running.enter_context(other_side_listening())
        drill, record = running.enter_context(recording(tmp_path, side))
        drill.transfer()
        adapter = running.enter_context(an_adapter(drill))
        adapter.one_time_addresses_forbidden()
        list(adapter.pending(AccountRef(ConnectionId("custody"), "0")))
        exchanges = read_exchanges(record)
    ota = next(e for e in exchanges if e.path == "/v1/management/ota")
    listed = next(e for e in exchanges if e.path == "/v1/transactions")
    assert not [*description.faults(ota), *description.faults(listed)]

    told = list(description.faults(ota.with_answer({"enabled": "perhaps"})))
    assert len(told) == 1
    assert "response" in told[0]
    assert "'perhaps' is not of type 'boolean'" in told[0]
    spoiled: list[Exchange] = [
        listed.with_answer({"not": "a list"}),
        listed.with_answer([{"id": 7}]),
        _asking(listed, path="/v1/transactions/x/undo"),
        _asking(listed, method="PATCH"),
        _asking(listed, query="colour=red"),
        _asking(listed, query="limit=many"),
    ]
    assert [e.name for e in spoiled if not list(description.faults(e))] == []


def _asking(exchange: Exchange, **changes: str) -> Exchange:
    kept = {"method": exchange.method, "path": exchange.path, "query": exchange.query}
    return Exchange(**{**kept, **changes}, asked=exchange.asked, answered=exchange.answered)


def _use(sdk: Fireblocks, drill: Drill) -> None:
    """What a user of the SDK does, refusals included."""
    sdk.vaults.get_paged_vault_accounts(name_prefix="hot").result()
    sdk.vaults.get_vault_account_asset("0", "ETH").result()
    sdk.vaults.get_vault_account_asset_addresses_paginated("0", "ETH").result()
    sdk.vaults.create_vault_account_asset("1", "USDT_ERC20").result()
    one_time = {"type": "ONE_TIME_ADDRESS", "oneTimeAddress": {"address": CUSTOMER.split(":")[2]}}
    wanted = {
        "assetId": "ETH",
        "amount": "0.5",
        "source": {"type": "VAULT_ACCOUNT", "id": "0"},
        "destination": one_time,
    }
    order = TransactionRequest.from_dict(wanted)
    made: Any = sdk.transactions.create_transaction(transaction_request=order, idempotency_key="k-1").result().data
    drill.wait_status(made.id, "COMPLETED")
    sdk.transactions.get_transaction(made.id).result()
    sdk.transactions.get_transactions(status="COMPLETED", source_id="0", source_type="VAULT_ACCOUNT").result()
    sdk.ota_beta.set_ota_status(set_ota_status_request=SetOtaStatusRequest(enabled=False)).result()
    sdk.ota_beta.get_ota_status().result()
    with pytest.raises(ApiException):
        sdk.transactions.create_transaction(transaction_request=order).result()
    with pytest.raises(ApiException):
        sdk.transactions.get_transaction("00000000-0000-4000-8000-000000000000").result()
    sdk.external_wallets.get_external_wallets().result()
    sdk.external_wallets.delete_external_wallet("w-safe").result()
    sdk.audit_logs.get_audit_logs().result()
    sdk.console_user.get_console_users().result()
    sdk.workspace.get_workspace().result()


@contextmanager
def an_adapter(drill: Drill) -> Iterator[FireblocksCalls]:
    """Our adapter, signing with a key of this process instead of the token's."""
    settings = {"api_base_url": drill.seeded["base_path"], "api_key": API_KEY}
    config = ConnectionConfig(ConnectionId("custody"), "fireblocks", settings, lambda _name: b"", ())
    with httpx.Client(trust_env=False) as client:
        yield FireblocksCalls(config, _sign, _NoHolds(), client)


def _sign(message: bytes) -> bytes:
    return key_of("api user").sign(message, padding.PKCS1v15(), hashes.SHA256())


class _NoHolds:
    """Holds of our own gate say nothing to the platform."""

    def place(self, connection: str, scope: str, value: str, *, key: str) -> Receipt:
        raise NotImplementedError

    def release(self, connection: str, scope: str, value: str, *, key: str) -> Receipt:
        raise NotImplementedError

    def held(self, connection: str, scope: str, value: str) -> Verdict:
        raise NotImplementedError

    def known_pending(self, account: AccountRef) -> Sequence[PendingTransfer]:
        raise NotImplementedError
