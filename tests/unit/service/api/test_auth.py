"""Bearer tokens: what is refused is never told apart, and revoking takes effect within seconds."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from service.api.auth import CACHE_S, Authenticator, Principal, StoredToken
from service.domain.errors import RateLimitedError, UnauthenticatedError, UnavailableError
from service.domain.ids import new_id
from service.domain.quorum import Role

ID = new_id("tok")
TOKEN = f"pcl_{ID.removeprefix('tok_')}_of-tests"
NOW = datetime(2026, 1, 5, tzinfo=UTC)
PRINCIPAL = Principal(ID, Role.VIEWER, None, None)


def stored(token: str = TOKEN, **changes: object) -> StoredToken:
    fields: dict[str, object] = {"expires_at": None, "revoked_at": None} | changes
    return StoredToken(PRINCIPAL, hashlib.sha256(token.encode()).digest(), **fields)  # type: ignore[arg-type]  # by name


class Monotonic:
    at = 0.0

    def __call__(self) -> float:
        return self.at


def checking(find: Callable[[str], StoredToken | None], monotonic: Callable[[], float]) -> Authenticator:
    return Authenticator(find, now=lambda: NOW, monotonic=monotonic)


def sent(value: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", value.encode())]


def test_a_right_token_tells_who_calls() -> None:
    found = checking(lambda _: stored(), Monotonic()).authenticate(sent(f"bearer {TOKEN}"))
    assert found == PRINCIPAL


@pytest.mark.parametrize(
    "headers",
    [
        [],
        sent(""),
        sent("Bearer"),
        sent("Bearer "),
        sent(f"Basic {TOKEN}"),
        sent(f"Bearer {TOKEN}x"),
        sent("Bearer pcl_x_y"),
        sent("Bearer " + "x" * 300),
        [(b"authorization", b"Bearer \xff")],
        [*sent(f"Bearer {TOKEN}"), *sent(f"Bearer {TOKEN}")],
    ],
)
def test_everything_else_is_refused_in_the_same_words(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(UnauthenticatedError, match=r"^send a valid API token: Authorization: Bearer pcl_…$"):
        checking(lambda _: stored(), Monotonic()).authenticate(headers)


@pytest.mark.parametrize(
    "row",
    [
        None,
        stored(revoked_at=NOW),
        stored(expires_at=NOW),
        stored(expires_at=NOW - timedelta(days=1)),
        stored(person_may=False),
        stored("another"),
    ],
)
def test_a_token_that_ended_is_refused_in_the_same_words(row: StoredToken | None) -> None:
    with pytest.raises(UnauthenticatedError, match=r"^send a valid API token: Authorization: Bearer pcl_…$"):
        checking(lambda _: row, Monotonic()).authenticate(sent(f"Bearer {TOKEN}"))


def test_revoking_takes_effect_when_the_row_is_read_again() -> None:
    rows = [stored(), stored(revoked_at=NOW)]
    monotonic = Monotonic()
    checked = checking(lambda _: rows.pop(0), monotonic)
    for _ in range(3):
        assert checked.authenticate(sent(f"Bearer {TOKEN}")) == PRINCIPAL
    monotonic.at += CACHE_S + 0.1
    with pytest.raises(UnauthenticatedError):
        checked.authenticate(sent(f"Bearer {TOKEN}"))


def test_a_row_that_cannot_be_read_is_no_refusal() -> None:
    def away(_token_id: str) -> None:
        raise UnavailableError("the database is away")

    with pytest.raises(UnavailableError):
        checking(away, Monotonic()).authenticate(sent(f"Bearer {TOKEN}"))


def test_a_braked_client_costs_no_look_up() -> None:
    asked: list[str] = []

    def none(token_id: str) -> None:
        asked.append(token_id)

    checked = checking(none, Monotonic())
    for _ in range(20):
        guess = f"Bearer pcl_{new_id('tok').removeprefix('tok_')}_x"
        with pytest.raises(UnauthenticatedError):
            checked.authenticate(sent(guess), "192.0.2.1")
    with pytest.raises(RateLimitedError):
        checked.authenticate(sent(f"Bearer {TOKEN}"), "192.0.2.1")
    assert len(asked) == 20


def test_what_is_remembered_is_the_right_token_alone_and_not_for_long() -> None:
    clock = Monotonic()
    looked_up: list[str] = []

    def find(token_id: str) -> StoredToken:
        looked_up.append(token_id)
        return stored(expires_at=NOW + timedelta(days=1))

    authenticator = checking(find, clock)
    assert authenticator.remembered(sent(f"Bearer {TOKEN}")) is None
    authenticator.authenticate(sent(f"Bearer {TOKEN}"))
    assert authenticator.remembered(sent(f"Bearer {TOKEN}")) == PRINCIPAL
    assert authenticator.remembered(sent(f"Bearer {TOKEN}x")) is None
    with pytest.raises(UnauthenticatedError):
        authenticator.remembered([])
    clock.at = CACHE_S
    assert authenticator.remembered(sent(f"Bearer {TOKEN}")) is None
    assert looked_up == [ID]


def test_a_remembered_token_that_ended_is_not_believed() -> None:
    authenticator = checking(lambda _: stored(revoked_at=NOW), Monotonic())
    with pytest.raises(UnauthenticatedError):
        authenticator.authenticate(sent(f"Bearer {TOKEN}"))
    assert authenticator.remembered(sent(f"Bearer {TOKEN}")) is None
