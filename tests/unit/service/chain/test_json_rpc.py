"""The chain client: which failure is a no, which is a lost answer, and that no message shows the endpoint's key."""

import json
import time
from collections.abc import Callable

import httpx
import pytest

from service.chain.evm import DEPTH, JsonRpcChain
from service.domain.errors import RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.evm import MAX_FEE, transaction_hash

ENDPOINT = "https://node.example/v3/SECRETKEY"
RAW = b"\x02\xc0"
Handler = Callable[[httpx.Request], httpx.Response]


def chain(handler: Handler, chain_id: int | None = None) -> JsonRpcChain:
    made = JsonRpcChain(ENDPOINT, chain_id)
    made.close()
    made._rpc._client = httpx.Client(transport=httpx.MockTransport(handler))
    return made


def answers(**body: object) -> Handler:
    return lambda _request: httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, **body})


def fails(error: type[httpx.HTTPError]) -> Handler:
    def handle(request: httpx.Request) -> httpx.Response:
        raise error(f"failed for {request.url}")

    return handle


def prices(price: int, tip: int) -> Handler:
    told = {"eth_gasPrice": hex(price), "eth_maxPriorityFeePerGas": hex(tip), "eth_blockNumber": "0x1"}
    return lambda request: httpx.Response(200, json={"result": told[json.loads(request.content)["method"]]})


def test_what_is_asked() -> None:
    seen: list[dict[str, object]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        return httpx.Response(200, json={"result": "0x10"})

    client = chain(handle)
    assert client.balance("0xab") == client.next_nonce("0xab") == 16
    assert client.fee().max_fee == 32 + 10**9
    assert [call["method"] for call in seen] == [
        "eth_getBalance", "eth_getTransactionCount", "eth_blockNumber", "eth_gasPrice", "eth_maxPriorityFeePerGas",
    ]  # fmt: skip
    assert seen[1]["params"] == ["0xab", "pending"]


@pytest.mark.parametrize(("price", "tip"), [(MAX_FEE, 0), (0, MAX_FEE + 1), (MAX_FEE // 2, MAX_FEE), (2**255, 2**255)])
def test_a_fee_over_the_limit_is_not_believed(price: int, tip: int) -> None:
    with pytest.raises(UnavailableError, match="over the limit of 1000") as refused:
        chain(prices(price, tip)).fee()
    assert "SECRETKEY" not in str(refused.value)


def test_a_fee_at_the_limit_is_taken() -> None:
    assert chain(prices(MAX_FEE // 4, MAX_FEE // 2)).fee().max_fee == MAX_FEE


@pytest.mark.parametrize("result", [None, "0x", "many", 16, "-0x1", "0x1" + "0" * 64, {"a": 1}])
def test_what_is_no_number_is_not_taken_for_one(result: object) -> None:
    with pytest.raises(UnavailableError):
        chain(answers(result=result)).balance("0xab")


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (fails(httpx.ConnectError), UnavailableError),
        (fails(httpx.ConnectTimeout), UnavailableError),
        (fails(httpx.ReadTimeout), UnknownOutcomeError),
        (fails(httpx.RemoteProtocolError), UnknownOutcomeError),
        (lambda _: httpx.Response(502), UnknownOutcomeError),
        (lambda _: httpx.Response(200, content=b"<html>"), UnknownOutcomeError),
        (lambda _: httpx.Response(200, content=b"[" + b"0," * 600_000 + b"0]"), UnknownOutcomeError),
        (answers(error={"code": -32000, "message": "nonce too low"}), RefusedByOtherSideError),
    ],
)
def test_after_sending_only_a_clear_no_is_a_no(handler: Handler, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        chain(handler).send(RAW)
    assert "SECRETKEY" not in str(raised.value)


@pytest.mark.parametrize("handler", [fails(httpx.ReadTimeout), lambda _: httpx.Response(401)])
def test_no_message_of_a_query_shows_the_endpoint(handler: Handler) -> None:
    with pytest.raises(UnavailableError) as raised:
        chain(handler).balance("0xab")
    assert "SECRETKEY" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_already_known_is_sent() -> None:
    sent = chain(answers(error={"code": -32000, "message": "already known"})).send(RAW)
    assert sent == transaction_hash(RAW)


def test_receipts() -> None:
    good = chain(answers(result={"blockNumber": "0x2", "status": "0x1", "logs": []})).mined("0x1")
    assert good is not None
    assert (good.succeeded, good.block) == (True, 2)
    bad = chain(answers(result={"blockNumber": "0x2", "status": "0x0", "gasUsed": "0x5208"})).mined("0x1")
    assert bad is not None
    assert (bad.succeeded, bad.gas_used) == (False, 21_000)
    assert chain(answers(result=None)).mined("0x1") is None
    assert not chain(answers(result=None)).knows("0x1")
    assert chain(answers(result={"hash": "0x1"})).knows("0x1")
    for malformed in ({"status": "0x1"}, {"blockNumber": "x", "status": "0x1"}, "0x1"):
        with pytest.raises(UnavailableError, match="receipt"):
            chain(answers(result=malformed)).mined("0x1")


def told(**by_method: object) -> Handler:
    return lambda request: httpx.Response(200, json={"result": by_method[json.loads(request.content)["method"]]})


def test_an_endpoint_of_another_chain_is_not_believed() -> None:
    client = chain(told(eth_chainId="0x89", eth_blockNumber="0x1"), 1)
    with pytest.raises(UnavailableError, match="endpoint of eip155:1 says it is eip155:137"):
        client.fee()


def test_an_endpoint_that_went_back_is_not_believed_until_it_caught_up() -> None:
    blocks = iter(["0x64", "0x63", "0x64"])

    def handle(request: httpx.Request) -> httpx.Response:
        method = json.loads(request.content)["method"]
        return httpx.Response(200, json={"result": next(blocks) if method == "eth_blockNumber" else "0x1"})

    client = chain(handle, 1)
    client.fee()
    with pytest.raises(UnavailableError, match="went back from block 100 to 99"):
        client.fee()
    client.fee()


def test_what_would_be_reverted_is_a_no_and_what_cannot_be_asked_is_none() -> None:
    with pytest.raises(RefusedByOtherSideError, match="would revert"):
        chain(answers(error={"code": 3, "message": "execution reverted"})).estimate("0xab", "0xcd", b"")
    with pytest.raises(UnavailableError):
        chain(answers(error={"code": -32005, "message": "too many requests"})).estimate("0xab", "0xcd", b"")
    assert chain(answers(result="0x5208")).estimate("0xab", None, b"") == 21_000


def test_an_estimate_is_asked_for_the_transaction_as_it_is_to_be_sent() -> None:
    seen: list[dict[str, object]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content)["params"][0])
        return httpx.Response(200, json={"result": "0x1"})

    chain(handle).estimate("0xab", "0xcd", b"\x01", 255)
    assert seen == [{"from": "0xab", "to": "0xcd", "data": "0x01", "value": "0xff"}]


@pytest.mark.parametrize("status", [200, 413])
def test_logs_of_an_endpoint_that_answers_for_few_blocks_only(status: int) -> None:
    asked: list[dict[str, object]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        call = json.loads(request.content)
        if call["method"] != "eth_getLogs":
            number = "0x493e0" if call["method"] == "eth_blockNumber" else {"number": "0x493df"}
            return httpx.Response(200, json={"result": number})
        asked.append(wanted := call["params"][0])
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if last - first >= 10_000:
            return httpx.Response(status, json={"error": {"message": "limited to 10,000 blocks"}})
        log = {"address": "0xAB", "topics": ["0x01", "0x02"], "blockNumber": "0x3"}
        return httpx.Response(200, json={"result": [log] if first <= 3 else []})

    client = chain(handle, 1)
    found = client.logs(["0xab"], ([b"\x01"], [b"\x02", b"\x03"]), time.monotonic() + 600)
    assert (found.logs, found.unread) == ((("0xab", (b"\x01", b"\x02")),), "")
    assert (asked[0]["address"], asked[0]["topics"]) == (["0xab"], [["0x01"], ["0x02", "0x03"]])
    asked.clear()
    assert client.logs(["0xab"], ([b"\x01"], [b"\x02", b"\x03"]), time.monotonic() + 600).logs == found.logs
    assert [(one["fromBlock"], one["toBlock"]) for one in asked] == [("0x493e0", "0x493e0")], "what is not final"


@pytest.mark.parametrize("result", [None, "", "aa", "0xa", "0xzz", 16, ["0x"]])
def test_what_are_no_bytes_is_not_taken_for_them(result: object) -> None:
    client = chain(answers(result=result))
    with pytest.raises(UnavailableError):
        client.call("0xab", b"")
    with pytest.raises(UnavailableError):
        client.code("0xab")
    with pytest.raises(UnavailableError):
        client.storage("0xab", b"")


def node(height: int, **tags: object) -> tuple[Handler, list[tuple[str, object]]]:
    """A node at a height that knows these block tags; returns it with the blocks that balances were asked at."""
    asked: list[tuple[str, object]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        call = json.loads(request.content)
        if call["method"] == "eth_blockNumber":
            return httpx.Response(200, json={"result": hex(height)})
        if call["method"] == "eth_getBlockByNumber":
            tag = call["params"][0]
            if tag not in tags:
                return httpx.Response(200, json={"error": {"message": "invalid block tag"}})
            return httpx.Response(200, json={"result": tags[tag]})
        asked.append((call["method"], call["params"][-1]))
        return httpx.Response(200, json={"result": "0x10"})

    return handle, asked


@pytest.mark.parametrize(
    ("finality", "tags", "block"),
    [
        ("finalized", {"finalized": {"number": "0x3c"}}, "0x3c"),
        ("safe", {"safe": {"number": "0x50"}, "finalized": {"number": "0x3c"}}, "0x50"),
        ("finalized", {}, hex(100 - DEPTH)),
        ("finalized", {"finalized": None}, hex(100 - DEPTH)),
        (20, {"finalized": {"number": "0x3c"}}, "0x50"),
        (200, {}, "0x0"),
    ],
)
def test_what_is_final_is_asked_at_the_chain_s_own_tag_or_so_many_blocks_deep(
    finality: str | int, tags: dict[str, object], block: str
) -> None:
    handler, asked = node(100, **tags)
    client = chain(handler)
    client._finality = finality
    view = client.final()
    view.balance("0xab")
    view.mined_nonce("0xab")
    view.code("0xab")
    client.balance("0xab")
    assert [at for _, at in asked] == [block, block, block, "latest"]


@pytest.mark.parametrize("wrong", ["soon", {}, {"number": 7}, {"number": "0xzz"}])
def test_a_final_block_of_another_form_is_no_answer(wrong: object) -> None:
    handler, _ = node(100, finalized=wrong)
    with pytest.raises(UnavailableError):
        chain(handler).final()
