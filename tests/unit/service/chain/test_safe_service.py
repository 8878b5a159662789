"""The client of a Safe transaction service: what is asked, which failure is a no, and that no message shows its key."""

import json
from collections.abc import Callable

import httpx
import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from service.chain.safe_service import HttpSafeService
from service.domain.errors import InputError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.safe import ZERO, SafeTransaction
from service.domain.safe_queue import MOST_AHEAD, Claim, Queued, Waiting, checksummed, rejection
from tests.support.safe_service import KINDS

ENDPOINT = "https://safes.example/SECRETKEY"
SAFE = "0x" + "ab" * 20
MADE = SafeTransaction(1, SAFE, SAFE, b"", 7)
OWNER = "0x" + "cd" * 20
Handler = Callable[[httpx.Request], httpx.Response]


def service(handler: Handler) -> HttpSafeService:
    made = HttpSafeService(ENDPOINT)
    made.close()
    made._client = httpx.Client(transport=httpx.MockTransport(handler))
    return made


def says(status: int, body: object = None) -> Handler:
    return lambda _: httpx.Response(status, content=b"" if body is None else json.dumps(body).encode())


def fails(error: type[httpx.HTTPError]) -> Handler:
    def handle(request: httpx.Request) -> httpx.Response:
        raise error(f"failed for {request.url}")

    return handle


def told(**changes: object) -> dict[str, object]:
    return {
        "nonce": 7,
        "to": OWNER,
        "value": "5",
        "operation": 0,
        "data": None,
        "safeTxGas": "0",
        "baseGas": 0,
        "gasPrice": "0",
        "more": "ignored",
    } | changes


def test_what_waits_is_asked_for_in_a_window_and_what_is_told_beyond_it_is_dropped() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        results = [told(), told(nonce="8", data="0x01", operation=1), told(nonce=7 + MOST_AHEAD), told(nonce=6)]
        return httpx.Response(200, json={"results": results})

    first, second = Queued(7, OWNER, 5, b"", 0), Queued(8, OWNER, 5, b"\x01", 1)
    assert service(handle).pending(SAFE, 7) == Waiting(7, (first, second), whole=True)
    assert seen[0].url.path == f"/SECRETKEY/api/v1/safes/{to_checksum_address(SAFE)}/multisig-transactions/"
    assert dict(seen[0].url.params)["nonce__gte"] == "7"


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "0xab"},
        {"value": "-1"},
        {"value": str(2**256)},
        {"data": "0x0"},
        {"nonce": "many"},
        {"operation": "call"},
        {"operation": 2},
        {"gasPrice": "-1"},
        {"gasPrice": None},
        {"safeTxGas": str(2**256)},
        {"gasToken": "0x12"},
        {"confirmations": [{"owner": OWNER, "signature": "0x1"}]},
    ],
)
def test_an_answer_in_another_form_is_no_answer(wrong: dict[str, object]) -> None:
    with pytest.raises(UnavailableError):
        service(says(200, {"results": [told(**wrong)]})).pending(SAFE, 7)


@pytest.mark.parametrize(("price", "nothing"), [("0", True), (0, True), ("1", False), (1, False)])
def test_an_empty_call_that_refunds_gas_is_a_payment(price: object, *, nothing: bool) -> None:
    empty = told(to=SAFE, value="0", gasPrice=price, baseGas="1000000000000", refundReceiver=OWNER)
    (queued,) = service(says(200, {"results": [empty]})).pending(SAFE, 7).queued
    assert queued.moves_nothing(SAFE) is nothing


def test_a_list_that_was_cut_says_so_and_confirmations_are_told_with_their_signatures() -> None:
    confirmed = told(confirmations=[{"owner": OWNER.upper().replace("X", "x"), "signature": "0x0102"}, {"owner": SAFE}])
    waiting = service(says(200, {"results": [confirmed], "next": f"{ENDPOINT}/more"})).pending(SAFE, 7)
    assert not waiting.whole
    assert waiting.queued[0].claims == (Claim(OWNER, b"\x01\x02"), Claim(SAFE, b""))


@given(st.binary(max_size=100), st.tuples(*[st.integers(0, 2**200)] * 3), st.integers(0, 1))
def test_the_digest_of_what_waits_is_that_of_eip_712(data: bytes, gas: tuple[int, int, int], operation: int) -> None:
    queued = Queued(7, OWNER, 5, data, operation, (*gas, ZERO, SAFE))
    fields = {"to": OWNER, "value": 5, "data": data, "operation": operation, "nonce": 7, "gasToken": ZERO}
    fields |= {"safeTxGas": gas[0], "baseGas": gas[1], "gasPrice": gas[2], "refundReceiver": SAFE}
    kinds = [{"name": name, "type": kind} for name, kind in KINDS.items()]
    typed = encode_typed_data({"chainId": 1, "verifyingContract": SAFE}, {"SafeTx": kinds}, fields)
    assert queued.digest(1, SAFE) == keccak(b"\x19" + typed.version + typed.header + typed.body)


def test_who_is_said_to_have_signed_it_there() -> None:
    confirmed = {"owner": OWNER.upper().replace("X", "x"), "signature": "0x01"}
    assert service(says(200, {"confirmations": [confirmed]})).confirmations(MADE) == (Claim(OWNER, b"\x01"),)
    assert service(says(200, {"confirmations": None})).confirmations(MADE) == ()
    assert service(says(404, {})).confirmations(MADE) is None


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (says(422, {"nonFieldErrors": ["no owner"]}), RefusedByOtherSideError),
        (says(429), UnavailableError),
        (says(500), UnknownOutcomeError),
        (says(302), UnknownOutcomeError),
        (fails(httpx.ConnectError), UnavailableError),
        (fails(httpx.ReadTimeout), UnknownOutcomeError),
    ],
)
def test_which_failure_is_a_no(handler: Handler, error: type[Exception]) -> None:
    with pytest.raises(error) as proposed:
        service(handler).propose(MADE, OWNER, bytes(65))
    with pytest.raises(error) as confirmed:
        service(handler).confirm(MADE, bytes(65))
    assert "SECRETKEY" not in f"{proposed.value} {confirmed.value}"


@pytest.mark.parametrize("handler", [says(500), says(302), fails(httpx.ConnectError), says(404, {})])
def test_a_question_without_an_answer_is_cannot_tell(handler: Handler) -> None:
    with pytest.raises(UnavailableError) as raised:
        service(handler).pending(SAFE, 0)
    assert "SECRETKEY" not in str(raised.value)


def test_an_answer_without_end_is_cut() -> None:
    with pytest.raises(UnavailableError, match="4 MB"):
        service(lambda _: httpx.Response(200, content=b"x" * 4_000_001)).pending(SAFE, 0)


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=20))
def test_addresses_are_spelt_as_eip_55_says(raw: bytes) -> None:
    assert checksummed("0x" + raw.hex()) == to_checksum_address(raw)


def test_a_wrong_address_is_an_error_and_a_rejection_moves_nothing() -> None:
    with pytest.raises(InputError):
        checksummed("0x12")
    made = rejection(1, SAFE, 3)
    assert (made.to, made.value, made.data, made.nonce) == (SAFE, 0, b"", 3)
    assert Queued(3, made.to, made.value, made.data, 0).moves_nothing(SAFE)
    assert not Queued(3, made.to, 1, b"", 0).moves_nothing(SAFE)
    assert not Queued(3, made.to, 0, b"", 1).moves_nothing(SAFE)
