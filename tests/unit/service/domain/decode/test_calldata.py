"""Calldata made by eth-abi, an encoder that is not ours, and what is told of it."""

import re
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from service.domain.decode.call import MOST_PARTIES, UNLIMITED, Call, more_parties, parties, selector
from service.domain.decode.calldata import ITSELF_MULTI_SENDS, MAX_CALLDATA_BYTES, MULTI_SENDS, decode_call
from service.domain.decode.governance import METHODS

A, B, C = ("0x" + digit * 40 for digit in "abc")
MOST = 2**256 - 1
YES = True
EXEC = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
OWN_MULTI_SEND = min(MULTI_SENDS)
ZERO = "0x" + "0" * 40


def types_of(signature: str) -> list[str]:
    inner, parts, depth = signature.partition("(")[2][:-1], [""], 0
    for letter in inner:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]


def call(signature: str, *values: Any) -> bytes:
    return selector(signature) + encode(types_of(signature), values)


def execute(to: str, operation: int, data: bytes, value: int = 0) -> bytes:
    return call(EXEC, to, value, data, operation, 0, 0, 0, A, A, b"")


def batch(*items: tuple[int, str, int, bytes]) -> bytes:
    packed = b"".join(
        bytes([op]) + bytes.fromhex(to[2:]) + value.to_bytes(32, "big") + len(data).to_bytes(32, "big") + data
        for op, to, value, data in items
    )
    return call("multiSend(bytes)", packed)


OPERATION = "(address,uint256,bytes,bytes,uint256,uint256,uint256,uint256,uint256,bytes,bytes)"
PACKED = "(address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)"
PERMIT2 = "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)"
PERMIT2_BATCH = "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)"


@pytest.mark.parametrize(
    ("data", "recipient", "unlimited", "words"),
    [
        (call("transfer(address,uint256)", A, 5), A, False, f"transfer of 5 base units to {A}"),
        (call("transferFrom(address,address,uint256)", A, B, 5), B, False, f"from {A} to {B}"),
        (call("safeTransferFrom(address,address,uint256)", A, B, 9), B, False, f"moves token number 9 from {A} to {B}"),
        (call("safeTransferFrom(address,address,uint256,bytes)", A, B, 9, b"x"), B, False, "token number 9"),
        (call("safeTransferFrom(address,address,uint256,uint256,bytes)", A, B, 9, 3, b""), B, False, "3 of token number 9"),
        (call("safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", A, B, [1, 2], [3, 4], b""), B, False,
         "moves 2 kinds of token"),
        (call("approve(address,uint256)", A, 5), A, False, f"lets {A} spend 5 base units"),
        (call("approve(address,uint256)", A, MOST), A, True, f"lets {A} spend without limit"),
        (call("approve(address,uint256)", A, 0), None, False, f"takes back what {A} may spend"),
        (call("increaseAllowance(address,uint256)", A, UNLIMITED), A, True, "spend more, without limit"),
        (call("decreaseAllowance(address,uint256)", A, 5), None, False, "lowers"),
        (call("setApprovalForAll(address,bool)", A, YES), A, True, f"lets {A} move everything"),
        (call("setApprovalForAll(address,bool)", A, not YES), None, False, "no longer"),
        (call("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", A, B, MOST, 0, 1, b"", b""), B, True,
         f"without limit of {A}"),
        (call("permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)", A, B, 0, 0, YES, 1, b"", b""), B,
         True, f"permit lets {B} move everything"),
        (call("approve(address,address,uint160,uint48)", A, B, 2**160 - 1, 0), B, True, f"without limit of token {A}"),
        (call(PERMIT2, A, ((B, 7, 0, 0), C, 0), b"s"), C, False, f"spend 7 base units of token {B} of {A}"),
        (call(PERMIT2_BATCH, A, ([(B, 7, 0, 0), (A, 2**160 - 1, 0, 0)], C, 0), b"s"), C, True, "2 allowances"),
        (call("transferFrom(address,address,uint160,address)", A, B, 7, C), B, False, f"7 base units of token {C}"),
        (call("permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)",
              ((C, 9), 0, 0), (B, 8), A, b""), B, False, f"moves 8 base units of token {C} from {A} to {B}"),
        (call("receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)", A, B, 7, 0, 0, b"", b""),
         B, False, f"moves 7 base units from {A} to {B} by its signature"),
        (call("transferAndCall(address,uint256,bytes)", A, 5, b"x"), A, False, f"of 5 base units to {A}"),
        (call("sendMultiSigToken(address,uint256,address,uint256,uint256,bytes)", A, 5, C, 0, 0, b""), A, False,
         f"5 base units of token {C} to {A}"),
        (call("approve(address,uint256,uint256)", A, 1, MOST), A, True, "without limit"),
        (call("authorizeOperator(address)", A), A, True, "move everything"),
        (call("hope(address)", A), A, True, "move everything"),
        (call("setRelayerApproval(address,address,bool)", A, B, YES), B, True, f"lets {B} move everything"),
        (call("setAllowance(address,address,uint96,uint96,uint16,uint32)", A, C, 2**96 - 1, 0, 0, 0), A, True,
         f"spend without limit of token {C}"),
    ],
)  # fmt: skip
def test_what_tokens_are_asked_to_do(data: bytes, recipient: str | None, words: str, *, unlimited: bool) -> None:
    found = decode_call(data)
    assert (found.recipient, found.any("unlimited_approval")) == (recipient, unlimited)
    assert not found.any("governance")
    assert words in found.sentence()


def refunded(base_gas: int, price: int, token: str, receiver: str, inner: bytes = b"", to: str = A) -> bytes:
    return call(EXEC, to, 1, inner, int(to == OWN_MULTI_SEND), 0, base_gas, price, token, receiver, b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (refunded(9, 10, C, B), f"pays {B} for gas at least 90 base units of token {C}, 10 for each unit"),
        (refunded(9, 10, ZERO, B), f"pays {B} up to 10 wei for each of 9 units of gas"),
        (refunded(9, 10, C, ZERO), "pays whoever sends it for gas at least 90 base units"),
        (refunded(9, 10, C, B, batch(*[(0, A, 1, b"")] * 9), OWN_MULTI_SEND), f"pays {B} for gas"),
    ],
)
def test_a_safes_gas_refund_is_a_payment_that_is_told_and_counts(data: bytes, words: str) -> None:
    found = decode_call(data)
    assert found.any("governance")
    assert words in found.sentence()
    assert (B in parties(found)) == (B in words)
    assert not decode_call(refunded(9, 0, C, B)).any("governance"), "at a price of zero nothing is refunded"
    assert decode_call(data[: 4 + 7 * 32]).governance


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (call("addOwnerWithThreshold(address,uint256)", A, 2), f"makes {A} an owner; 2 signatures are then needed"),
        (call("removeOwner(address,address,uint256)", A, B, 1), f"removes the owner {B}; 1 signatures"),
        (call("swapOwner(address,address,address)", A, B, C), f"replaces the owner {B} by {C}"),
        (call("changeThreshold(uint256)", 1), "needed to 1"),
        (call("enableModule(address)", A), f"lets the module {A} move everything"),
        (call("setGuard(address)", "0x" + "0" * 40), "transaction guard to 0x0000"),
        (call("setFallbackHandler(address)", A), f"handler to {A}"),
        (call("changeMasterCopy(address)", A), f"code by {A}"),
        (call("approveHash(bytes32)", b"x" * 32), "cannot be seen here"),
        (call("upgradeTo(address)", A), f"replaces the code by {A}"),
        (call("upgrade(address,address)", A, B), f"code of {A} by {B}"),
        (call("changeAdmin(address)", A), f"{A} the proxy's administrator"),
        (call("transferOwnership(address)", A), f"makes {A} the owner"),
        (call("grantRole(bytes32,address)", b"r" * 32, A), f"gives {A} a role"),
        (selector("acceptOwnership()"), "takes over"),
        (selector("swapOwner(address,address,address)") + b"\xff" * 40, "an address that is not one"),
        (selector("changeThreshold(uint256)"), "an unknown number"),
    ],
)
def test_who_decides_afterwards(data: bytes, words: str) -> None:
    found = decode_call(data)
    assert found.governance
    assert words in found.sentence()
    assert found.name in METHODS


def test_who_gains_by_a_change_is_a_party_and_who_loses_is_none() -> None:
    swap = call("swapOwner(address,address,address)", A, B, C)
    assert parties(decode_call(swap)) == (C,)
    assert parties(decode_call(swap.replace(bytes(12) + bytes.fromhex(C[2:]), b"\1" * 12 + bytes.fromhex(C[2:])))) == (
        C,
    )
    assert parties(decode_call(call("removeOwner(address,address,uint256)", A, B, 1))) == ()
    assert parties(decode_call(call("approve(address,uint256)", B, 0))) == ()
    assert decode_call(call("installModule(uint256,address,bytes)", 1, A, b"")).governance


@pytest.mark.parametrize(
    "data",
    [
        call("execute(address,bytes)", A, b"abcd"),
        call("execute(bytes32,bytes)", b"\xff", bytes.fromhex(A[2:]) + b"abcd"),
    ],
)
def test_a_proxy_that_lets_the_target_act_in_its_name_is_a_delegatecall(data: bytes) -> None:
    assert decode_call(data).any("delegatecall")
    assert decode_call(data).fact("governance") is None


def test_an_upgrade_that_calls_the_new_code_tells_the_call() -> None:
    found = decode_call(call("upgradeToAndCall(address,bytes)", A, call("approve(address,uint256)", B, MOST)))
    assert found.governance
    assert found.any("unlimited_approval")
    assert found.sentence().endswith(f"lets {B} spend without limit")


def test_a_batch_tells_every_call_and_its_worst_decides() -> None:
    items = [(0, A, i, call("transfer(address,uint256)", B, i)) for i in range(1, 9)]
    found = decode_call(batch(*items, (1, C, 0, b"abcd")))
    assert (len(found.inners), found.inner) == (9, found.inners[8])
    assert found.any("delegatecall")
    assert f"call to {A} with 3 wei: transfer of 3 base units to {B}" in found.sentence()
    assert found.sentence().endswith("and 3 more")


def test_safes_own_batching_is_no_delegatecall_of_the_safe_and_another_is() -> None:
    quiet = batch((0, A, 0, call("transfer(address,uint256)", B, 1)))
    own = decode_call(execute(OWN_MULTI_SEND, 1, quiet))
    assert not own.any("delegatecall")
    assert "transfer of" in own.sentence()
    assert decode_call(execute(C, 1, quiet)).delegatecall
    assert decode_call(execute(OWN_MULTI_SEND, 1, b"abcd")).delegatecall
    assert decode_call(execute(OWN_MULTI_SEND, 1, batch((1, A, 0, b"")))).any("delegatecall")
    owner = decode_call(execute(OWN_MULTI_SEND, 1, batch((0, A, 0, call("changeThreshold(uint256)", 1)))))
    assert owner.any("governance")


@pytest.mark.parametrize("multi_send", sorted(MULTI_SENDS))
def test_the_zero_address_in_a_batch_is_the_safe_itself_since_1_5_0_and_nobody_before(multi_send: str) -> None:
    paid = call("transfer(address,uint256)", B, 1)
    its_own = batch((0, ZERO, 7, call("changeThreshold(uint256)", 1)), (0, A, 0, paid))
    found = decode_call(execute(multi_send, 1, its_own))
    itself = multi_send in ITSELF_MULTI_SENDS
    assert f"call to {'the Safe itself' if itself else ZERO} with 7 wei" in found.sentence()
    assert re.fullmatch("0x[0-9a-f]{40}", multi_send)
    assert f"call to {A}: transfer" in found.sentence()
    assert found.inners[0].recipient == (None if itself else ZERO)
    assert found.any("governance")
    assert not found.any("delegatecall")
    lent = decode_call(execute(multi_send, 1, batch((1, ZERO, 0, b""))))
    assert lent.any("delegatecall")
    assert ("delegatecall to the Safe itself" in lent.sentence()) == itself
    called = decode_call(execute(multi_send, 0, its_own))
    assert f"call to {ZERO}" in called.sentence(), "called, it acts for itself, not for the Safe"
    nested = decode_call(execute(OWN_MULTI_SEND, 1, batch((1, multi_send, 0, its_own))))
    assert ("call to the Safe itself" in nested.sentence()) == itself


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: execute(A, 0, inner),
        lambda inner: call("execTransactionFromModule(address,uint256,bytes,uint8)", A, 0, inner, 0),
        lambda inner: call("multicall(bytes[])", [b"", inner]),
        lambda inner: call("execute(address,uint256,bytes)", A, 0, inner),
        lambda inner: call("schedule(address,uint256,bytes,bytes32,bytes32,uint256)", A, 0, inner, b"", b"", 0),
        lambda inner: batch((0, A, 0, inner)),
        lambda inner: call("execute(address,uint256,bytes,bytes32,bytes32)", A, 0, inner, b"", b""),
        lambda inner: call(
            "execTransactionWithRole(address,uint256,bytes,uint8,bytes32,bool)", A, 0, inner, 0, b"", YES
        ),
        lambda inner: call("sendMultiSig(address,uint256,bytes,uint256,uint256,bytes)", A, 0, inner, 0, 0, b""),
        lambda inner: call("multicall(uint256,bytes[])", 9, [b"", inner]),
        lambda inner: call("aggregate3((address,bool,bytes)[])", [(A, YES, b""), (B, YES, inner)]),
        lambda inner: call("executeBatch((address,uint256,bytes)[])", [(A, 1, inner)]),
        lambda inner: call("executeBatch(address[],bytes[])", [A], [inner]),
        lambda inner: call("executeBatch(address[],uint256[],bytes[])", [A], [], [inner]),
        lambda inner: call(
            "scheduleBatch(address[],uint256[],bytes[],bytes32,bytes32,uint256)", [A], [1], [inner], b"", b"", 0
        ),
        lambda inner: call("execute(bytes32,bytes)", b"", bytes.fromhex(A[2:]) + bytes(32) + inner),
        lambda inner: call("execute(bytes32,bytes)", b"\1", encode(["(address,uint256,bytes)[]"], [[(A, 0, inner)]])),
        lambda inner: call(f"handleOps({OPERATION}[],address)", [(A, 0, b"", inner, *[0] * 5, b"", b"")], B),
        lambda inner: call(f"handleOps({PACKED}[],address)", [(A, 0, b"", inner, b"", 0, b"", b"", b"")], B),
    ],
)
def test_what_is_wrapped_is_seen_and_too_deep_counts_as_the_worst(wrap: Any) -> None:
    inner = call("swapOwner(address,address,address)", A, B, C)
    assert decode_call(wrap(inner)).any("governance")
    harmless = call("transfer(address,uint256)", A, 1)
    once = wrap(harmless)
    assert not decode_call(once).any("governance")
    assert A in parties(decode_call(once))
    assert decode_call(wrap(harmless[:-1])).inner is not None
    deep = harmless
    for _ in range(5):
        deep = wrap(deep)
    assert decode_call(deep).any("delegatecall")


@pytest.mark.parametrize(
    "signature",
    [
        EXEC,
        "multiSend(bytes)",
        "multicall(bytes[])",
        "execute(address,uint256,bytes)",
        "execute(address,bytes)",
        "execute(bytes32,bytes)",
        "executeBatch(address[],uint256[],bytes[])",
        f"handleOps({OPERATION}[],address)",
    ],
)
def test_a_wallets_call_that_does_not_hold_together_counts_as_governance(signature: str) -> None:
    assert decode_call(selector(signature) + b"\xff" * 64).governance
    assert decode_call(selector(signature)).governance


def test_what_is_too_long_or_too_many_counts_as_the_worst() -> None:
    assert decode_call(bytes(10_000_000)).delegatecall
    assert decode_call(bytes(MAX_CALLDATA_BYTES)).name == "unknown call"
    many = batch(*[(0, A, 0, b"")] * 257)
    assert decode_call(many).delegatecall
    full = batch(*[(0, A, 0, batch(*[(0, A, 0, b"\1\2\3\4")] * 20))] * 20)
    assert decode_call(full).any("delegatecall")


def test_calls_that_share_their_bytes_are_no_endless_work() -> None:
    inner = bytes(400)
    for _ in range(4):
        offsets = b"".join((32 * 200).to_bytes(32, "big") for _ in range(200))
        tail = len(inner).to_bytes(32, "big") + inner
        inner = selector("multicall(bytes[])") + (32).to_bytes(32, "big") + (200).to_bytes(32, "big") + offsets + tail
    assert decode_call(inner) == Call("malformed multicall", governance=True, unknown=True)


def test_a_known_selector_with_other_arguments_is_not_that_call() -> None:
    assert decode_call(selector("transfer(address,uint256)") + bytes(63)).name == "unknown call"
    assert decode_call(call("transfer(address,uint256)", A, 1) + b"\0").name == "unknown call"
    assert decode_call(b"\1\2").sentence() == "unknown call without a whole selector"


def test_everybody_who_is_paid_or_allowed_is_listed_once_and_more_than_fit_are_told() -> None:
    paid, allowed = call("transfer(address,uint256)", C, 1), call("approve(address,uint256)", A, 1)
    found = decode_call(execute(OWN_MULTI_SEND, 1, batch((0, B, 0, paid), (0, B, 0, allowed), (0, C, 1, b""))))
    assert (parties(found), more_parties(found)) == ((OWN_MULTI_SEND, B, C, A), False)
    one_each = [(0, f"0x{n:040x}", 1, b"") for n in range(1, MOST_PARTIES + 2)]
    assert not more_parties(decode_call(batch(*one_each[:-1])))
    many = decode_call(batch(*one_each))
    assert (len(parties(many)), more_parties(many)) == (MOST_PARTIES, True)


addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
leaves = st.one_of(
    st.binary(max_size=80),
    st.builds(lambda to, n: call("transfer(address,uint256)", to, n), addresses, st.integers(0, MOST)),
    st.builds(lambda to: call("setGuard(address)", to), addresses),
    st.builds(
        lambda signature, raw: selector(signature) + raw,
        st.sampled_from(
            [
                PERMIT2,
                PERMIT2_BATCH,
                EXEC,
                "execute(bytes32,bytes)",
                "multicall(bytes[])",
                f"handleOps({PACKED}[],address)",
            ]
        ),
        st.binary(max_size=400),
    ),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(execute, addresses, st.integers(0, 1), inner),
        st.builds(
            lambda items: batch(*items),
            st.lists(st.tuples(st.integers(0, 1), addresses, st.integers(0, MOST), inner), max_size=3),
        ),
    ),
    max_leaves=6,
)


@given(trees, st.integers(0, 400), st.integers(0, 255))
def test_nothing_raises_and_every_fact_is_told(data: bytes, position: int, byte: int) -> None:
    damaged = bytearray(data)
    if position < len(damaged):
        damaged[position] = byte
    for one in (data, bytes(damaged), data[:position]):
        found = decode_call(one)
        assert isinstance(found, Call)
        assert len(found.sentence()) <= 1_502
    if selector("setGuard(address)") == data[:4]:
        assert decode_call(data).governance


@given(addresses, st.integers(0, MOST))
def test_a_transfer_goes_there_and_back(to: str, amount: int) -> None:
    found = decode_call(call("transfer(address,uint256)", to, amount))
    assert (found.name, found.recipient, found.amount) == ("transfer", to, amount)
