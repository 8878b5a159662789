"""From a document to an authorised step: real token, real database roles."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import text

from service.authority.changes import settle, tighten
from service.authority.votes import cast
from service.domain.approval import ApprovalState, check_code, step_item
from service.domain.authorisation import Tally, check, tally
from service.domain.changes import PersonNamed
from service.domain.errors import (
    ApprovalError,
    ConflictError,
    ForbiddenError,
    PortcullisError,
    RateLimitedError,
    UnauthenticatedError,
)
from service.store.voting import VotingRecords
from tests.support.authority import SETUP_TOKEN, House, a_step
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers


def test_two_votes_authorise_exactly_the_step_that_was_shown(ready: House) -> None:
    one, two, *_ = ready.phones
    step = a_step()
    document = ready.ask(step_item(step, "Sweep account hot-1 to its safe destination."))

    first = ready.vote(document, one)
    assert (first.state, set(first.lacking)) == (ApprovalState.WAITING, {"sweep_to_safe"})
    assert ready.vote(document, two).state is ApprovalState.APPROVED

    with ready.database("portcullis_keys").begin() as uow:
        evidence = uow.approvals.evidence(document.id)
    pem = ready.office.public_key_pem
    assert check(evidence, step, public_key_pem=pem, now=ready.clock.now()).id == document.id
    other = a_step(params={"destination": "eip155:1:0xthief", "amount_base_units": "12"})
    with pytest.raises(ApprovalError, match="does not list this step"):
        check(evidence, other, public_key_pem=pem, now=ready.clock.now())


def test_a_denial_ends_the_request(ready: House) -> None:
    one, two, *_ = ready.phones
    document = ready.ask(step_item(a_step(), "Sweep."))
    assert ready.vote(document, one, "deny").state is ApprovalState.REFUSED
    with pytest.raises(ApprovalError, match="takes no more votes"):
        ready.vote(document, two)


def test_one_person_votes_once_and_alone_is_not_enough(ready: House) -> None:
    one = next(iter(ready.phones))
    document = ready.ask(step_item(a_step(), "Sweep."))
    ready.vote(document, one)
    with pytest.raises(ConflictError, match="already voted"):
        ready.vote(document, one)


def test_the_requester_does_not_vote(ready: House) -> None:
    one = next(iter(ready.phones))
    document = ready.ask(step_item(a_step(), "Sweep."), requester=one)
    with pytest.raises(ForbiddenError, match="requester"):
        ready.vote(document, one)


def test_a_code_counts_once_over_all_requests(ready: House) -> None:
    one = next(iter(ready.phones))
    first, second = (ready.ask(step_item(a_step(), "Sweep.")) for _ in range(2))
    ready.vote(first, one)
    with pytest.raises(ConflictError, match="used before"):
        ready.vote_with(second, one, code=ready.phones[one].same_code())


def test_a_code_older_than_the_last_one_used_is_refused_in_the_database(ready: House) -> None:
    one = next(iter(ready.phones))
    with ready.office.db.begin() as uow:
        records = VotingRecords(uow.connection, uow.now)
        factor = records.factors_of(one)[0]
        assert records.burn(factor.id, factor.last_timecode + 5)
        assert not records.burn(factor.id, factor.last_timecode + 5)
        assert not records.burn(factor.id, factor.last_timecode + 4)


def test_the_check_code_of_another_document_or_person_does_not_vote(ready: House) -> None:
    one, two, *_ = ready.phones
    first, second = (ready.ask(step_item(a_step(), "Sweep.")) for _ in range(2))
    for wrong in (check_code(second.digest, one), check_code(first.digest, two)):
        with pytest.raises(UnauthenticatedError, match="check code"):
            ready.vote_with(first, one, check_code=wrong)


def test_five_wrong_codes_lock_this_person_out_of_this_request_only(ready: House) -> None:
    one, two, *_ = ready.phones
    document = ready.ask(step_item(a_step(), "Sweep."))
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            ready.vote_with(document, one, code="no-code")
    with pytest.raises(RateLimitedError, match="locked out"):
        ready.vote(document, one)
    with ready.office.db.begin() as uow:
        kinds = uow.connection.execute(text("SELECT kind FROM timeline WHERE kind LIKE 'vote.%'")).scalars().all()
    assert kinds == ["vote.refused"] * 4 + ["vote.locked"]
    assert ready.vote(document, two).state is ApprovalState.WAITING
    assert ready.vote(ready.ask(step_item(a_step(), "Another.")), one).state is ApprovalState.WAITING


def test_twenty_wrong_codes_a_day_stop_a_factor_everywhere(ready: House) -> None:
    one = next(iter(ready.phones))
    for _ in range(4):
        document = ready.ask(step_item(a_step(), "Sweep."))
        for _ in range(5):
            with pytest.raises(UnauthenticatedError):
                ready.vote_with(document, one, code="000-00")
    last = ready.ask(step_item(a_step(), "Sweep."))
    with pytest.raises(RateLimitedError) as limited:
        ready.vote(last, one)
    assert limited.value.retry_after_s is not None
    ready.clock.pass_by(timedelta(hours=24, seconds=1))
    later = ready.ask(step_item(a_step(), "Sweep."))
    assert ready.vote(later, one).state is ApprovalState.WAITING


def test_parallel_guesses_are_charged_one_by_one(ready: House) -> None:
    one = next(iter(ready.phones))
    document = ready.ask(step_item(a_step(), "Sweep."))
    wrong = ready.sealed(document, one, msgspec.structs.replace(ready.paper(document, one), code="000000x"))

    def guess(_number: int) -> str:
        try:
            cast(ready.office, wrong)
        except PortcullisError as error:
            return error.code
        return "accepted"

    with ThreadPoolExecutor(4) as threads:
        answers = sorted(threads.map(guess, range(12)))
    assert answers == ["rate_limited"] * 7 + ["unauthenticated"] * 5


def test_a_late_vote_does_not_count(ready: House) -> None:
    one = next(iter(ready.phones))
    document = ready.ask(step_item(a_step(), "Sweep."))
    ready.clock.moment = document.approve_by + timedelta(seconds=1)
    with pytest.raises(ApprovalError, match="could be voted on until"):
        ready.vote(document, one)


def test_an_approved_document_runs_only_until_its_second_expiry(ready: House) -> None:
    one, two, *_ = ready.phones
    step = a_step()
    document = ready.ask(step_item(step, "Sweep."))
    ready.vote(document, one)
    ready.vote(document, two)
    with ready.database("portcullis_keys").begin() as uow:
        evidence = uow.approvals.evidence(document.id)
    pem = ready.office.public_key_pem
    check(evidence, step, public_key_pem=pem, now=document.execute_by)
    with pytest.raises(ApprovalError, match="could be executed until"):
        check(evidence, step, public_key_pem=pem, now=document.execute_by + timedelta(seconds=1))


def test_the_vote_of_somebody_who_was_suspended_since_no_longer_counts(ready: House) -> None:
    one, two, *_ = ready.phones
    step = a_step()
    document = ready.ask(step_item(step, "Sweep."))
    ready.vote(document, one)
    ready.vote(document, two)
    tighten(ready.office, "change.person.suspend", {"person": one}, "per_admin")
    with ready.database("portcullis_keys").begin() as uow:
        evidence = uow.approvals.evidence(document.id)
    with pytest.raises(ApprovalError, match="lacks"):
        check(evidence, step, public_key_pem=ready.office.public_key_pem, now=ready.clock.now())


def test_what_was_approved_before_a_suspension_never_counts_again_and_its_person_answers_anew(ready: House) -> None:
    one, two, three, _ = ready.phones
    step = a_step()
    document = ready.ask(step_item(step, "Sweep."))
    ready.vote(document, one)
    tighten(ready.office, "change.person.suspend", {"person": one}, "per_admin")
    restore = ready.ask(PersonNamed(person=one).item("change.person.restore", "Restore."))
    for person in (two, three):
        ready.vote(restore, person)
    settle(ready.office)
    assert ready.vote(document, two).state is ApprovalState.WAITING
    with ready.database("portcullis_keys").begin() as uow:
        evidence = uow.approvals.evidence(document.id)
    with pytest.raises(ApprovalError, match="lacks"):
        check(evidence, step, public_key_pem=ready.office.public_key_pem, now=ready.clock.now())
    assert ready.vote(document, one, "deny").state is ApprovalState.REFUSED


def test_what_was_approved_with_a_factor_that_was_revoked_since_no_longer_counts(ready: House) -> None:
    one, two, *_ = ready.phones
    document = ready.ask(step_item(a_step(), "Sweep."))
    ready.vote(document, one)
    tighten(ready.office, "change.factor.revoke", {"person": one}, "per_admin")
    assert ready.vote(document, two).state is ApprovalState.WAITING


def test_nobody_is_suspended_while_his_vote_is_being_stored(ready: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suspension would not see that vote, and it would count again once he is restored."""
    one = next(iter(ready.phones))
    document = ready.ask(step_item(a_step(), "Sweep."))

    def suspended_meanwhile(*given: Any) -> Tally:
        with psycopg.connect(url_of_role(ready.superuser_url, "portcullis_authority")) as connection:
            connection.execute("SET lock_timeout = '1ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute("UPDATE people SET state = 'suspended' WHERE id = %s", [one])
        return tally(*given)

    monkeypatch.setattr("service.authority.votes.tally", suspended_meanwhile)
    assert ready.vote(document, one).state is ApprovalState.WAITING


def test_a_request_that_nobody_could_win_is_refused_at_once(house: House) -> None:
    house.first.policy(SETUP_TOKEN, {"quorums": {"sweep_to_safe": [[2, "treasury"]]}})
    house.add_people(3, ("responder", "approver", "admin"))
    requester, other = house.add_people(2, ("treasury",))
    house.add_people(1, ("treasury",))
    house.complete()
    house.ask(step_item(a_step(), "Two treasurers remain."), requester=requester)
    tighten_to_two = {"person": other, "roles": ["treasury"]}
    with pytest.raises(ForbiddenError, match="takes a quorum"):
        tighten(house.office, "change.person.role_remove", tighten_to_two, "per_admin")
    with house.office.db.begin() as uow:
        uow.connection.execute(text("UPDATE people SET state = 'suspended' WHERE id = :id"), {"id": other})
    with pytest.raises(ApprovalError, match="nobody can approve sweep_to_safe"):
        house.ask(step_item(a_step(), "One treasurer remains."), requester=requester)


def test_an_action_without_a_quorum_is_refused_not_let_through(ready: House) -> None:
    with pytest.raises(ApprovalError, match="no quorum for open_all_gates"):
        ready.ask(step_item(a_step(action="open_all_gates"), "Open."))
