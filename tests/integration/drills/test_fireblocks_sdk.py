"""The official `fireblocks` SDK works against the emulator unchanged."""

from collections.abc import Iterator
from typing import Any

import pytest
from fireblocks.client import Fireblocks
from fireblocks.client_configuration import ClientConfiguration
from fireblocks.exceptions import ApiException
from fireblocks.models.set_ota_status_request import SetOtaStatusRequest
from fireblocks.models.transaction_request import TransactionRequest

from tests.integration.drills.harness import API_KEY, CUSTOMER, Drill, OtherSide, private_pem


@pytest.fixture
def sdk(drill: Drill) -> Iterator[Fireblocks]:
    configuration = ClientConfiguration(
        api_key=API_KEY, secret_key=private_pem(drill.api_key), base_path=drill.seeded["base_path"]
    )
    with Fireblocks(configuration) as client:
        yield client


def request_of(external_id: str) -> TransactionRequest:
    one_time = {"type": "ONE_TIME_ADDRESS", "oneTimeAddress": {"address": CUSTOMER.split(":")[2]}}
    source = {"type": "VAULT_ACCOUNT", "id": "0"}
    wanted = {"assetId": "ETH", "amount": "0.5", "source": source, "destination": one_time, "externalTxId": external_id}
    found = TransactionRequest.from_dict(wanted)
    assert found is not None
    return found


def answer(asked: Any) -> Any:
    """What the SDK decoded; Any, because its models make every field optional."""
    return asked.result().data


def test_accounts_and_assets(sdk: Fireblocks) -> None:
    page = answer(sdk.vaults.get_paged_vault_accounts(name_prefix="hot"))
    assert [a.id for a in page.accounts] == ["0"]
    balances = {a.id: a.total for a in page.accounts[0].assets}
    assert balances == {"ETH": "100", "USDT_ERC20": "1000000"}
    addresses = answer(sdk.vaults.get_vault_account_asset_addresses_paginated("0", "ETH"))
    assert addresses.addresses[0].address == "0x1111111111111111111111111111111111111111"
    made = answer(sdk.vaults.create_vault_account_asset("1", "USDT_ERC20"))
    assert made.id == "1"


def test_a_transfer_completes_and_is_listed(sdk: Fireblocks, drill: Drill) -> None:
    made = answer(sdk.transactions.create_transaction(transaction_request=request_of("ext-1"), idempotency_key="k-1"))
    again = answer(sdk.transactions.create_transaction(transaction_request=request_of("ext-1"), idempotency_key="k-1"))
    assert made.id == again.id
    drill.wait_status(made.id, "COMPLETED")
    found = answer(sdk.transactions.get_transaction(made.id))
    assert (found.status, found.amount_info.amount, found.amount_info.amount_usd) == ("COMPLETED", "0.5", "175.00")
    listed = answer(sdk.transactions.get_transactions(status="COMPLETED", source_id="0", source_type="VAULT_ACCOUNT"))
    assert [t.id for t in listed] == [made.id]
    assert drill.get("/figures")["paid_to_customers_usd"] == "175.00"


def test_a_held_transfer_is_cancelled(sdk: Fireblocks, drill: Drill, other_side: OtherSide) -> None:
    other_side.decide = lambda _claims: "RETRY"
    made = answer(sdk.transactions.create_transaction(transaction_request=request_of("ext-2")))
    other_side.wait_for(lambda r: r.path.startswith("/cosigner"), 2)
    assert answer(sdk.transactions.cancel_transaction(made.id)).success is True
    assert drill.status(made.id)["status"] == "CANCELLED"
    balance = answer(sdk.vaults.get_vault_account_asset("0", "ETH"))
    assert (balance.available, balance.locked_amount) == ("100", "0")


def test_containment_calls(sdk: Fireblocks, drill: Drill) -> None:
    sdk.ota_beta.set_ota_status(set_ota_status_request=SetOtaStatusRequest(enabled=False)).result()
    assert answer(sdk.ota_beta.get_ota_status()).enabled is False
    with pytest.raises(ApiException) as refused:
        sdk.transactions.create_transaction(transaction_request=request_of("ext-3")).result()
    assert refused.value.status == 403
    assert [w.id for w in answer(sdk.external_wallets.get_external_wallets())] == ["w-safe"]
    sdk.external_wallets.delete_external_wallet("w-safe").result()
    assert answer(sdk.external_wallets.get_external_wallets()) == []
    events = [e.event for e in answer(sdk.audit_logs.get_audit_logs()).data]
    assert events == ["EXTERNAL_WALLET_REMOVED", "OTA_DISABLED"]
    assert [u.id for u in answer(sdk.console_user.get_console_users()).users] == ["u-1"]
    assert answer(sdk.workspace.get_workspace()).id == drill.seeded["workspace_id"]
