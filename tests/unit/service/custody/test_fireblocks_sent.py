"""What was sent and may be dropped: EVM transfers and what may be one, never what a drop itself left behind."""

import json
from typing import Any

import httpx
import pytest

from service.custody.fireblocks.calls import MOST_PAGES, FireblocksCalls
from service.domain.account import AccountRef
from service.domain.errors import IncompleteListError, UnavailableError
from service.domain.ids import ConnectionId
from service.domain.plan import Verdict
from service.ports.custody import ConnectionConfig, GateHolds
from tests.unit.service.custody.test_fireblocks_wallets import NoHolds

ACCOUNT = AccountRef(ConnectionId("con-a"), "0")
REPLACES = {"replacedTxHash": "0xold"}


class Workspace:
    """Lists these transactions as broadcast and answers every POST with `{}`."""

    def __init__(self, *listed: object, status: str = "BROADCASTING") -> None:
        self.listed = list(listed)
        self.status = status
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.method == "POST":
            return httpx.Response(200, json={})
        if request.url.path.endswith("/transactions"):
            return httpx.Response(200, json=self.page(request.url.params))
        return httpx.Response(200, json={"status": self.status})

    def page(self, asked: httpx.QueryParams) -> object:
        """The newest 200; `before` is exclusive where it is asked for."""
        told: Any = self.listed
        if not isinstance(told, list):
            return told
        return [one for one in told if "before" not in asked or one["createdAt"] < int(asked["before"])][:200]

    def calls(self) -> FireblocksCalls:
        settings = {"api_base_url": "https://api.platform.test/v1", "api_key": "api-user"}
        config = ConnectionConfig(ACCOUNT.connection, "fireblocks", settings, lambda _: b"", ())
        holds: GateHolds = NoHolds()
        return FireblocksCalls(config, lambda _: b"signature", holds, httpx.Client(transport=httpx.MockTransport(self)))


def sent(asset: str = "ETH", amount: object = "1", **more: object) -> dict[str, object]:
    return {"id": "tx", "status": "BROADCASTING", "assetId": asset, "amountInfo": {"amount": amount}, **more}


@pytest.mark.parametrize(
    ("found", "listed"),
    [
        (sent(), True),
        (sent("USDC"), True),
        (sent("BTC"), False),
        (sent("NEW_TOKEN"), True),
        (sent(amount="0"), True),
        (sent(amount="0", **REPLACES), False),
        (sent(amount="0E-18", **REPLACES), False),
        (sent(amount="1", **REPLACES), True),
        (sent(amount="0", extraParameters={"contractCallData": "0x095ea7b3"}, **REPLACES), True),
        (sent(amount="not a number", **REPLACES), True),
        (sent(amount=None, **REPLACES), True),
    ],
    ids=[
        "coin", "token", "another chain", "asset that nobody described", "nothing, replaces nothing", "a drop's own",
        "a drop's own, in other digits", "sped up", "sped up call", "no number", "no amount",
    ],
)  # fmt: skip
def test_what_may_be_dropped(found: dict[str, object], *, listed: bool) -> None:
    workspace = Workspace(found, "no transaction")
    assert [one.transaction for one in workspace.calls().broadcast(ACCOUNT)] == ["tx"] * listed
    assert dict(workspace.asked[0].url.params) == {
        "status": "BROADCASTING", "sourceType": "VAULT_ACCOUNT", "sourceId": "0", "limit": "200",
        "orderBy": "createdAt", "sort": "DESC",
    }  # fmt: skip


def test_a_list_that_is_none_is_not_an_empty_one() -> None:
    workspace = Workspace()
    workspace.listed = {"message": "odd"}  # type: ignore[assignment]  # what an odd answer is
    with pytest.raises(UnavailableError):
        list(workspace.calls().broadcast(ACCOUNT))


def many(count: int, *, each_ms: int = 1) -> list[dict[str, object]]:
    """Transfers on a chain on which nothing is dropped, the newest first, so many to a millisecond."""
    return [{**sent("BTC"), "id": f"btc-{n}", "createdAt": 1_754_229_343_763 - n // each_ms} for n in range(count)]


@pytest.mark.parametrize("each_ms", [1, 7, 150])
def test_a_theft_behind_full_pages_of_others_is_found(each_ms: int) -> None:
    workspace = Workspace(*many(650, each_ms=each_ms), {**sent(), "createdAt": 1_754_229_000_000})
    assert [one.transaction for one in workspace.calls().broadcast(ACCOUNT)] == ["tx"]


def test_a_page_is_read_once_where_times_are_shared() -> None:
    listed = [{**one, "assetId": "ETH"} for one in many(450, each_ms=30)]
    assert [one.transaction for one in Workspace(*listed).calls().broadcast(ACCOUNT)] == [one["id"] for one in listed]


@pytest.mark.parametrize(
    "listed",
    [
        many(200 * MOST_PAGES + MOST_PAGES),
        many(400, each_ms=400),
        [{**one, "createdAt": "soon"} for one in many(200)],
        [{**one, "createdAt": None} for one in many(200)],
        [{**one, "createdAt": 1_754_229_343} for one in many(200)],
    ],
    ids=["too many", "one millisecond", "no time", "no word of it", "seconds"],
)
def test_what_cannot_be_read_to_its_end_is_told_as_incomplete(listed: list[dict[str, object]]) -> None:
    workspace = Workspace(*listed)
    with pytest.raises(IncompleteListError):
        list(workspace.calls().broadcast(ACCOUNT))
    assert len(workspace.asked) <= MOST_PAGES


def test_the_race_is_run_at_the_highest_fee_and_an_accepted_bid_is_no_end() -> None:
    workspace = Workspace()
    calls = workspace.calls()
    assert calls.drop(ACCOUNT, "tx/1", key="k").facts == {"replacedTxHash": ""}
    (asked,) = workspace.asked
    assert asked.url.raw_path == b"/v1/transactions/tx%2F1/drop"
    assert json.loads(asked.content) == {"txId": "tx/1", "feeLevel": "HIGH"}
    assert calls.dropped("tx/1") is Verdict.DOES_NOT_HOLD


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("FAILED", Verdict.HOLDS),
        ("CANCELLED", Verdict.HOLDS),
        ("BROADCASTING", Verdict.DOES_NOT_HOLD),
        ("CANCELLING", Verdict.DOES_NOT_HOLD),
        ("CONFIRMING", Verdict.DOES_NOT_HOLD),
        ("COMPLETED", Verdict.DOES_NOT_HOLD),
    ],
)
def test_only_an_end_that_moved_nothing_is_one(status: str, told: Verdict) -> None:
    assert Workspace(status=status).calls().dropped("tx") is told
