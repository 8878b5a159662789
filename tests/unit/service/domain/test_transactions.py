from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

from service.domain.activity import Activity, Received, SigningFacts
from service.domain.ids import ActivityId, ConnectionId
from service.domain.intake import Item
from service.domain.transactions import decision_for, differences, gives_up, moved, opened, says_more

FIRST = Activity(
    connection=ConnectionId("c"),
    event_id="e",
    kind="withdrawal.requested",
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    account="a",
    transaction="t",
    asset="x",
    amount_base_units=5,
    amount_usd=Decimal(7),
    destination="d",
)


def item(payload: bytes | None = None, **changes: object) -> Item:
    activity = msgspec.structs.replace(FIRST, **changes)
    received = Received(
        activity_id=ActivityId("act_1"), received_at=FIRST.occurred_at, body_digest=b"", raw=b"", activity=activity
    )
    return Item(received, payload_digest=payload)


@pytest.mark.parametrize(
    ("changes", "found", "decision"),
    [
        ({"kind": "withdrawal.confirmed"}, (), "allow"),
        ({"amount_usd": Decimal(9)}, (), "allow"),
        ({"amount_base_units": 6}, ("amount",), "alert"),
        ({"destination": "other"}, ("destination",), "hold"),
        ({"asset": "other", "amount_base_units": 1}, ("asset", "amount"), "hold"),
        ({"destination": None, "amount_base_units": None}, (), "allow"),
    ],
)
def test_what_differs_and_what_it_decides(changes: dict[str, object], found: tuple[str, ...], decision: str) -> None:
    assert differences(opened(item(), "allow"), item(None, **changes)) == found
    assert decision_for(found) == decision


def test_a_payload_differs_only_from_a_known_one() -> None:
    assert differences(opened(item(), "allow"), item(b"p")) == ()
    assert differences(opened(item(b"p"), "allow"), item(b"q")) == ("payload",)


def test_first_bytes_are_news_unless_they_are_proven_to_be_the_payment_that_was_told() -> None:
    state, proven = opened(item(), "allow"), SigningFacts(delegatecall=False, display_mismatch=False)
    assert not says_more(state, item(b"p", signing=proven))
    assert not says_more(state, item(None, signing=SigningFacts()))
    for signing in (None, SigningFacts(delegatecall=False), replace(proven, delegatecall=True)):
        assert says_more(state, item(b"p", signing=signing))
    assert says_more(state, item(b"p", signing=proven, kind="signing.requested"))
    assert says_more(state, item(None, signing=SigningFacts(governance_call=True)))
    assert not says_more(opened(item(b"p"), "allow"), item(b"p", signing=SigningFacts(delegatecall=True)))


def test_states_only_move_forward_and_decisions_only_get_stronger() -> None:
    state = opened(item(destination=None), "alert")
    state = moved(state, item(kind="withdrawal.confirmed"), "allow")
    state = moved(state, item(kind="withdrawal.broadcast"), None)
    assert (state.state, state.decision, state.destination) == ("confirmed", "alert", "d")
    assert moved(state, item(), "hold").decision == "hold"


def test_only_a_counted_transfer_is_given_back_and_only_once() -> None:
    failed = msgspec.structs.replace(FIRST, kind="withdrawal.failed")
    state = opened(item(), "allow")
    assert gives_up(state, failed)
    assert not gives_up(moved(state, item(kind="withdrawal.failed"), None), failed)
    assert not gives_up(moved(state, item(kind="withdrawal.confirmed"), None), failed)


@pytest.mark.parametrize("name", ["account", "asset", "destination", "amount_base_units", "amount_usd"])
def test_what_is_told_for_the_first_time_was_never_weighed(name: str) -> None:
    untold = opened(item(None, **{name: None}), "allow")
    assert says_more(untold, item())
    assert not says_more(untold, item(None, **{name: None}))
    assert not says_more(opened(item(), "allow"), item(None, **{name: None}))


@pytest.mark.parametrize("kind", ["withdrawal.failed", "withdrawal.cancelled"])
def test_to_be_asked_for_what_was_given_up_holds(kind: str) -> None:
    state = opened(item(None, kind=kind), "allow")
    assert differences(state, replace(item(), question="q")) == ("state",)
    assert decision_for(("state",)) == "hold"
    assert differences(state, item()) == ()
    assert differences(opened(item(), "allow"), replace(item(), question="q")) == ()
