"""`portcullis approve` believes the document, not the API."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from rich.console import Console

from service.commands.approve import checked_vote, read_document, show
from service.commands.client import ApiClient, api_token
from service.commands.setup import read_plan, setup_token
from service.domain.approval import ActionDocument, Draft, check_code, propose
from service.domain.authorisation import VOTE_TAG, Vote
from service.domain.errors import (
    ApprovalError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InputError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.quorum import Role
from service.domain.secrets import Secret
from tests.unit.service.domain.test_approval import NOW, POLICY, an_item
from tests.unit.service.domain.test_policy import PEM, sign

DOCUMENT = propose(Draft([an_item()], "It drains.", "portcullis"), POLICY, NOW)
OTHER = propose(Draft([an_item()], "It drains elsewhere.", "portcullis"), POLICY, NOW)


def api(answer: Callable[[httpx.Request], httpx.Response]) -> ApiClient:
    return ApiClient(Secret("pcl_x"), "http://api", httpx.MockTransport(answer))


def shows(stored: ActionDocument, **changes: object) -> ApiClient:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/people/me":
            return httpx.Response(200, json={"id": "per_1"})
        honest = {
            "document": stored.text,
            "digest": stored.digest,
            "check_code": check_code(stored.digest, "per_1"),
        }
        return httpx.Response(200, json={**honest, **changes})

    return api(answer)


def a_vote(document: ActionDocument, decision: str = "approve") -> dict[str, str]:
    vote = Vote(
        tag=VOTE_TAG,
        approval=document.id,
        digest=document.digest,
        person="per_1",
        roles=(Role.APPROVER,),
        decision="approve" if decision == "approve" else "deny",
        method="totp",
        factor="fac_1",
        timecode=1,
        at=NOW,
    )
    signed = sign(vote.text)
    return {"statement": signed.body, "signature": signed.signature.hex()}


def test_an_honest_api_is_read() -> None:
    with shows(DOCUMENT) as client:
        assert read_document(client, DOCUMENT.id) == (DOCUMENT, "per_1")


@pytest.mark.parametrize(
    "lie",
    [
        {"digest": OTHER.digest},
        {"check_code": check_code(OTHER.digest, "per_1")},
        {"check_code": None},
        {"document": OTHER.text, "digest": OTHER.digest},
    ],
)
def test_an_api_that_shows_something_else_is_caught(lie: dict[str, object]) -> None:
    with shows(DOCUMENT, **lie) as client, pytest.raises(ConflictError, match="do not vote"):
        read_document(client, DOCUMENT.id)


def test_no_text_looks_like_a_sentence_by_where_it_is_wrapped() -> None:
    why = f"{'It drains.':60}1. Nothing is done."
    for width in range(40, 120):
        shown = io.StringIO()
        show(Console(file=shown, width=width), msgspec.structs.replace(DOCUMENT, why=why), "per_1")
        told = [line.removeprefix("│ ").rstrip("│ ") for line in shown.getvalue().splitlines()]
        assert [line for line in told if line.startswith(("1. ", "- 1. "))] == ["- 1. Sweep account hot-1."], width


def test_a_document_that_is_not_canonical_is_not_shown() -> None:
    with shows(DOCUMENT, document=json.dumps(json.loads(DOCUMENT.text))) as client, pytest.raises(InputError):
        read_document(client, DOCUMENT.id)


def test_a_code_that_was_used_for_another_document_is_noticed() -> None:
    assert "exactly what you read" in checked_vote(DOCUMENT, "per_1", "approve", a_vote(DOCUMENT), PEM)
    assert "not checked" in checked_vote(DOCUMENT, "per_1", "approve", {}, None)
    for answer in (a_vote(OTHER), a_vote(DOCUMENT, "deny")):
        with pytest.raises(ApprovalError, match="raise the alarm"):
            checked_vote(DOCUMENT, "per_1", "approve", answer, PEM)
    forged = {**a_vote(DOCUMENT), "signature": "00" * 64}
    with pytest.raises(ApprovalError, match="pinned key"):
        checked_vote(DOCUMENT, "per_1", "approve", forged, PEM)


def test_problems_come_back_as_their_errors() -> None:
    def forbidden(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, json={"code": "forbidden", "detail": "no"})

    def lost(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late")

    def absent(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    cases: list[tuple[Callable[[httpx.Request], httpx.Response], type[Exception]]] = [
        (forbidden, ForbiddenError),
        (lost, UnknownOutcomeError),
        (absent, UnavailableError),
    ]
    for answer, error in cases:
        with api(answer) as client, pytest.raises(error):
            client.post("/v1/approvals/x/votes")


def test_tokens_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("pcl_b\n")
    assert api_token({"PORTCULLIS_API_TOKEN": "pcl_a"}).reveal() == "pcl_a"
    assert api_token({"PORTCULLIS_API_TOKEN_FILE": str(file)}).reveal() == "pcl_b"
    for env in ({}, {"PORTCULLIS_API_TOKEN_FILE": str(tmp_path / "absent")}):
        with pytest.raises(ConfigurationError, match="PORTCULLIS_API_TOKEN"):
            api_token(env)
    assert setup_token(file).reveal() == "pcl_b"
    with pytest.raises(ConfigurationError):
        setup_token(tmp_path / "absent")


@pytest.mark.parametrize("text", ["- a\n", "people: [\n", "wallets: []\n", "\x00"])
def test_a_wrong_set_up_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "first.yaml"
    file.write_text(text)
    with pytest.raises(InputError):
        read_plan(file)
