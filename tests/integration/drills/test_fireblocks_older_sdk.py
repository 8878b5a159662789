"""The older official SDK, `fireblocks-sdk`, works against the emulator unchanged, with its own form of signed requests.

It reached its end of life in November 2026 and goes on being used, so what it sends has to be taken for a while.
"""

import pytest
from fireblocks_sdk import FireblocksApiException, FireblocksSDK
from fireblocks_sdk.api_types import DestinationTransferPeerPath, TransferPeerPath

from tests.integration.drills.harness import API_KEY, CUSTOMER, Drill, OtherSide, private_pem


@pytest.fixture
def sdk(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> FireblocksSDK:
    monkeypatch.setenv("FIREBLOCKS_SDK_SUPPRESS_DEPRECATION_WARNING", "1")
    base = drill.seeded["base_path"].removesuffix("/v1")
    return FireblocksSDK(private_pem(drill.api_key), API_KEY, api_base_url=base, timeout=60)


def pay(sdk: FireblocksSDK, external_id: str) -> str:
    there = DestinationTransferPeerPath("ONE_TIME_ADDRESS", one_time_address={"address": CUSTOMER.split(":")[2]})
    source = TransferPeerPath("VAULT_ACCOUNT", "0")
    made = sdk.create_transaction("ETH", "0.5", source, there, external_tx_id=external_id, idempotency_key=external_id)
    return str(made["id"])


def test_a_question_without_a_body_and_a_call_with_one(sdk: FireblocksSDK, drill: Drill) -> None:
    balances = {one["id"]: one["total"] for one in sdk.get_vault_account_by_id("0")["assets"]}
    assert balances == {"ETH": "100", "USDT_ERC20": "1000000"}
    made = pay(sdk, "ext-1")
    assert pay(sdk, "ext-1") == made, "one idempotency key, one transfer"
    drill.wait_status(made, "COMPLETED")
    assert sdk.get_transaction_by_id(made)["status"] == "COMPLETED"


def test_a_held_transfer_is_cancelled_by_a_call_with_an_empty_body(
    sdk: FireblocksSDK, drill: Drill, other_side: OtherSide
) -> None:
    other_side.decide = lambda _claims: "RETRY"
    made = pay(sdk, "ext-2")
    other_side.wait_for(lambda r: r.path.startswith("/cosigner"), 2)
    assert sdk.cancel_transaction_by_id(made)["success"] is True
    assert drill.status(made)["status"] == "CANCELLED"
    with pytest.raises(FireblocksApiException):
        sdk.get_transaction_by_id("no-such-transaction")
