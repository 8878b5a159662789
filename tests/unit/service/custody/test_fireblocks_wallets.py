"""Publishing a new address: for which assets, what counts as published, and what an odd answer means."""

import json
from collections.abc import Mapping

import httpx
import pytest

from service.custody.fireblocks.assets import read_assets
from service.custody.fireblocks.calls import FireblocksCalls
from service.custody.fireblocks.wallets import wallet_name
from service.domain.account import AccountRef
from service.domain.errors import InputError, PortcullisError, UnavailableError, UnknownOutcomeError
from service.domain.ids import ConnectionId
from service.domain.plan import Receipt, Verdict
from service.ports.custody import ConnectionConfig, GateHolds, PendingTransfer

ACCOUNT = AccountRef(ConnectionId("con-a"), "0")
PLAIN = "0xab5801a7d398351b8be11c439e05c5b3259aec9b"
NEW = f"eip155:1:{PLAIN}"
NAME = wallet_name(ACCOUNT, PLAIN)
BITCOIN = "bip122:000000000019d6689c085ae165831e93"


class NoHolds:
    """Implements `GateHolds`; publishing asks our gate nothing."""

    def place(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        raise NotImplementedError

    def release(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        raise NotImplementedError

    def held(self, connection: ConnectionId, scope: str, value: str) -> Verdict:
        raise NotImplementedError

    def known_pending(self, account: AccountRef) -> list[PendingTransfer]:
        raise NotImplementedError


class Platform:
    """Answers from a table of (method, path below /v1); everything else is a 404."""

    def __init__(self, answers: Mapping[tuple[str, str], object]) -> None:
        self.answers = answers
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        found = self.answers.get((request.method, request.url.path.removeprefix("/v1")))
        return httpx.Response(404) if found is None else httpx.Response(200, json=found)

    @property
    def posted(self) -> list[tuple[str, object]]:
        return [(r.url.path, json.loads(r.content)) for r in self.seen if r.method == "POST"]


def calls(platform: Platform) -> FireblocksCalls:
    settings = {"api_base_url": "https://api.platform.test/v1", "api_key": "api-user"}
    config = ConnectionConfig(ACCOUNT.connection, "fireblocks", settings, lambda _: b"", ())
    holds: GateHolds = NoHolds()
    return FireblocksCalls(config, lambda _: b"signature", holds, httpx.Client(transport=httpx.MockTransport(platform)))


def listed(*assets: Mapping[str, str], name: str = NAME) -> Platform:
    return Platform({("GET", "/internal_wallets"): [{"id": "w-1", "name": name, "assets": list(assets)}]})


def eth(address: str = PLAIN, status: str = "APPROVED") -> dict[str, str]:
    return {"id": "ETH", "address": address, "status": status}


@pytest.mark.parametrize(
    ("settings", "chain", "assets"),
    [
        ({}, "eip155:1", ("ETH",)),
        ({}, BITCOIN, ("BTC",)),
        ({}, "eip155:8453", ()),
        ({"USDC": ["eip155:1/erc20:0xa0", 6]}, "eip155:1", ("ETH", "USDC")),
        (
            {"MY_ETH": ["eip155:1/slip44:60", 18], "A_TOKEN": ["eip155:1/erc20:0xa0", 6]},
            "eip155:1",
            ("MY_ETH", "A_TOKEN"),
        ),
        ({"BASE": ["eip155:8453/slip44:60", 18]}, "eip155:8453", ("BASE",)),
        ({"BASE": ["eip155:8453/slip44:60", 18]}, "eip155:1", ("ETH",)),
    ],
)
def test_an_address_is_for_its_chain_s_coin_and_the_connection_s_own_assets(
    settings: dict[str, list[object]], chain: str, assets: tuple[str, ...]
) -> None:
    told = {name: {"caip19": caip19, "decimals": decimals} for name, (caip19, decimals) in settings.items()}
    assert read_assets({"assets": json.dumps(told)}).on(chain) == assets


@pytest.mark.parametrize(
    ("platform", "verdict"),
    [
        (listed(eth()), Verdict.HOLDS),
        (listed(eth(PLAIN.upper().replace("0X", "0x"))), Verdict.HOLDS),
        (listed(eth(status="WAITING_FOR_APPROVAL")), Verdict.DOES_NOT_HOLD),
        (listed(eth(status="REJECTED")), Verdict.DOES_NOT_HOLD),
        (listed(eth(address="0x00")), Verdict.DOES_NOT_HOLD),
        (listed({"id": "ETH"}), Verdict.DOES_NOT_HOLD),
        (listed({"id": "USDC", "address": PLAIN, "status": "APPROVED"}), Verdict.DOES_NOT_HOLD),
        (listed(), Verdict.DOES_NOT_HOLD),
        (listed(eth(), name="somebody's"), Verdict.DOES_NOT_HOLD),
        (Platform({("GET", "/internal_wallets"): []}), Verdict.DOES_NOT_HOLD),
        (Platform({("GET", "/internal_wallets"): {"message": "busy"}}), Verdict.CANNOT_TELL),
        (Platform({("GET", "/internal_wallets"): [{"id": "w-1"}]}), Verdict.CANNOT_TELL),
        (Platform({}), Verdict.CANNOT_TELL),
    ],
)
def test_only_an_approved_equal_address_is_published(platform: Platform, verdict: Verdict) -> None:
    assert calls(platform).address_published(ACCOUNT, NEW) is verdict


def test_it_enters_only_what_the_wallet_lacks() -> None:
    whole, half = listed(eth()), listed()
    half.answers = {**half.answers, ("POST", "/internal_wallets/w-1/ETH"): eth()}
    assert calls(whole).publish_address(ACCOUNT, NEW, key="k").reference == "w-1"
    assert whole.posted == []
    calls(half).publish_address(ACCOUNT, NEW, key="k")
    assert half.posted == [("/v1/internal_wallets/w-1/ETH", {"address": PLAIN})]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({("GET", "/internal_wallets"): {"odd": 1}}, UnavailableError),
        ({("GET", "/internal_wallets"): [], ("POST", "/internal_wallets"): {"odd": 1}}, UnknownOutcomeError),
    ],
)
def test_an_odd_answer_to_a_question_changed_nothing_and_to_a_call_perhaps(
    answers: dict[tuple[str, str], object], error: type[PortcullisError]
) -> None:
    with pytest.raises(error):
        calls(Platform(answers)).publish_address(ACCOUNT, NEW, key="k")


def test_the_wallet_and_each_address_have_idempotency_keys_of_their_own() -> None:
    empty = {"id": "w-1", "name": NAME, "assets": []}
    platform = Platform(
        {
            ("GET", "/internal_wallets"): [],
            ("POST", "/internal_wallets"): empty,
            ("POST", "/internal_wallets/w-1/ETH"): eth(),
        }
    )
    calls(platform).publish_address(ACCOUNT, NEW, key="k" * 300)
    keys = [r.headers["Idempotency-Key"] for r in platform.seen if r.method == "POST"]
    assert len(set(keys)) == len(keys) == len(platform.posted)
    assert all(len(key) <= 40 for key in keys), "Fireblocks takes no longer one"


@pytest.mark.parametrize("address", ["", "0xabc", "eip155:1:"])
def test_an_address_without_its_chain_is_refused_before_anything_is_sent(address: str) -> None:
    platform = listed()
    with pytest.raises(InputError):
        calls(platform).publish_address(ACCOUNT, address, key="k")
    assert platform.seen == []


def test_a_long_account_name_never_cuts_the_address_off() -> None:
    assert PLAIN in wallet_name(AccountRef(ACCOUNT.connection, "x" * 200), PLAIN)
