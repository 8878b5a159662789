"""The envelope: an error's code survives the socket, an unforeseen failure tells nothing."""

import msgspec
import pytest

from hsm.errors import TokenUnavailableError
from service.authority.wire import answered, handler
from service.domain.errors import ConflictError, ForbiddenError, PortcullisError, RateLimitedError, from_code


class Body(msgspec.Struct, forbid_unknown_fields=True):
    person: str


def answer(failure: Exception) -> dict[str, object]:
    def fails(_body: Body) -> dict[str, object]:
        raise failure

    told: dict[str, dict[str, object]] = msgspec.json.decode(answered(handler(Body, fails), b'{"person":"p"}'))
    return told["error"]


def test_a_result() -> None:
    assert answered(handler(Body, lambda body: {"who": body.person}), b'{"person":"p"}') == b'{"result":{"who":"p"}}'


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"person":1}', b'{"person":"p","more":1}', b"\xff"])
def test_a_malformed_body_is_an_input_error(raw: bytes) -> None:
    told = msgspec.json.decode(answered(handler(Body, lambda _body: {}), raw))
    assert told["error"]["code"] == "invalid_input"


@pytest.mark.parametrize(
    "error", [ConflictError("a", field="b"), RateLimitedError("c", retry_after_s=7.0), ForbiddenError("d")]
)
def test_an_error_crosses_the_socket(error: PortcullisError) -> None:
    told = answer(error)
    back = from_code(
        str(told["code"]),
        str(told["message"]),
        field=told["field"] if isinstance(told["field"], str) else None,
        retry_after_s=told["retry_after_s"] if isinstance(told["retry_after_s"], float) else None,
    )
    assert type(back) is type(error)
    assert (str(back), back.field, back.retry_after_s) == (str(error), error.field, error.retry_after_s)


def test_an_unforeseen_failure_says_nothing_about_itself() -> None:
    told = answer(RuntimeError("postgresql://user:password@host"))
    assert told["code"] == "unknown_outcome"
    assert "password" not in str(told)


def test_a_token_that_is_away_is_unavailable() -> None:
    assert answer(TokenUnavailableError("gone"))["code"] == "unavailable"
