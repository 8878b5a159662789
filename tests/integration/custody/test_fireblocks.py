"""Every Fireblocks call has its effect in the emulated workspace and is verified there, signed in a SoftHSM2 token."""

import json

import jwt
import pytest

from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError
from service.domain.plan import Verdict
from service.ports.custody import Capability
from tests.integration.custody.conftest import HOT, Workspace
from tests.integration.drills.harness import CUSTOMER, THIEF

pytestmark = pytest.mark.servers
NEW = "eip155:1:0x9e00000000000000000000000000000000000a9e"
OTHER = "0x1111111111111111111111111111111111111112"


def wallets(workspace: Workspace) -> dict[str, dict[str, str]]:
    """Assets and their approval by the wallet's name, where names are unique."""
    found = list(workspace.world.internal_wallets.values())
    assert len({w.name for w in found}) == len(found)
    return {w.name: {asset: told.status for asset, told in w.assets.items()} for w in found}


def test_a_held_account_is_held_by_our_gate_until_released(workspace: Workspace) -> None:
    calls = workspace.calls()
    assert calls.outgoing_held(HOT) is Verdict.DOES_NOT_HOLD
    first = calls.hold_outgoing(HOT, key="k-1")
    assert calls.hold_outgoing(HOT, key="k-1") == first
    assert calls.outgoing_held(HOT) is Verdict.HOLDS
    calls.release_outgoing(HOT, key="k-2")
    assert calls.outgoing_held(HOT) is Verdict.DOES_NOT_HOLD
    assert workspace.arrived("POST", "/v1") == 0, "suspending one account is our gate's work alone"


def test_a_destination_is_locked_and_unlocked(workspace: Workspace) -> None:
    calls = workspace.calls()
    calls.lock_destination(HOT, THIEF, key="k-3")
    assert calls.destination_locked(THIEF) is Verdict.HOLDS
    assert calls.destination_locked(CUSTOMER) is Verdict.DOES_NOT_HOLD
    calls.unlock_destination(None, THIEF, key="k-4")
    assert calls.destination_locked(THIEF) is Verdict.DOES_NOT_HOLD


def test_a_pending_transfer_is_listed_cancelled_and_known_to_be(workspace: Workspace) -> None:
    calls = workspace.calls()
    transaction = workspace.held_transfer()
    (pending,) = calls.pending(HOT)
    assert (pending.transaction, pending.account) == (transaction, "0")
    assert pending.destination is not None
    assert pending.destination.lower() == CUSTOMER.split(":")[2]
    assert calls.cancelled(transaction) is Verdict.DOES_NOT_HOLD
    calls.cancel(HOT, transaction, key="k-1")
    assert calls.cancelled(transaction) is Verdict.HOLDS
    assert list(calls.pending(HOT)) == []
    assert workspace.drill.status(transaction)["status"] == "CANCELLED"


def test_what_is_on_the_chain_can_no_longer_be_cancelled(workspace: Workspace) -> None:
    calls = workspace.calls()
    transaction = workspace.drill.transfer()
    workspace.drill.wait_status(transaction, "COMPLETED")
    with pytest.raises(RefusedByOtherSideError):
        calls.cancel(HOT, transaction, key="k-1")
    assert calls.cancelled(transaction) is Verdict.DOES_NOT_HOLD


def test_a_transfer_that_was_sent_is_listed_dropped_and_known_to_be(stuck: Workspace) -> None:
    calls, transaction = stuck.calls(), stuck.sent_transfer()
    assert list(calls.pending(HOT)) == []
    assert [(one.transaction, one.state) for one in calls.broadcast(HOT)] == [(transaction, "BROADCASTING")]
    assert calls.dropped(transaction) is Verdict.DOES_NOT_HOLD
    receipt = calls.drop(HOT, transaction, key="k-1")
    assert str(receipt.facts["replacedTxHash"]).startswith("0x")
    stuck.until(lambda: calls.dropped(transaction) is Verdict.HOLDS)
    assert list(calls.broadcast(HOT)) == []
    assert calls.drop(HOT, transaction, key="k-1") == receipt


def test_what_is_in_a_block_can_no_longer_be_dropped(stuck: Workspace) -> None:
    calls, transaction = stuck.calls(), stuck.sent_transfer()
    stuck.drill.post("/mine")
    stuck.drill.wait_status(transaction, "COMPLETED")
    with pytest.raises(RefusedByOtherSideError):
        calls.drop(HOT, transaction, key="k-1")
    assert calls.dropped(transaction) is Verdict.DOES_NOT_HOLD
    assert list(calls.broadcast(HOT)) == []


def test_one_time_addresses_are_forbidden_and_allowed(workspace: Workspace) -> None:
    calls = workspace.calls()
    assert calls.one_time_addresses_forbidden() is Verdict.DOES_NOT_HOLD
    calls.forbid_one_time_addresses(key="k-1")
    assert calls.one_time_addresses_forbidden() is Verdict.HOLDS
    order = {"account": "0", "asset": "ETH", "amount_base_units": "1", "user": "u-1", "destination": OTHER}
    assert "one-time" in workspace.drill.post("/transfer", order, expect=403)["message"]
    calls.allow_one_time_addresses(key="k-2")
    assert calls.one_time_addresses_forbidden() is Verdict.DOES_NOT_HOLD


def test_a_frozen_workspace_says_so_and_one_that_is_not_cannot_tell(workspace: Workspace) -> None:
    calls = workspace.calls()
    assert calls.workspace_frozen() is Verdict.CANNOT_TELL, "the official description names no answer but in words"
    calls.freeze_workspace(key="k-1")
    assert calls.workspace_frozen() is Verdict.HOLDS
    assert workspace.world.frozen


def test_a_user_cannot_be_revoked_and_that_is_named(workspace: Workspace) -> None:
    calls = workspace.calls()
    assert Capability.REVOKE_CREDENTIAL not in calls.capabilities
    with pytest.raises(MissingCapabilityError, match="revoke_credential"):
        calls.revoke_credential(HOT, "u-1", key="k-1")


def test_a_new_address_is_published_for_each_asset_of_its_chain(workspace: Workspace) -> None:
    calls = workspace.calls()
    assert calls.address_published(HOT, NEW) is Verdict.DOES_NOT_HOLD
    receipt = calls.publish_address(HOT, NEW, key="k-1")
    workspace.until(lambda: calls.address_published(HOT, NEW) is Verdict.HOLDS)
    (found,) = workspace.world.internal_wallets.values()
    assert receipt.reference == found.id
    assert {asset: told.address for asset, told in found.assets.items()} == {"ETH": NEW, "USDT_ERC20": NEW}
    asked = [
        json.loads(_claims(r.body))["extraInfo"]["subType"] for r in workspace.other_side.received if _config(r.path)
    ]
    assert asked == ["INTERNAL", "INTERNAL"]
    order = {"destination_type": "INTERNAL_WALLET", "destination": found.id}
    paid = workspace.drill.post(
        "/transfer", {"account": "0", "asset": "ETH", "amount_base_units": "1000", "user": "u-1", **order}
    )
    workspace.drill.wait_status(paid["transaction"], "COMPLETED")


def _config(path: str) -> bool:
    return path.endswith("config_change_sign_request")


def _claims(token: bytes) -> bytes:
    payload: bytes = jwt.api_jws.decode(token, options={"verify_signature": False})
    return payload


def test_published_again_days_later_it_is_still_one_wallet(workspace: Workspace) -> None:
    calls = workspace.calls()
    first = calls.publish_address(HOT, NEW, key="k-1")
    assert calls.publish_address(HOT, NEW, key="another key, as if the first were forgotten") == first
    assert len(wallets(workspace)) == 1
    assert workspace.logged("INTERNAL_WALLET_ASSET_ADDED") == 2


def test_it_is_not_published_while_people_at_the_platform_have_not_agreed(workspace: Workspace) -> None:
    calls = workspace.calls()
    workspace.other_side.decide = lambda _: "RETRY"
    calls.publish_address(HOT, NEW, key="k-1")
    assert calls.address_published(HOT, NEW) is Verdict.DOES_NOT_HOLD
    workspace.other_side.decide = lambda _: "APPROVE"
    workspace.until(lambda: calls.address_published(HOT, NEW) is Verdict.HOLDS)


def test_what_people_at_the_platform_refused_is_a_clear_no(workspace: Workspace) -> None:
    calls = workspace.calls()
    workspace.other_side.decide = lambda _: "REJECT"
    calls.publish_address(HOT, NEW, key="k-1")
    workspace.until(lambda: set(*(a.values() for a in wallets(workspace).values())) == {"REJECTED"})
    assert calls.address_published(HOT, NEW) is Verdict.DOES_NOT_HOLD
    with pytest.raises(RefusedByOtherSideError, match="rejected"):
        calls.publish_address(HOT, NEW, key="k-1")


def test_a_wallet_of_our_name_with_another_address_is_never_taken_for_ours(workspace: Workspace) -> None:
    calls = workspace.calls()
    calls.publish_address(HOT, NEW, key="k-1")
    workspace.until(lambda: calls.address_published(HOT, NEW) is Verdict.HOLDS)
    (found,) = workspace.world.internal_wallets.values()
    found.assets["ETH"].address = THIEF
    assert calls.address_published(HOT, NEW) is Verdict.DOES_NOT_HOLD
    with pytest.raises(RefusedByOtherSideError, match="another address"):
        calls.publish_address(HOT, NEW, key="k-1")


def test_a_chain_without_a_known_asset_is_named_with_what_to_do(workspace: Workspace) -> None:
    with pytest.raises(MissingCapabilityError, match="eip155:8453"):
        workspace.calls().publish_address(HOT, NEW.replace(":1:", ":8453:"), key="k-1")
    assert workspace.arrived("GET", "/v1") == 0


def test_another_key_in_the_token_is_refused_and_questions_then_cannot_tell(workspace: Workspace) -> None:
    users = workspace.drill.server.emulator.running().authenticator
    users._keys.clear()
    calls = workspace.calls()
    with pytest.raises(RefusedByOtherSideError, match="401"):
        calls.forbid_one_time_addresses(key="k-1")
    assert calls.one_time_addresses_forbidden() is Verdict.CANNOT_TELL
    assert calls.address_published(HOT, NEW) is Verdict.CANNOT_TELL
    assert calls.workspace_frozen() is Verdict.CANNOT_TELL
