"""TOTP computed by a token: the vectors of RFC 6238, and what is no code."""

import hashlib
import hmac
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest

from hsm.totp import TokenTotp, enrolment_uri, matching_timecode, new_seed

SEED = b"12345678901234567890"
"""RFC 6238 appendix B, SHA-1."""


class TokenInMemory:
    """Holds one seed and answers as a token would."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def hmac_sha1(self, object_id: str, message: bytes) -> bytes:
        assert object_id == "fac_1"
        return hmac.new(self._seed, message, hashlib.sha1).digest()


TOKEN = TokenInMemory(SEED)


@pytest.mark.parametrize(
    ("at_s", "eight_digits"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_rfc_6238(at_s: int, eight_digits: str) -> None:
    assert TokenTotp(TOKEN, "fac_1").at(at_s) == eight_digits[2:]
    assert matching_timecode(TOKEN, "fac_1", eight_digits[2:], at_s) == at_s // 30


@pytest.mark.parametrize(("off", "accepted"), [(-61, False), (-30, True), (0, True), (30, True), (61, False)])
def test_one_step_either_way(off: int, accepted: bool) -> None:  # noqa: FBT001  a case
    at_s = 1_700_000_010
    code = TokenTotp(TOKEN, "fac_1").at(at_s)
    found = matching_timecode(TOKEN, "fac_1", code, at_s + off)
    assert found == (at_s // 30 if accepted else None)


def test_a_token_that_fails_on_the_way_says_nothing_about_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that it was the first one's, nor that it was not."""
    at_s = 1_700_000_010
    first = TokenTotp(TOKEN, "fac_1").at(at_s - 30)
    answers = iter([TOKEN.hmac_sha1("fac_1", (at_s // 30 - 1).to_bytes(8, "big"))])
    failing = TokenInMemory(SEED)
    monkeypatch.setattr(failing, "hmac_sha1", lambda _id, _message: next(answers))
    with pytest.raises(StopIteration):
        matching_timecode(failing, "fac_1", first, at_s)


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "12345x", "\uff11\uff12\uff13\uff14\uff15\uff16", " 12345", "-12345"]
)
def test_what_has_not_the_form_of_a_code_never_reaches_the_token(code: str) -> None:
    broken = TokenInMemory(b"")
    broken.hmac_sha1 = None  # type: ignore[method-assign,assignment]  # any call would fail
    assert matching_timecode(broken, "fac_1", code, 59) is None


def test_the_enrolment_uri_gives_a_phone_the_seed_that_the_token_has() -> None:
    seed = new_seed()
    assert len(seed) == 20
    query = parse_qs(urlparse(enrolment_uri(seed, "ada@example.org")).query)
    assert query["issuer"] == ["Portcullis"]
    phone = pyotp.TOTP(query["secret"][0])
    assert phone.at(59) == TokenTotp(TokenInMemory(seed), "fac_1").at(59)
