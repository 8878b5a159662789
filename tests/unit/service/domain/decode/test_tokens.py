"""Rights that are given in an encoding of its own, and payments in one that is not theirs."""

import pytest

from service.domain.decode.call import parties
from service.domain.decode.calldata import decode_call
from tests.unit.service.domain.decode.test_calldata import MOST, PERMIT2, PERMIT2_BATCH, YES, A, B, call

RIGHTS = {
    "approve(address,uint256)": (A, MOST),
    "increaseAllowance(address,uint256)": (A, MOST),
    "increaseApproval(address,uint256)": (A, MOST),
    "approveAndCall(address,uint256,bytes)": (A, MOST, b""),
    "setApprovalForAll(address,bool)": (A, YES),
    "setOperator(address,bool)": (A, YES),
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)": (B, A, MOST, 0, 1, b"", b""),
    "permit(address,address,uint256,uint256,bytes)": (B, A, MOST, 0, b""),
    "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)": (B, A, 0, 0, YES, 1, b"", b""),
    "approve(address,address,uint160,uint48)": (B, A, 2**160 - 1, 0),
    PERMIT2: (B, ((B, 2**160 - 1, 0, 0), A, 0), b""),
    PERMIT2_BATCH: (B, ([(B, 2**160 - 1, 0, 0)], A, 0), b""),
    "approveDelegation(address,uint256)": (A, MOST),
    "allow(address,bool)": (A, YES),
    "setAuthorization(address,bool)": (A, YES),
}


@pytest.mark.parametrize("signature", RIGHTS)
def test_rights_count_whatever_a_contract_that_checks_nothing_would_overlook(signature: str) -> None:
    clean = call(signature, *RIGHTS[signature])
    dirty = clean.replace(bytes(12) + bytes.fromhex(A[2:]), b"\1" * 12 + bytes.fromhex(A[2:]))
    assert dirty != clean
    for data in (clean, dirty, clean + b"\0"):
        found = decode_call(data)
        assert found.any("unlimited_approval")
        assert A in parties(found)
    for end in range(4, len(clean), 31):
        cut = decode_call(clean[:end])
        assert cut.any("unlimited_approval") or A in parties(cut)
    assert decode_call(clean[:4]).any("unlimited_approval")


@pytest.mark.parametrize("amount", [2**96 - 1, 2**128, 10**40, 2**160 - 2])
def test_more_than_any_usual_token_has_is_without_limit(amount: int) -> None:
    assert decode_call(call("approve(address,uint256)", A, amount)).unlimited_approval
    assert not decode_call(call("approve(address,uint256)", A, 2**96 - 2)).unlimited_approval


def test_a_payment_in_another_form_is_unknown_and_whom_it_may_pay_is_listed() -> None:
    clean = call("transfer(address,uint256)", A, 1)
    for data in (clean + b"\0", clean[:-1], clean[:4] + b"\1" * 12 + clean[16:]):
        found = decode_call(data)
        assert (found.name, found.recipient, found.amount) == ("unknown call", None, None)
        assert (found.fact("unlimited_approval"), parties(found)) == (None, (A,))
