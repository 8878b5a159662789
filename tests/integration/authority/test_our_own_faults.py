"""What fails at our side costs nobody a try, and stops neither the authority nor what others decided."""

from dataclasses import replace

import psycopg
import pytest
from sqlalchemy.exc import ProgrammingError

from hsm.errors import HsmError
from service.authority import enrolment
from service.authority.changes import settle
from service.authority.office import VoteToken
from service.authority.votes import Cast
from service.domain.approval import ApprovalState, step_item
from service.domain.changes import ChannelSetting, NewFactor, NewMandate, PersonRoles
from service.domain.errors import RateLimitedError, UnauthenticatedError
from service.domain.quorum import Role
from service.store.voting import TRIES_PER_APPROVAL
from tests.integration.authority.test_setup_and_changes import approved
from tests.support.authority import House, Phone, a_step

pytestmark = pytest.mark.servers

CHANNEL = ChannelSetting(id="mail", kind="smtp", config={"host": "localhost"})


class Failing:
    """A token of which one function fails."""

    def __init__(self, token: VoteToken, function: str) -> None:
        self._token = token
        self._function = function

    def __getattr__(self, name: str) -> object:
        if name == self._function:
            raise HsmError("the token is busy")
        return getattr(self._token, name)


def superuser_does(house: House, statement: str) -> None:
    with psycopg.connect(house.superuser_url) as connection:
        connection.execute(statement.encode())


def another_change_is_carried_out(house: House) -> bool:
    change = PersonRoles(person=list(house.phones)[3], roles=(Role.VIEWER,))
    return approved(house, "change.person.roles", change) is ApprovalState.EXECUTED


@pytest.mark.parametrize("function", ["hmac_sha1", "sign_vote"])
def test_a_token_that_fails_costs_no_try(ready: House, function: str) -> None:
    one = next(iter(ready.phones))
    document = ready.ask(step_item(a_step(), "Sweep."))
    office = ready.office
    ready.office = replace(office, token=Failing(office.token, function))  # type: ignore[arg-type]  # it is one by delegation
    for _ in range(TRIES_PER_APPROVAL + 1):
        with pytest.raises(HsmError):
            ready.vote(document, one)
    ready.office = office
    assert ready.vote(document, one).state is ApprovalState.WAITING


def test_a_database_that_does_not_take_a_vote_costs_no_try_and_a_wrong_code_does(ready: House) -> None:
    one, two, *_ = ready.phones
    document = ready.ask(step_item(a_step(), "Sweep."))
    superuser_does(ready, "REVOKE INSERT ON votes FROM portcullis_authority")
    for _ in range(TRIES_PER_APPROVAL + 1):
        with pytest.raises(ProgrammingError):
            ready.vote(document, one)
    for _ in range(TRIES_PER_APPROVAL):
        with pytest.raises(UnauthenticatedError):
            ready.vote_with(document, two, code="no-code")
    superuser_does(ready, "GRANT INSERT ON votes TO portcullis_authority")
    assert isinstance(ready.vote(document, one), Cast)
    with pytest.raises(RateLimitedError):
        ready.vote(document, two)


def test_a_token_that_fails_does_not_end_an_enrolment(ready: House) -> None:
    person = next(iter(ready.phones))
    assert approved(ready, "change.factor.enrol", NewFactor(person=person)) is ApprovalState.EXECUTED
    phone = Phone(enrolment.begin(ready.office, person).uri.reveal(), ready.clock)
    broken = replace(ready.office, token=Failing(ready.office.token, "hmac_sha1"))  # type: ignore[arg-type]  # as above
    for _ in range(TRIES_PER_APPROVAL + 1):
        with pytest.raises(HsmError):
            enrolment.confirm(broken, person, phone.code())
    enrolment.confirm(ready.office, person, phone.code())


def test_a_mandate_under_an_id_of_before_is_void_and_keeps_nothing_waiting(ready: House) -> None:
    mandate = NewMandate(id="on-call-at-night", scope="escalation", limits={"severity": ("critical",)}, lasts_s=86_400)
    assert approved(ready, "mandate.grant", mandate) is ApprovalState.EXECUTED
    assert approved(ready, "mandate.grant", mandate) is ApprovalState.VOID
    assert another_change_is_carried_out(ready)


def test_a_change_that_the_database_refuses_is_void_and_keeps_nothing_waiting(ready: House) -> None:
    superuser_does(ready, "ALTER TABLE channels ADD CHECK (id <> 'mail')")
    assert approved(ready, "change.channel.put", CHANNEL) is ApprovalState.VOID
    assert another_change_is_carried_out(ready)


def test_a_change_that_fails_otherwise_keeps_nothing_waiting_and_is_tried_again(ready: House) -> None:
    superuser_does(ready, "REVOKE INSERT, UPDATE ON channels FROM portcullis_authority")
    assert approved(ready, "change.channel.put", CHANNEL) is ApprovalState.APPROVED
    assert another_change_is_carried_out(ready)
    superuser_does(ready, "GRANT INSERT, UPDATE ON channels TO portcullis_authority")
    settle(ready.office)
    with ready.office.db.begin() as uow:
        assert [c.id for c in uow.registry.channels()] == ["mail"]
