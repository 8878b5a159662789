"""The platforms without a custodian: Safes as the events service tells of them, and a wallet of one's own."""

import base64
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.custody.evm.calls import calls as evm_calls
from service.custody.evm.platform import PLATFORM as EVM
from service.custody.evm.webhooks import EvmReceiver, signature
from service.custody.safe.platform import PLATFORM as SAFE
from service.custody.safe.webhooks import SafeReceiver
from service.domain.account import AccountRef
from service.domain.activity import Activity
from service.domain.errors import (
    ConfigurationError,
    InputError,
    MissingCapabilityError,
    UnauthenticatedError,
)
from service.domain.ids import ConnectionId
from service.domain.plan import Receipt, Verdict
from service.domain.safe import call
from service.ports.custody import Capability, ConnectionConfig, PendingTransfer

NOW = 1_700_000_000.0
WATCHED = "0x" + "5a" * 20
ACCOUNT = f"eip155:1:{WATCHED}"
TOKEN = "0x" + "70" * 20
THIEF = "0x" + "bad0" * 10
HASH = "0x" + "aB" * 32
PASSWORD = b"events:sixteen-or-more-characters"
SAFE_HEADERS = {b"authorization": b"Basic " + base64.b64encode(PASSWORD)}


def config(platform: str, secrets: Mapping[str, bytes], **settings: str) -> ConnectionConfig:
    return ConnectionConfig(ConnectionId("con-a"), platform, settings, secrets.__getitem__, tuple(secrets))


def safe_receiver(**secrets: bytes) -> SafeReceiver:
    return SafeReceiver(config("safe", secrets or {"webhook_basic": PASSWORD}, safes=ACCOUNT))


def told(**event: object) -> Activity | None:
    body = {"address": WATCHED.upper().replace("0X", "0x"), "chainId": "1", "safeTxHash": HASH, **event}
    return safe_receiver().receive(SAFE_HEADERS, json.dumps(body).encode(), now_s=NOW).activity


def pending(to: str, data: bytes = b"", **more: object) -> Activity:
    found = told(type="PENDING_MULTISIG_TRANSACTION", to=to, data="0x" + data.hex() if data else None, **more)
    assert found is not None
    return found


def test_a_token_transfer_that_waits_for_owners() -> None:
    found = pending(TOKEN, call("transfer(address,uint256)", THIEF, 5))
    assert (found.kind, found.account, found.transaction) == ("withdrawal.requested", ACCOUNT, HASH.lower())
    assert (found.asset, found.amount_base_units) == (f"eip155:1/erc20:{TOKEN}", 5)
    assert found.destination == f"eip155:1:{THIEF}"
    assert found.signing is not None
    facts = (found.signing.delegatecall, found.signing.unlimited_approval, found.signing.governance_call)
    assert facts == (None, None, None), "the event tells neither operation nor refund, so nothing is ruled out"


def test_coin_that_waits_for_owners() -> None:
    found = pending(THIEF, value="7")
    assert (found.kind, found.asset, found.amount_base_units) == ("withdrawal.requested", "eip155:1/slip44:60", 7)
    assert pending(THIEF).kind == "signing.requested", "an amount that was not told is not made up"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (call("swapOwner(address,address,address)", TOKEN, TOKEN, THIEF), "governance.quorum_changed"),
        (call("changeThreshold(uint256)", 1), "governance.quorum_changed"),
        (call("setGuard(address)", THIEF), "governance.policy_changed"),
        (call("enableModule(address)", THIEF), "governance.policy_changed"),
    ],
)
def test_a_change_of_the_safe_itself_is_governance(data: bytes, kind: str) -> None:
    assert pending(WATCHED, data).kind == kind
    assert pending(TOKEN, data).kind == "signing.requested", "another contract is not the Safe"


@pytest.mark.parametrize(
    ("event", "kind", "actor"),
    [
        ({"type": "NEW_CONFIRMATION", "owner": THIEF}, "withdrawal.approved", THIEF),
        ({"type": "EXECUTED_MULTISIG_TRANSACTION", "txHash": HASH, "failed": "false"}, "withdrawal.confirmed", None),
        ({"type": "EXECUTED_MULTISIG_TRANSACTION", "txHash": HASH, "failed": "true"}, "withdrawal.failed", None),
        ({"type": "DELETED_MULTISIG_TRANSACTION"}, "withdrawal.cancelled", None),
        (
            {"type": "MODULE_TRANSACTION", "module": TOKEN, "safeTxHash": None, "txHash": HASH},
            "withdrawal.confirmed",
            TOKEN,
        ),
    ],
)
def test_how_far_a_transaction_is(event: dict[str, object], kind: str, actor: str | None) -> None:
    found = told(**event)
    assert found is not None
    assert (found.kind, found.actor, found.transaction) == (kind, actor, HASH.lower())


def test_what_means_nothing_is_kept_under_its_name() -> None:
    body = json.dumps({"type": "SAFE_CREATED", "address": WATCHED, "chainId": "1", "txHash": HASH}).encode()
    delivery = safe_receiver().receive(SAFE_HEADERS, body, now_s=NOW)
    assert (delivery.activity, delivery.event_type) == (None, "SAFE_CREATED")


def test_a_repetition_is_one_event_and_each_owner_s_word_another() -> None:
    def identity(owner: str) -> str:
        body = {"type": "NEW_CONFIRMATION", "address": WATCHED, "chainId": "1", "safeTxHash": HASH, "owner": owner}
        return safe_receiver().receive(SAFE_HEADERS, json.dumps(body).encode(), now_s=NOW).event_id

    assert identity(THIEF) == identity(THIEF) != identity(TOKEN)


@pytest.mark.parametrize(
    "header", [b"", b"Basic", b"Basic ####", b"Bearer x", b"Basic " + base64.b64encode(b"events:no")]
)
def test_wrong_credentials_are_refused_before_anything_is_read(header: bytes) -> None:
    with pytest.raises(UnauthenticatedError):
        safe_receiver().receive({b"authorization": header}, b"not even JSON", now_s=NOW)


def test_another_safe_or_chain_is_refused() -> None:
    for wrong in ({"address": THIEF}, {"chainId": "137"}):
        with pytest.raises(UnauthenticatedError):
            told(type="NEW_CONFIRMATION", **wrong)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"type":"X","address":"0x1","chainId":"1"}']
)
def test_what_is_no_event_is_the_sender_s_fault(body: bytes) -> None:
    with pytest.raises(InputError):
        safe_receiver().receive(SAFE_HEADERS, body, now_s=NOW)


@given(st.binary(max_size=300), st.sampled_from([None, "1", "x"]), st.text(max_size=80))
def test_no_event_breaks_the_receiver(data: bytes, value: str | None, to: str) -> None:
    body = {
        "type": "PENDING_MULTISIG_TRANSACTION", "address": WATCHED, "chainId": "1", "to": to, "value": value,
        "data": data.hex(),
    }  # fmt: skip
    try:
        safe_receiver().receive(SAFE_HEADERS, json.dumps(body).encode(), now_s=NOW)
    except InputError:
        return


def test_a_safe_connection_names_its_safes_and_a_password_that_nobody_guesses() -> None:
    SAFE.check_settings({"safes": ACCOUNT, "signers_ask_gate": "yes"})
    for wrong in ({}, {"safes": "eip155:1"}, {"safes": "bip122:1:0x" + "5a" * 20}):
        with pytest.raises(InputError):
            SAFE.check_settings(wrong)
    with pytest.raises(InputError, match="yes or no"):
        SAFE.check_settings({"safes": ACCOUNT, "signers_ask_gate": "perhaps"})
    for short in (b"events:short", b"no-colon-at-all-in-it", b":sixteen-or-more-characters"):
        with pytest.raises(ConfigurationError):
            safe_receiver(webhook_basic=short)
    with pytest.raises(ConfigurationError, match="nothing could ever be let in"):
        safe_receiver(other=PASSWORD)


PAID_IN = {"account": "hot-1", "asset": "eip155:1/slip44:60", "amount_base_units": "1", "transaction": "t"}
EVENT = json.dumps({"type": "deposit.confirmed", "timestamp": "2023-11-14T22:13:20Z", "data": PAID_IN}).encode()


def evm_receiver(secret: bytes = b"twenty-four-bytes-or-more") -> EvmReceiver:
    return EvmReceiver(config("evm", {"webhook_hmac": secret}))


def signed(body: bytes, at: str, secret: bytes = b"twenty-four-bytes-or-more") -> dict[bytes, bytes]:
    import hashlib  # noqa: PLC0415  the other side's own arithmetic, apart from ours
    import hmac  # noqa: PLC0415  as above

    mac = hmac.new(secret, body + at.encode(), hashlib.sha256).hexdigest()
    return {b"x-timestamp": at.encode(), b"x-signature": mac.encode()}


def test_an_own_wallet_s_event() -> None:
    at = str(int(NOW * 1000))
    delivery = evm_receiver().receive(signed(EVENT, at), EVENT, now_s=NOW)
    assert delivery.activity is not None
    assert (delivery.activity.kind, delivery.activity.account) == ("deposit.confirmed", "hot-1")
    later = str(int(NOW * 1000) + 5)
    assert evm_receiver().receive(signed(EVENT, later), EVENT, now_s=NOW).event_id == delivery.event_id


def test_the_signature_is_openzeppelin_monitor_s() -> None:
    found = signature(b"secret", b'{"a":1}', b"1700000000000")
    assert found == b"10781e42d9961cd9c6cf8f68b2d758371dde9256a8b5550669282f302927f09d"


def test_what_is_not_signed_for_now_is_refused() -> None:
    receiver, at = evm_receiver(), int(NOW * 1000)
    good = signed(EVENT, str(at))
    wrong: tuple[dict[bytes, bytes], ...] = (
        {},
        {**good, b"x-signature": good[b"x-signature"].upper()},
        {**good, b"x-timestamp": str(at + 1).encode()},
        signed(EVENT, str(at - 300_001)),
        signed(EVENT, str(at), b"another-secret-of-24-bytes"),
        {**good, b"x-timestamp": b"soon"},
    )
    for headers in wrong:
        with pytest.raises(UnauthenticatedError):
            receiver.receive(headers, EVENT, now_s=NOW)
    with pytest.raises(ConfigurationError):
        evm_receiver(b"short")


class Holds:
    """Implements `ports.custody.GateHolds`."""

    def __init__(self) -> None:
        self.held_now: set[tuple[str, str]] = set()

    def place(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        self.held_now.add((scope, value))
        return Receipt(key, {})

    def release(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        self.held_now.discard((scope, value))
        return Receipt(key, {})

    def held(self, connection: ConnectionId, scope: str, value: str) -> Verdict:
        return Verdict.HOLDS if (scope, value) in self.held_now else Verdict.DOES_NOT_HOLD

    def known_pending(self, account: AccountRef) -> list[PendingTransfer]:
        return []


@pytest.mark.parametrize("platform", [SAFE, EVM], ids=lambda one: one.name)
def test_our_gate_holds_only_where_the_signers_ask_it(platform: object) -> None:
    account, holds = AccountRef(ConnectionId("con-a"), ACCOUNT), Holds()
    asking = evm_calls(config("evm", {}, signers_ask_gate="yes"), None, holds)
    asking.hold_outgoing(account, key="k")
    assert asking.outgoing_held(account) is Verdict.HOLDS
    asking.lock_destination(None, THIEF, key="k")
    assert asking.destination_locked(THIEF) is Verdict.HOLDS
    asking.release_outgoing(account, key="k")
    assert asking.outgoing_held(account) is Verdict.DOES_NOT_HOLD
    deaf = evm_calls(config("evm", {}), None, holds)
    assert deaf.capabilities == frozenset()
    with pytest.raises(MissingCapabilityError, match="do not ask our gate"):
        deaf.hold_outgoing(account, key="k")
    for act in (deaf.freeze_workspace, deaf.forbid_one_time_addresses, deaf.allow_one_time_addresses):
        with pytest.raises(MissingCapabilityError):
            act(key="k")
    with pytest.raises(MissingCapabilityError, match="replace_pending"):
        deaf.cancel(account, "t", key="k")
    assert all(deaf.lacks(capability) for capability in Capability)
