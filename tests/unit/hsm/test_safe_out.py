"""What an owner's key signs out of a Safe: a sweep to the verified destination and a rejection, and nothing like them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hsm.restrictions import Allowed, KeyState, Refused, SafeRejection, SafeSweep, SigningRequest, may_sign
from hsm.statements import SafeDestination, VerifiedDestination

TO = "0x" + "aA" * 20
TOKEN = "0x" + "22" * 20
SAFE = "0x" + "33" * 20
SAID = SafeDestination("acc-1", "eip155:1", "*", TO.lower(), datetime(2026, 1, 1, tzinfo=UTC))
PAID = bytes.fromhex("a9059cbb") + bytes(12) + bytes.fromhex("aa" * 20) + (1000).to_bytes(32, "big")
COIN_OUT = SafeSweep("acc-1", "eip155:1", "eip155:1/slip44:60", TO, 5, b"", VerifiedDestination(SAID))
TOKEN_OUT = SafeSweep("acc-1", "eip155:1", f"eip155:1/erc20:{TOKEN}", TOKEN, 0, PAID, VerifiedDestination(SAID))
REJECTION = SafeRejection("acc-1", SAFE, SAFE.upper().replace("X", "x"), 0, b"")


@pytest.mark.parametrize("request_", [COIN_OUT, TOKEN_OUT, REJECTION])
def test_active_and_restricted_keys_sign_it_and_retired_ones_do_not(request_: SigningRequest) -> None:
    for state in (KeyState.ACTIVE, KeyState.RESTRICTED):
        assert may_sign(state, request_) == Allowed()
    for state in (KeyState.RETIRED, KeyState.DESTROYED):
        assert isinstance(may_sign(state, request_), Refused)


@pytest.mark.parametrize(
    "change",
    [
        {"account": "acc-2"},
        {"chain": "eip155:2"},
        {"to": SAFE},
        {"value": 0},
        {"data": b"\x00"},
        {"asset": "eip155:1/erc721:1"},
        {"asset": f"eip155:1/erc20:{TO}"},
    ],
)
def test_coin_that_goes_elsewhere_is_not_signed(change: dict[str, Any]) -> None:
    assert isinstance(may_sign(KeyState.ACTIVE, replace(COIN_OUT, **change)), Refused)


@pytest.mark.parametrize(
    "change",
    [
        {"to": SAFE},
        {"value": 1},
        {"data": b""},
        {"data": PAID + b"\x00"},
        {"data": PAID.replace(b"\xaa", b"\xab", 1)},
        {"data": PAID[:4] + b"\x01" + PAID[5:]},
        {"data": bytes.fromhex("095ea7b3") + PAID[4:]},
        {"asset": "eip155:1/slip44:60"},
        {"verified": VerifiedDestination(replace(SAID, asset="eip155:1/slip44:60"))},
        {"verified": VerifiedDestination(replace(SAID, descriptor=SAFE))},
    ],
)
def test_a_token_that_goes_elsewhere_is_not_signed(change: dict[str, Any]) -> None:
    assert isinstance(may_sign(KeyState.ACTIVE, replace(TOKEN_OUT, **change)), Refused)


@pytest.mark.parametrize("change", [{"to": TO}, {"value": 1}, {"data": b"\x00"}])
def test_a_rejection_does_nothing_at_all(change: dict[str, Any]) -> None:
    assert isinstance(may_sign(KeyState.ACTIVE, replace(REJECTION, **change)), Refused)
