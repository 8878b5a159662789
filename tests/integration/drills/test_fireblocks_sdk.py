"""The official `fireblocks` SDK works against the emulator unchanged."""

from collections.abc import Iterator

import pytest
from fireblocks.client import Fireblocks
from fireblocks.client_configuration import ClientConfiguration
from fireblocks.exceptions import ApiException
from fireblocks.models.destination_transfer_peer_path import DestinationTransferPeerPath
from fireblocks.models.one_time_address import OneTimeAddress
from fireblocks.models.set_ota_status_request import SetOtaStatusRequest
from fireblocks.models.source_transfer_peer_path import SourceTransferPeerPath
from fireblocks.models.transaction_request import TransactionRequest
from fireblocks.models.transaction_request_amount import TransactionRequestAmount

from tests.integration.drills.harness import API_KEY, CUSTOMER, Drill, OtherSide, private_pem


@pytest.fixture
def sdk(drill: Drill) -> Iterator[Fireblocks]:
    configuration = ClientConfiguration(
        api_key=API_KEY, secret_key=private_pem(drill.api_key), base_path=drill.seeded["base_path"]
    )
    with Fireblocks(configuration) as client:
        yield client


def request_of(external_id: str) -> TransactionRequest:
    one_time = OneTimeAddress(address=CUSTOMER.split(":")[2])
    return TransactionRequest(
        asset_id="ETH",
        amount=TransactionRequestAmount("0.5"),
        source=SourceTransferPeerPath(type="VAULT_ACCOUNT", id="0"),
        destination=DestinationTransferPeerPath(type="ONE_TIME_ADDRESS", one_time_address=one_time),
        external_tx_id=external_id,
    )


def test_accounts_and_assets(sdk: Fireblocks) -> None:
    page = sdk.vaults.get_paged_vault_accounts(name_prefix="hot").result().data
    assert [a.id for a in page.accounts] == ["0"]
    balances = {a.id: a.total for a in page.accounts[0].assets}
    assert balances == {"ETH": "100", "USDT_ERC20": "1000000"}
    addresses = sdk.vaults.get_vault_account_asset_addresses_paginated("0", "ETH").result().data
    assert addresses.addresses[0].address == "0x1111111111111111111111111111111111111111"
    made = sdk.vaults.create_vault_account_asset("1", "USDT_ERC20").result().data
    assert made.id == "1"


def test_a_transfer_completes_and_is_listed(sdk: Fireblocks, drill: Drill) -> None:
    made = (
        sdk.transactions.create_transaction(transaction_request=request_of("ext-1"), idempotency_key="k-1")
        .result()
        .data
    )
    again = (
        sdk.transactions.create_transaction(transaction_request=request_of("ext-1"), idempotency_key="k-1")
        .result()
        .data
    )
    assert made.id == again.id
    drill.wait_status(made.id, "COMPLETED")
    found = sdk.transactions.get_transaction(made.id).result().data
    assert (found.status, found.amount_info.amount, found.amount_info.amount_usd) == ("COMPLETED", "0.5", "175.00")
    listed = (
        sdk.transactions.get_transactions(status="COMPLETED", source_id="0", source_type="VAULT_ACCOUNT").result().data
    )
    assert [t.id for t in listed] == [made.id]
    assert drill.get("/figures")["paid_to_customers_usd"] == "175.00"


def test_a_held_transfer_is_cancelled(sdk: Fireblocks, drill: Drill, other_side: OtherSide) -> None:
    other_side.decide = lambda _claims: "RETRY"
    made = sdk.transactions.create_transaction(transaction_request=request_of("ext-2")).result().data
    other_side.wait_for(lambda r: r.path.startswith("/cosigner"), 2)
    assert sdk.transactions.cancel_transaction(made.id).result().data.success is True
    assert drill.status(made.id)["status"] == "CANCELLED"
    balance = sdk.vaults.get_vault_account_asset("0", "ETH").result().data
    assert (balance.available, balance.locked_amount) == ("100", "0")


def test_containment_calls(sdk: Fireblocks, drill: Drill) -> None:
    sdk.ota_beta.set_ota_status(set_ota_status_request=SetOtaStatusRequest(enabled=False)).result()
    assert sdk.ota_beta.get_ota_status().result().data.enabled is False
    with pytest.raises(ApiException) as refused:
        sdk.transactions.create_transaction(transaction_request=request_of("ext-3")).result()
    assert refused.value.status == 403
    assert [w.id for w in sdk.external_wallets.get_external_wallets().result().data] == ["w-safe"]
    sdk.external_wallets.delete_external_wallet("w-safe").result()
    assert sdk.external_wallets.get_external_wallets().result().data == []
    events = [e.event for e in sdk.audit_logs.get_audit_logs().result().data.data]
    assert events == ["EXTERNAL_WALLET_REMOVED", "OTA_DISABLED"]
    assert [u.id for u in sdk.console_user.get_console_users().result().data.users] == ["u-1"]
    assert sdk.workspace.get_workspace().result().data.id == drill.seeded["workspace_id"]
