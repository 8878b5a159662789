"""The approvers and the script, against stand-ins for the two sides."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyotp
import pytest
import rfc8785
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import drills.runner.approvers
from drills import addresses
from drills.runner.approvers import Approvers
from drills.runner.attack import Attack
from drills.runner.ballots import Answer, BallotKey, read_ballot_key
from drills.runner.crew import Member
from drills.runner.documents import TAG, check_code
from drills.runner.errors import ApiError, DrillError
from drills.runner.phones import Phone
from drills.runner.platform import Platform
from drills.runner.processes import Address
from drills.runner.service import Service
from drills.runner.story import Story
from drills.scenario import load_named
from hsm.errors import SealError
from hsm.sealing import Envelope, oaep_sha1, open_with_key
from service.domain.ballot import BALLOT_TAG, BallotPaper, associated_data, from_text, read_paper

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

NOW_S = 1_000_005
PRIVATE = rsa.generate_private_key(65537, 2048)
BALLOTS = BallotKey(PRIVATE.public_key())


@pytest.fixture(autouse=True)
def codes_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No phone shows another code in the middle of a test."""
    monkeypatch.setattr(drills.runner.approvers, "time", SimpleNamespace(time=lambda: float(NOW_S)))


def opened(sealed: str, digest: str, person: str) -> BallotPaper:
    """Open a ballot with the service's own code, as the authority does."""
    envelope = Envelope.parse(from_text(sealed))
    key = PRIVATE.decrypt(envelope.wrapped, oaep_sha1())
    return read_paper(open_with_key(envelope, key, associated_data(BALLOT_TAG, person, digest)), BallotPaper)


def document(approval_id: str, action: str, *, requester: str = "portcullis") -> dict[str, Any]:
    fields: dict[str, Any] = {
        "tag": TAG,
        "id": approval_id,
        "incident": "inc_1",
        "requester": requester,
        "quorum": {action: [[2, "approver"]]},
        "what": [{"action": action, "sentence": f"{action}, please"}],
    }
    text = rfc8785.dumps(fields).decode()
    return {
        "state": "waiting",
        "document": text,
        "digest": hashlib.sha256(TAG.encode() + b"\0" + text.encode()).hexdigest(),
    }


class Desk(Service):
    """Answers for approvals and keeps the votes; refuses as many at first as `refusals` says, with 409."""

    refusals = 0

    def __init__(self, documents: Mapping[str, dict[str, Any]]) -> None:
        super().__init__("http://127.0.0.1:1")
        self.documents = documents
        self.votes: list[tuple[str, str, dict[str, Any]]] = []

    def get(self, path: str, token: str, **query: str) -> dict[str, Any]:
        return self.documents[path.rpartition("/")[2]]

    def post(self, path: str, token: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        approval_id = path.split("/")[3]
        if self.refusals:
            self.refusals -= 1
            raise ApiError("this code was used before", 409)
        self.votes.append((approval_id, token, dict(body or {})))
        cast = sum(one[0] == approval_id for one in self.votes)
        return {"state": "approved" if cast == 2 else "waiting"}


def people(count: int) -> list[Member]:
    return [
        Member(f"p{n}", f"p{n}", ("approver",), None, person=f"per_{n}", token=f"tok{n}", phone=Phone(pyotp.TOTP(SEED)))
        for n in range(count)
    ]


def test_a_sweep_is_voted_on_first_by_two_people_with_their_own_codes() -> None:
    desk = Desk({"apr_a": document("apr_a", "retire_key"), "apr_b": document("apr_b", "sweep_to_safe")})
    approvers = Approvers(desk, people(4), BALLOTS, Story())
    for approval_id in ("apr_a", "apr_b", "apr_a"):
        approvers.heard(approval_id)
    approvers.vote()
    approvers.vote()

    assert [one[0] for one in desk.votes] == ["apr_b", "apr_b", "apr_a", "apr_a"]
    assert len({one[1] for one in desk.votes}) == 4
    person, vote = desk.votes[0][1].replace("tok", "per_"), desk.votes[0][2]
    digest = str(desk.documents["apr_b"]["digest"])
    paper = opened(str(vote["sealed"]), digest, person)
    assert set(vote) == {"sealed"}
    assert (paper.check_code, paper.decision) == (check_code(digest, person), "approve")
    assert paper.code == pyotp.TOTP(SEED).at(NOW_S)
    assert approvers.waiting == []


def test_a_ballot_opens_as_the_answer_of_this_person_to_this_document_alone() -> None:
    sealed = {d: BALLOTS.seal(Answer("ab" * 32, "per_1", "K7QD2MXA", "123456", d)) for d in ("approve", "deny")}

    assert opened(sealed["deny"], "ab" * 32, "per_1").decision == "deny"
    assert len(sealed["approve"]) == len(sealed["deny"])
    for digest, person in (("cd" * 32, "per_1"), ("ab" * 32, "per_2")):
        with pytest.raises(SealError):
            opened(sealed["approve"], digest, person)


def test_a_ballot_key_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DrillError, match=r"authority-ballots\.pem cannot be read"):
        read_ballot_key(tmp_path)
    (tmp_path / "public").mkdir()
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "public" / "authority-ballots.pem").write_bytes(other.public_bytes(serialization.Encoding.PEM, form))
    with pytest.raises(DrillError, match="no RSA key"):
        read_ballot_key(tmp_path)


def test_votes_wait_for_fresh_codes_when_people_are_few() -> None:
    desk = Desk({a: document(a, "sweep_to_safe") for a in ("apr_a", "apr_b")})
    approvers = Approvers(desk, people(2), BALLOTS, Story())
    for approval_id in desk.documents:
        approvers.heard(approval_id)
    approvers.vote()

    assert len(desk.votes) == 2
    assert len(approvers.waiting) == 1


def test_a_vote_that_did_not_count_is_made_up_for_by_somebody_else() -> None:
    desk = Desk({"apr_a": document("apr_a", "sweep_to_safe")})
    desk.refusals = 1
    approvers = Approvers(desk, people(4), BALLOTS, Story())
    approvers.heard("apr_a")
    for _ in range(2):
        approvers.vote()

    assert approvers.waiting == []
    assert approvers.votes == 2


def test_a_request_that_ended_meanwhile_is_let_go() -> None:
    desk = Desk({"apr_a": {**document("apr_a", "sweep_to_safe"), "state": "void"}})
    desk.refusals = 1
    approvers = Approvers(desk, people(4), BALLOTS, Story())
    approvers.heard("apr_a")
    approvers.vote()

    assert approvers.waiting == []
    assert desk.votes == []


def test_the_requester_does_not_vote() -> None:
    desk = Desk({"apr_a": document("apr_a", "sweep_to_safe", requester="per_0")})
    approvers = Approvers(desk, people(3), BALLOTS, Story())
    approvers.heard("apr_a")
    approvers.vote()

    assert {one[1] for one in desk.votes} == {"tok1", "tok2"}


def test_another_requests_document_is_not_voted_on() -> None:
    desk = Desk({"apr_a": document("apr_b", "sweep_to_safe")})

    with pytest.raises(DrillError, match="shows the document of apr_b"):
        Approvers(desk, people(2), BALLOTS, Story()).heard("apr_a")


class Victim(Platform):
    """Refuses thefts of fixed amounts, as when there is less left, and of one asset altogether."""

    def __init__(self) -> None:
        super().__init__(Address("http://127.0.0.1:1", "secret"))
        self.calls: list[Mapping[str, object]] = []

    def call(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        self.calls.append(body)
        if body.get("asset") == "OCEAN" or "amount_base_units" in body:
            raise ApiError("too late", 409)
        return {"tx_hash": "0x01", "amount_base_units": "1000000000"}


def test_a_thief_takes_what_is_left_and_late_moves_are_told() -> None:
    story = Story()
    scenario = load_named("kucoin-2020")
    hurried = Attack(scenario, addresses.of_accounts(scenario, {}), Victim(), story, speed_up=10_000)
    hurried.start()
    while not hurried.is_over:
        time.sleep(0.01)
    hurried.check()

    assert len(hurried.played) == len(scenario.script)
    late = [p for p in hurried.played if p.answer is None]
    assert {getattr(p.call.move, "asset", "") for p in late} == {"OCEAN"}
    assert any("came too late" in line.sentence for line in story.lines)
    assert any("nothing but dust" in line.sentence for line in story.lines)
    assert "1,000 USDT_ERC20, about $1,000" in " ".join(line.sentence for line in story.lines)


def test_a_script_that_breaks_off_says_so() -> None:
    class Gone(Victim):
        def call(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
            raise ApiError("the emulator did not answer", 0)

    scenario = load_named("kucoin-2020")
    attack = Attack(scenario, addresses.of_accounts(scenario, {}), Gone(), Story(), speed_up=10_000)
    attack.start()
    while not attack.is_over:
        time.sleep(0.01)

    with pytest.raises(DrillError, match="broke off"):
        attack.check()
