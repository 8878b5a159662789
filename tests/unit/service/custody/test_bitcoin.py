"""The bitcoin platform: terms are checked where they are set; it holds what asks the gate, and says what it lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from service.custody.bitcoin.platform import PLATFORM
from service.domain.account import AccountRef
from service.domain.bitcoin.descriptor import Kind
from service.domain.bitcoin.network import MAIN, REGTEST, SIGNET, TEST, Network
from service.domain.bitcoin.wallet import first_path
from service.domain.errors import InputError, MissingCapabilityError, UnauthenticatedError
from service.domain.ids import ConnectionId
from service.domain.plan import Receipt, Verdict
from service.ports.custody import Capability, ConnectionConfig, ContainmentCalls, PendingTransfer

HOT = AccountRef(ConnectionId("con-a"), "hot-1")
TERMS = {"chain": REGTEST.chain, "threshold": "2", "vault_keys": "3"}


@dataclass
class Holds:
    """Implements `GateHolds` in memory."""

    placed: set[tuple[str, str]] = field(default_factory=set)

    def place(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        self.placed.add((scope, value))
        return Receipt(key, {})

    def release(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        self.placed.discard((scope, value))
        return Receipt(key, {})

    def held(self, connection: ConnectionId, scope: str, value: str) -> Verdict:
        return Verdict.HOLDS if (scope, value) in self.placed else Verdict.DOES_NOT_HOLD

    def known_pending(self, account: AccountRef) -> Sequence[PendingTransfer]:
        return [PendingTransfer("t", account.ref, None, None, "requested")]


def connected(**settings: str) -> ContainmentCalls:
    config = ConnectionConfig(HOT.connection, "bitcoin", TERMS | settings, lambda _: b"", ())
    return PLATFORM.calls(config, None, Holds())


def test_a_wallet_that_asks_the_gate_is_held_and_released_by_it() -> None:
    calls = connected(signers_ask_gate="yes")
    assert calls.capabilities == {Capability.HOLD_OUTGOING, Capability.LOCK_DESTINATION}
    calls.hold_outgoing(HOT, key="k")
    assert calls.outgoing_held(HOT) is Verdict.HOLDS
    calls.release_outgoing(HOT, key="k2")
    assert calls.outgoing_held(HOT) is Verdict.DOES_NOT_HOLD
    assert [one.transaction for one in calls.pending(HOT)] == ["t"]
    calls.lock_destination(HOT, "bcrt1thief", key="k3")
    assert calls.destination_locked("bcrt1thief") is Verdict.HOLDS
    calls.unlock_destination(HOT, "bcrt1thief", key="k4")
    assert calls.destination_locked("bcrt1thief") is Verdict.DOES_NOT_HOLD


def test_a_wallet_that_does_not_ask_can_hold_nothing_and_says_so() -> None:
    calls = connected()
    assert not calls.capabilities
    assert "signers_ask_gate" in calls.lacks(Capability.HOLD_OUTGOING)


def test_what_is_missing_is_refused_never_pretended() -> None:
    calls = connected(signers_ask_gate="yes")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: calls.cancel(HOT, "t", key="k"),
        lambda: calls.revoke_credential(HOT, "ada", key="k"),
        lambda: calls.forbid_one_time_addresses(key="k"),
        lambda: calls.allow_one_time_addresses(key="k"),
        lambda: calls.freeze_workspace(key="k"),
        lambda: calls.publish_address(HOT, "a", key="k"),
    )
    for attempt in attempts:
        with pytest.raises(MissingCapabilityError):
            attempt()
    asked = (calls.settled("k"), calls.cancelled("t"), calls.credential_revoked("ada"), calls.workspace_frozen())
    assert {*asked, calls.one_time_addresses_forbidden(), calls.address_published(HOT, "a")} == {Verdict.CANNOT_TELL}
    for capability in PLATFORM.missing:
        assert calls.lacks(capability) == PLATFORM.missing[capability]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chain", "eip155:1"),
        ("threshold", "4"),
        ("threshold", "-1"),
        ("vault_keys", "0"),
        ("vault_keys", "99999999999999999999"),
        ("script", "pkh"),
        ("other_keys", "xprv9s21ZrQH143K3"),
        ("signers_ask_gate", "maybe"),
    ],
)
def test_wrong_terms_are_refused_by_name(name: str, value: str) -> None:
    PLATFORM.check_settings(TERMS)
    with pytest.raises(InputError):
        PLATFORM.check_settings(TERMS | {name: value})


@pytest.mark.parametrize("script", ["wpkh", "tr_key"])
def test_a_wallet_of_one_key_needs_nothing_but_its_kind_and_takes_no_others(script: str) -> None:
    alone = {"chain": REGTEST.chain, "script": script}
    PLATFORM.check_settings(alone)
    PLATFORM.check_settings(alone | {"threshold": "1", "vault_keys": "1"})
    for name, value in (("threshold", "2"), ("vault_keys", "2"), ("vault_keys", "0"), ("other_keys", "[00000000]xpub")):
        with pytest.raises(InputError, match=f"leave {name} out") as caught:
            PLATFORM.check_settings(alone | {name: value})
        assert caught.value.field == name


@pytest.mark.parametrize("script", ["wsh", "tr"])
@pytest.mark.parametrize("name", ["threshold", "vault_keys"])
def test_a_wallet_of_several_keys_says_how_many(script: str, name: str) -> None:
    told = {key: value for key, value in TERMS.items() if key != name} | {"script": script}
    with pytest.raises(InputError, match=f"{name} is a number") as caught:
        PLATFORM.check_settings(told)
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("script", "network", "path"),
    [
        ("wpkh", MAIN, "m/84h/0h/0h"),
        ("wpkh", SIGNET, "m/84h/1h/0h"),
        ("tr_key", MAIN, "m/86h/0h/0h"),
        ("tr_key", TEST, "m/86h/1h/0h"),
        ("wsh", MAIN, "m/48h/0h/0h/2h"),
        ("tr", REGTEST, "m/48h/1h/0h/3h"),
    ],
)
def test_the_account_path_has_the_kind_s_purpose_and_the_network_s_coin(
    script: str, network: Network, path: str
) -> None:
    assert first_path(Kind(script), network) == path


def test_nobody_can_post_a_webhook() -> None:
    config = ConnectionConfig(HOT.connection, "bitcoin", TERMS, lambda _: b"", ())
    with pytest.raises(UnauthenticatedError):
        PLATFORM.receiver(config).receive({}, b"{}", now_s=0)
    assert PLATFORM.receiver(config).prepare({}, now_s=0) is None
