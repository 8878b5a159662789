"""An attacker in the API's process holds people's ballots while they vote: what he can and cannot do with them.

He carries every ballot, may put it under another request or another name, keep it back, alter it, or seal papers of his
own, for the ballot key is public. What he must not get: a vote that nobody meant, a code, or somebody locked out by
rubbish.
"""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import text

from hsm.errors import SealError
from hsm.sealing import KEY_BYTES, open_reply, seal
from service.authority import enrolment
from service.authority.changes import settle
from service.authority.votes import Ballot, cast
from service.domain.approval import ActionDocument, ApprovalState, check_code, sentences, step_item
from service.domain.ballot import (
    BALLOT_TAG,
    ENROLMENT_ANSWER_TAG,
    ENROLMENT_TAG,
    FIRST_CODE_TAG,
    FirstCode,
    associated_data,
    client_code,
    filled,
    from_text,
    to_text,
)
from service.domain.changes import NewFactor
from service.domain.errors import ConflictError, ForbiddenError, InputError, PortcullisError, UnauthenticatedError
from service.domain.ids import PersonId
from service.store.voting import VotingRecords
from tests.support.attacker import Attacker
from tests.support.authority import House, Phone, a_step

pytestmark = pytest.mark.servers


def two_requests(house: House) -> tuple[ActionDocument, ActionDocument]:
    honest, other = (house.ask(step_item(a_step(value=name), "Sweep.")) for name in ("hot-1", "treasury"))
    return honest, other


def tries(house: House, person: PersonId) -> int:
    with house.office.db.begin() as uow:
        factor = VotingRecords(uow.connection, uow.now).factors_of(person)[0]
        counted = text("SELECT failures FROM factors WHERE id = :id")
        return int(uow.connection.execute(counted, {"id": factor.id}).scalar_one())


def noted(house: House, kind: str) -> int:
    with house.office.db.begin() as uow:
        counted = text("SELECT count(*) FROM audit_entries WHERE body::text LIKE :kind")
        return int(uow.connection.execute(counted, {"kind": f"%{kind}%"}).scalar_one())


def test_a_ballot_is_not_redirected_to_another_document(attacker: Attacker) -> None:
    """The code is fresh and was never used: only the sealing stands between it and the other document."""
    house = attacker.house
    one, *_ = house.phones
    honest, other = two_requests(house)
    held_back = house.ballot(honest, one)
    with pytest.raises(InputError, match="another document"):
        cast(house.office, msgspec.structs.replace(held_back, approval=other.id))
    assert not attacker.evidence(other).votes
    assert tries(house, one) == 0
    assert cast(house.office, held_back).state is ApprovalState.WAITING, "and the honest vote still counts"


def test_a_ballot_is_not_cast_in_another_name(attacker: Attacker) -> None:
    house = attacker.house
    one, two, *_ = house.phones
    honest, _other = two_requests(house)
    held_back = house.ballot(honest, one)
    with pytest.raises(InputError, match="person"):
        cast(house.office, msgspec.structs.replace(held_back, person=two))
    assert not attacker.evidence(honest).votes


def test_a_denial_cannot_be_told_from_an_approval_nor_turned_into_one(attacker: Attacker) -> None:
    house = attacker.house
    one, *_ = house.phones
    honest, _other = two_requests(house)
    paper = house.paper(honest, one, "deny")
    denial = house.sealed(honest, one, paper)
    approval = house.sealed(honest, one, msgspec.structs.replace(paper, decision="approve"))
    assert len(denial.sealed) == len(approval.sealed)
    for told in (paper.code, paper.check_code, "deny"):
        assert told.encode() not in from_text(denial.sealed)
    envelope = from_text(denial.sealed)
    for at in range(len(envelope) - 280, len(envelope), 7):
        flipped = envelope[:at] + bytes([envelope[at] ^ 1]) + envelope[at + 1 :]
        with pytest.raises(InputError):
            cast(house.office, msgspec.structs.replace(denial, sealed=to_text(flipped)))
    assert cast(house.office, denial).state is ApprovalState.REFUSED


def test_rubbish_locks_nobody_out_and_is_noted_once(attacker: Attacker) -> None:
    house = attacker.house
    one, two, *_ = house.phones
    honest, other = two_requests(house)
    elsewhere = house.ballot(other, one).sealed
    rubbish = [
        "A",
        "!",
        "",
        "x" * 3000,
        to_text(b"PCS1" + bytes(300)),
        to_text(b"PCS1\x01\x80" + bytes(500)),
        elsewhere,
    ]
    for sealed in rubbish * 4:
        for person in (one, two):
            with pytest.raises(InputError):
                cast(house.office, Ballot(approval=honest.id, person=person, sealed=sealed))
    assert (tries(house, one), noted(house, "ballot.refused")) == (0, 2)
    assert house.vote(honest, one).state is ApprovalState.WAITING
    assert house.vote(honest, two).state is ApprovalState.APPROVED


def test_rubbish_from_many_sides_does_not_hold_up_a_vote(attacker: Attacker) -> None:
    house = attacker.house
    one, *_ = house.phones
    honest, other = two_requests(house)
    wrong = msgspec.structs.replace(house.ballot(other, one), approval=honest.id)
    ballots = [wrong] * 6 + [house.ballot(honest, one)] + [wrong] * 6

    def outcome(ballot: Ballot) -> str:
        try:
            return cast(house.office, ballot).state.value
        except PortcullisError as error:
            return error.code

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(outcome, ballots))
    assert answers[6] == "waiting"
    assert set(answers) <= {"waiting", "invalid_input", "conflict"}


def test_a_ballot_for_another_installation_does_not_open(attacker: Attacker) -> None:
    house = attacker.house
    one, *_ = house.phones
    honest, _other = two_requests(house)
    key = rsa.generate_private_key(65537, 3072).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    bound = associated_data(BALLOT_TAG, one, honest.digest)
    strange = to_text(seal(pem, filled(house.paper(honest, one)), bound))
    with pytest.raises(InputError, match="installation"):
        cast(house.office, Ballot(approval=honest.id, person=one, sealed=strange))


def test_who_seals_a_guess_is_counted_as_who_types_one(attacker: Attacker) -> None:
    """The key is public: a well-sealed wrong code is a try, as it always was, and no more than that."""
    house = attacker.house
    one, *_ = house.phones
    honest, _other = two_requests(house)
    with pytest.raises(UnauthenticatedError, match="4 tries are left"):
        house.vote_with(honest, one, code="000-00", check_code=check_code(honest.digest, one))
    assert tries(house, one) == 1


def test_an_envelope_of_an_enrolment_does_not_vote(attacker: Attacker) -> None:
    """A first code is sealed with the same key; what it is for stands in what it is bound to."""
    house = attacker.house
    one, *_ = house.phones
    honest, _other = two_requests(house)
    pem = house.office.token.secrets.public_key_pem()
    for bound in (associated_data(FIRST_CODE_TAG, one), associated_data(FIRST_CODE_TAG, one, honest.digest)):
        sealed = to_text(seal(pem, filled(house.paper(honest, one)), bound))
        with pytest.raises(InputError):
            cast(house.office, Ballot(approval=honest.id, person=one, sealed=sealed))
    wrong_form = to_text(seal(pem, b"[]", associated_data(BALLOT_TAG, one, honest.digest)))
    with pytest.raises(InputError, match="malformed"):
        cast(house.office, Ballot(approval=honest.id, person=one, sealed=wrong_form))
    assert tries(house, one) == 0


def new_factor(house: House, person: PersonId, client: str = "") -> None:
    change = NewFactor(person=person, client=client)
    document = house.ask(change.item("change.factor.enrol", "Enrol."), role="portcullis_api")
    assert client in " ".join(sentences(document)), "who approves reads the code, whatever the sentence says"
    for voter in [other for other in house.phones if other != person][:2]:
        house.vote(document, voter)
    settle(house.office)


def question(house: House, person: PersonId, key: bytes) -> str:
    pem = house.office.token.secrets.public_key_pem()
    return to_text(seal(pem, key, associated_data(ENROLMENT_TAG, person)))


def test_an_enrolment_code_is_read_by_who_asked_for_it_alone(attacker: Attacker) -> None:
    house = attacker.house
    one, two, *_ = house.phones
    new_factor(house, one)
    mine, his = bytes(KEY_BYTES), b"\x01" * KEY_BYTES
    for unusable in (question(house, two, mine), question(house, one, b"short")):
        with pytest.raises(InputError):
            enrolment.answer(house.office, one, unusable)
    sealed = from_text(enrolment.answer(house.office, one, question(house, one, mine)))
    bound = associated_data(ENROLMENT_ANSWER_TAG, one)
    with pytest.raises(SealError, match="answers another question"):
        open_reply(his, sealed, bound)
    told = msgspec.json.decode(open_reply(mine, sealed, bound))
    assert b"otpauth" not in sealed
    with pytest.raises(ConflictError, match="shown before"):
        enrolment.answer(house.office, one, question(house, one, his))

    code = Phone(told["otpauth_uri"], house.clock).code()
    pem = house.office.token.secrets.public_key_pem()
    for person in (two, one):
        first = to_text(seal(pem, filled(FirstCode(code=code)), associated_data(FIRST_CODE_TAG, person)))
        if person is one:
            enrolment.confirm_sealed(house.office, one, first)
        else:
            with pytest.raises(InputError):
                enrolment.confirm_sealed(house.office, one, first)


def test_an_enrolment_that_names_its_client_is_no_race(attacker: Attacker) -> None:
    """The attacker carries the person's token and asks first, with a key of his own: nothing is shown to him."""
    house = attacker.house
    one, *_ = house.phones
    his, mine = b"\x01" * KEY_BYTES, b"\x02" * KEY_BYTES
    new_factor(house, one, client_code(mine))
    with pytest.raises(ForbiddenError, match="whose code the quorum approved"):
        enrolment.answer(house.office, one, question(house, one, his))
    with pytest.raises(ForbiddenError, match="whose code the quorum approved"):
        enrolment.begin(house.office, one)
    sealed = from_text(enrolment.answer(house.office, one, question(house, one, mine)))
    told = msgspec.json.decode(open_reply(mine, sealed, associated_data(ENROLMENT_ANSWER_TAG, one)))
    assert told["otpauth_uri"].startswith("otpauth://totp/")
