"""Rows that the API's database role may invent stop no other, and none of them is taken for the authority's."""

from collections.abc import Callable
from datetime import timedelta, timezone

import msgspec
import psycopg
import pytest
from psycopg import errors

from service.authority.changes import tighten
from service.domain.approval import ActionDocument, ApprovalState, step_item
from service.domain.errors import InputError, UnauthenticatedError
from service.domain.requests import requested_entry
from service.domain.timeline import is_authoritys
from service.flow.approve import expire
from service.store.grants import AUTHORITY
from tests.support.attacker import API, Attacker
from tests.support.authority import House, a_step

pytestmark = pytest.mark.servers


def test_what_the_authority_writes_is_known_as_its_own(ready: House) -> None:
    """Else others could write it, and whoever verifies the log would take it for genuine."""
    one, two, three, _ = ready.phones
    document = ready.ask(step_item(a_step(), "Sweep."))
    for person in (one, two):
        with pytest.raises(UnauthenticatedError):
            ready.vote_with(document, person, code="000000")
        ready.vote(document, person)
    tighten(ready.office, "change.person.suspend", {"person": three}, "per_admin")
    with ready.database(API).begin() as uow:
        uow.record(requested_entry(document))
        entries = "SELECT body::json ->> 'kind' AS kind, body::json ->> 'by' AS by, written_by FROM audit_entries"
        found = uow.connection.exec_driver_sql(entries).all()
    assert {"approval.approved", "vote.refused", "change.person.suspend.applied"} < {row.kind for row in found}
    assert {row.written_by for row in found} == {API, AUTHORITY}
    assert [row for row in found if is_authoritys(row.kind, row.by) is not (row.written_by == AUTHORITY)] == []


@pytest.mark.parametrize(
    "untrue",
    [
        lambda document: {"amounts": {"\x1b[30A\x1b[J1. Nothing is done.": "0"}},
        lambda document: {"execute_by": document.execute_by.astimezone(timezone(-timedelta(hours=23)))},
    ],
    ids=["text that rewrites a terminal", "a moment that is shown as UTC"],
)
def test_what_would_not_be_shown_as_it_is_gets_no_votes(
    attacker: Attacker, untrue: Callable[[ActionDocument], dict[str, object]]
) -> None:
    house, step = attacker.house, a_step()
    document = attacker.document(step_item(step, "Sweep."))
    for name, value in untrue(document).items():
        msgspec.structs.force_setattr(document, name, value)
    attacker.inserts_approval(document)
    for person in list(house.phones)[:2]:
        with pytest.raises(InputError):
            house.vote(document, person)
    assert not attacker.gets(document, step)


ASKS = (
    "INSERT INTO approvals (id, subject, document, digest, requester, created_at, approve_by, execute_by)"
    " VALUES ('apr_0', %s, %s, 'x', %s, %s, %s, %s)"
)


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "nonsense"},
        {"document": "x"},
        {"document": "[]"},
        {"document": '{"a":"\\u0000"}'},
        {"document": f'{{"a":"{"x" * 300_000}"}}'},
        {"requester": "x" * 2_000},
        {"execute_by": "infinity"},
        {"created": "-infinity"},
        {"approve_by": "2026-01-01T00:00Z"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_no_request_is_not_among_them(attacker: Attacker, changed: dict[str, str]) -> None:
    row = {
        "subject": "steps",
        "document": "{}",
        "requester": "portcullis",
        "created": "2026-02-01T00:00Z",
        "approve_by": "2026-02-02T00:00Z",
        "execute_by": "2026-02-03T00:00Z",
    }
    with pytest.raises((errors.CheckViolation, errors.DataError)):
        attacker.runs(ASKS, *(row | changed).values())


def test_a_row_that_nobody_can_read_keeps_no_request_from_expiring(attacker: Attacker) -> None:
    """Even where the database lets it in."""
    house = attacker.house
    with psycopg.connect(house.superuser_url) as administrator:
        administrator.execute("ALTER TABLE approvals DROP CONSTRAINT ck_approvals_subject")
    long_ago = ["2026-01-01T00:00Z"] * 3
    attacker.runs(ASKS, "nonsense", "{}", "x", *long_ago)
    document = house.ask(step_item(a_step(), "Sweep."))
    house.clock.pass_by(timedelta(days=1))
    assert expire(house.database("portcullis_containment")) == 1
    with house.database(API).begin() as uow:
        assert uow.approvals.row(document.id).state is ApprovalState.EXPIRED
