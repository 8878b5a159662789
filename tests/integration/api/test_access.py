"""Tokens: making, listing, revoking; whom they bind to; and that people who left take theirs with them."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from service.api.auth import Authenticator, stored_tokens
from service.api.failures import LIMIT
from service.domain.errors import InputError, PortcullisError, UnauthenticatedError, UnavailableError
from service.domain.ids import PersonId, new_id
from service.domain.quorum import Role
from tests.support.api import ApiWorld, problem
from tests.support.authority import House


def make(world: ApiWorld, **body: Any) -> httpx.Response:
    return world.call("POST", "/v1/tokens", Role.ADMIN, json={"label": "of tests", "role": "viewer", **body})


def fresh(world: ApiWorld) -> Authenticator:
    return Authenticator(stored_tokens(world.parts.database.engine), now=world.parts.clock.now)


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


def test_a_token_is_shown_once_works_and_ends_when_revoked(world: ApiWorld) -> None:
    made = make(world).json()
    assert fresh(world).authenticate(bearer(made["token"])).role is Role.VIEWER
    listed = world.get("/v1/tokens", Role.ADMIN, usable="true")["items"]
    assert listed[0]["id"] == made["id"]
    assert made["token"].split("_", 2)[2] not in str(listed)
    assert "hash" not in str(listed)
    for _ in range(2):
        assert world.call("DELETE", f"/v1/tokens/{made['id']}", Role.ADMIN).status_code == 204
    with pytest.raises(UnauthenticatedError):
        fresh(world).authenticate(bearer(made["token"]))
    assert made["id"] not in str(world.get("/v1/tokens", Role.ADMIN, usable="true"))
    assert problem(world.call("DELETE", "/v1/tokens/tok_none", Role.ADMIN))["code"] == "not_found"


def test_neither_token_nor_hash_is_in_the_audit_log(world: ApiWorld) -> None:
    made = make(world, label="audited").json()
    secret = made["token"].split("_", 2)[2]
    with world.database.begin() as uow:
        bodies = list(uow.connection.execute(text("SELECT body FROM audit_entries")).scalars())
    assert any(made["id"] in body for body in bodies)
    assert not any(secret in body for body in bodies)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"role": "ingest"}, "invalid_input", "connection"),
        ({"role": "viewer", "connection": "con-a"}, "invalid_input", "connection"),
        ({"role": "ingest", "connection": "none"}, "not_found", "connection"),
        ({"person": "per_none"}, "not_found", "person"),
        ({"role": "god"}, "invalid_input", "role"),
        ({"valid_days": 0}, "invalid_input", "valid_days"),
        ({"valid_days": 367}, "invalid_input", "valid_days"),
        ({"label": "\x1b[31m"}, "invalid_input", "label"),
        ({"scope": "all"}, "invalid_input", "scope"),
    ],
)
def test_a_wrong_token_is_not_made(world: ApiWorld, body: dict[str, Any], code: str, field: str) -> None:
    told = problem(make(world, **body))
    assert (told["code"], told["field"]) == (code, field)


def test_a_person_s_token_has_one_of_his_own_roles(world: ApiWorld, house: House) -> None:
    person = min(house.phones)
    assert problem(make(world, person=person, role="viewer"))["field"] == "role"
    assert make(world, person=person, role="treasury").status_code == 201
    told = problem(make(world, person=person, role="ingest", connection="con-a"))
    assert told["field"] == "person"


@pytest.mark.parametrize("change", ["state = 'suspended'", "roles = '{viewer}'"])
def test_a_person_s_token_ends_with_him_or_his_role(world: ApiWorld, house: House, change: str) -> None:
    person = sorted(house.phones)[3]
    token = make(world, person=person, role="responder").json()["token"]
    assert fresh(world).authenticate(bearer(token)).person_id == person
    with world.database.begin() as uow:
        before = uow.connection.execute(text("SELECT state, roles FROM people WHERE id = :p"), {"p": person}).one()
        uow.connection.execute(text(f"UPDATE people SET {change} WHERE id = :p"), {"p": person})  # noqa: S608  from above
    try:
        with pytest.raises(UnauthenticatedError):
            fresh(world).authenticate(bearer(token))
    finally:
        with world.database.begin() as uow:
            uow.connection.execute(
                text("UPDATE people SET state = :s, roles = :r WHERE id = :p"),
                {"s": before.state, "r": list(before.roles), "p": person},
            )


def test_guessing_is_braked_per_address_and_nobody_else_is(world: ApiWorld) -> None:
    guesser, other = ("198.51.100.7", 1), ("198.51.100.8", 1)
    known = world.token(Role.VIEWER)
    assert world.call("GET", "/v1/alerts", Role.VIEWER, client=guesser).status_code == 200
    codes = []
    for _ in range(25):
        guess = f"pcl_{new_id('tok').removeprefix('tok_')}_{'x' * 43}"
        answer = world.call("GET", "/v1/alerts", headers={"authorization": f"Bearer {guess}"}, client=guesser)
        codes.append(answer.status_code)
    assert codes == [401] * 20 + [429] * 5
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert world.call("GET", "/v1/alerts", Role.VIEWER, client=guesser).status_code == 200, known
    assert world.call("GET", "/v1/alerts", Role.ANALYST, client=other).status_code == 200


def test_guessing_one_token_s_secret_is_told_so_and_the_right_one_still_works(world: ApiWorld) -> None:
    token = make(world, label="guessed at").json()["token"]
    codes = []
    for number in range(25):
        client = (f"203.0.113.{number}", 1)
        headers = {"authorization": f"Bearer {token[:-1]}{'A' if token[-1] != 'A' else 'B'}"}
        codes.append(world.call("GET", "/v1/alerts", headers=headers, client=client).status_code)
    assert codes == [401] * 19 + [429] * 6
    right = world.call("GET", "/v1/alerts", headers={"authorization": f"Bearer {token}"}, client=("203.0.113.99", 1))
    assert right.status_code == 200


def test_rubbish_ballots_are_braked_by_token_and_nobody_else_is(
    world: ApiWorld, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, *_ = house.phones
    asked: list[object] = []
    refusal: list[PortcullisError] = [InputError("this ballot does not open", field="sealed")]

    def call(_path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        asked.append(body)
        if body["person"] == one:
            raise refusal[0]
        return {}

    monkeypatch.setattr(world.parts.authority, "call", call)

    def vote(person: PersonId) -> httpx.Response:
        return world.call(
            "POST", "/v1/approvals/apr_1/votes", Role.RESPONDER, person=person, json={"sealed": "A" * 200}
        )

    refused = refusal[0]
    refusal[0] = UnavailableError("not there", retry_after_s=1)
    assert {vote(one).status_code for _ in range(LIMIT + 1)} == {503}, "what nobody looked at is nobody's fault"
    refusal[0] = refused
    assert {problem(vote(one))["code"] for _ in range(LIMIT)} == {"invalid_input"}
    reached = len(asked)
    answer = vote(one)
    assert problem(answer)["code"] == "rate_limited"
    assert int(answer.headers["retry-after"]) > 0
    assert len(asked) == reached, "the authority is not asked any more"
    assert vote(two).status_code == 201
