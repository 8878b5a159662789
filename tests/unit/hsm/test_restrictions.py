from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from hsm import p256
from hsm.errors import HsmInputError, StatementError
from hsm.restrictions import (
    Allowed,
    KeyState,
    NonceCancel,
    Refused,
    Revocation,
    SafeManagement,
    SigningRequest,
    Sweep,
    Transfer,
    may_sign,
)
from hsm.software import ACKNOWLEDGEMENT, SoftwareCustodian
from hsm.statements import SafeDestination, VerifiedDestination, verified

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SAID = SafeDestination("acc-1", "eip155:1", "*", "0x00000000000000000000000000000000000000aa", NOW - timedelta(hours=1))
SWEEP = Sweep("acc-1", "eip155:1", "eip155:1/slip44:60", SAID.descriptor, VerifiedDestination(SAID))
CANCEL = NonceCancel("acc-1", 7, 7, sender="0xAb", to="0xaB", value=0, data=b"")
TRANSFER = Transfer("acc-1")

Value = TypeVar("Value", Sweep, NonceCancel, SafeDestination)


def changed(value: Value, change: dict[str, Any]) -> Value:
    return replace(value, **change)


@pytest.mark.parametrize("request_", [TRANSFER, SWEEP, CANCEL])
def test_an_active_key_signs(request_: SigningRequest) -> None:
    assert may_sign(KeyState.ACTIVE, request_) == Allowed()


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.DESTROYED])
@pytest.mark.parametrize("request_", [TRANSFER, SWEEP, CANCEL])
def test_a_retired_key_signs_nothing(state: KeyState, request_: SigningRequest) -> None:
    assert isinstance(may_sign(state, request_), Refused)


def test_a_restricted_key_signs_only_sweeps_and_cancellations() -> None:
    assert may_sign(KeyState.RESTRICTED, SWEEP) == Allowed()
    assert may_sign(KeyState.RESTRICTED, CANCEL) == Allowed()
    assert isinstance(may_sign(KeyState.RESTRICTED, TRANSFER), Refused)


@pytest.mark.parametrize("state", [KeyState.ACTIVE, KeyState.RESTRICTED])
@pytest.mark.parametrize("field", ["account", "chain", "descriptor"])
def test_a_sweep_elsewhere_is_refused_and_the_field_is_named(state: KeyState, field: str) -> None:
    answer = may_sign(state, changed(SWEEP, {field: "other"}))
    assert isinstance(answer, Refused)
    assert field in answer.reason


def test_a_destination_for_one_asset_takes_no_other() -> None:
    one = VerifiedDestination(replace(SAID, asset="eip155:1/slip44:60"))
    assert may_sign(KeyState.RESTRICTED, replace(SWEEP, verified=one)) == Allowed()
    assert isinstance(may_sign(KeyState.RESTRICTED, replace(SWEEP, verified=one, asset="eip155:1/erc20:0x1")), Refused)


@pytest.mark.parametrize("change", [{"nonce": 8}, {"to": "0xcc"}, {"value": 1}, {"data": b"\x00"}])
def test_a_cancellation_that_does_more_is_refused(change: dict[str, Any]) -> None:
    assert isinstance(may_sign(KeyState.RESTRICTED, changed(CANCEL, change)), Refused)


def test_only_a_signed_and_active_destination_is_verified() -> None:
    custodian = SoftwareCustodian(ACKNOWLEDGEMENT)
    signature = custodian.sign_statement(SAID.to_bytes())
    assert verified(SAID, signature, custodian, NOW).destination == SAID
    with pytest.raises(StatementError, match="active from"):
        verified(SAID, signature, custodian, SAID.active_from - timedelta(microseconds=1))
    for field in ("account", "chain", "asset", "descriptor"):
        with pytest.raises(StatementError, match="does not verify"):
            verified(changed(SAID, {field: "other"}), signature, custodian, NOW)
    with pytest.raises(StatementError, match="does not verify"):
        verified(replace(SAID, active_from=SAID.active_from - timedelta(days=1)), signature, custodian, NOW)
    stranger = SoftwareCustodian(ACKNOWLEDGEMENT)
    with pytest.raises(StatementError, match="does not verify"):
        verified(SAID, stranger.sign_statement(SAID.to_bytes()), custodian, NOW)
    with pytest.raises(StatementError, match="64 bytes"):
        verified(SAID, b"", custodian, NOW)


def test_the_same_moment_in_another_zone_is_the_same_statement() -> None:
    moved = replace(SAID, active_from=SAID.active_from.astimezone())
    assert moved.to_bytes() == SAID.to_bytes()


@pytest.mark.parametrize("change", [{"account": ""}, {"descriptor": "x" * 3000}, {"chain": "a\nb"}])
def test_malformed_destinations_name_the_field(change: dict[str, Any]) -> None:
    with pytest.raises(HsmInputError) as refused:
        changed(SAID, change)
    assert refused.value.field == next(iter(change))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(HsmInputError, match="time zone"):
        replace(SAID, active_from=datetime(2026, 1, 1))  # noqa: DTZ001  the mistake under test


def test_a_pin_that_is_no_key_is_not_a_bad_signature() -> None:
    with pytest.raises(HsmInputError):
        p256.verify(b"nonsense", b"statement", bytes(64))


SAFE_ITSELF = "0x" + "5a" * 20
MANAGES = {
    "setGuard": "e19a9dd9", "setModuleGuard": "e068df37", "swapOwner": "e318b52b", "removeOwner": "f8dc5dd9",
    "changeThreshold": "694e80c3",
}  # fmt: skip


def managing(selector: str, to: str = SAFE_ITSELF) -> SafeManagement:
    return SafeManagement("acc_1", SAFE_ITSELF, to, bytes.fromhex(selector) + bytes(32))


@pytest.mark.parametrize("selector", MANAGES.values(), ids=MANAGES.keys())
def test_an_active_owner_key_manages_its_safe_and_a_restricted_one_does_not(selector: str) -> None:
    assert may_sign(KeyState.ACTIVE, managing(selector)) == Allowed()
    for state in (KeyState.RESTRICTED, KeyState.RETIRED, KeyState.DESTROYED):
        assert isinstance(may_sign(state, managing(selector)), Refused)


@pytest.mark.parametrize("selector", ["a9059cbb", "610b5925", "46ba2307", "0d582f13", "00000000"])
def test_of_the_safe_s_own_functions_only_those_that_manage_it_are_signed(selector: str) -> None:
    assert isinstance(may_sign(KeyState.ACTIVE, managing(selector)), Refused)


def test_of_another_contract_only_the_skipping_of_a_queue_is_signed() -> None:
    other = "0x" + "de" * 20
    assert may_sign(KeyState.ACTIVE, managing("46ba2307", other)) == Allowed()
    for selector in (*MANAGES.values(), "a9059cbb"):
        assert isinstance(may_sign(KeyState.ACTIVE, managing(selector, other)), Refused)


def approving(amount: int, *, value: int = 0, cut: int = 0) -> Revocation:
    data = bytes.fromhex("095ea7b3") + bytes(12) + b"\x5a" * 20 + amount.to_bytes(32, "big")
    return Revocation("acc_1", "0x" + "70" * 20, value, data[: len(data) - cut])


def test_a_restricted_key_may_take_an_allowance_back_and_give_none() -> None:
    for state in (KeyState.ACTIVE, KeyState.RESTRICTED):
        assert may_sign(state, approving(0)) == Allowed()
        for wrong in (approving(1), approving(2**255), approving(0, value=1), approving(0, cut=1)):
            assert isinstance(may_sign(state, wrong), Refused)
    assert isinstance(may_sign(KeyState.RETIRED, approving(0)), Refused)
