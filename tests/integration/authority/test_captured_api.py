"""With the API's database role and its place at the authority's socket in an attacker's hands, nothing is loosened.

The attacker writes as `portcullis_api`, knows every row, captured a whole honest vote, and may call the authority. He has
no phone of an approver and no access to the authority's token. What he must not get: `authorisation.check` saying yes to
a step, or a change of who decides.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial

import msgspec
import psycopg
import pytest
from psycopg import errors, sql

from service.authority import changes, enrolment
from service.authority.changes import carry_out, settle, tighten
from service.authority.office import Office
from service.authority.votes import cast
from service.domain.approval import ApprovalState, PolicyRef, parse, step_item
from service.domain.authorisation import Evidence, Vote, check
from service.domain.changes import NewDestination, NewPerson, PersonNamed, PersonRoles
from service.domain.errors import ApprovalError, ForbiddenError, PortcullisError, UnauthenticatedError
from service.domain.ids import PersonId, new_id
from service.domain.matching import Holders
from service.domain.person import PersonState
from service.domain.policy import Place, default_policy, parse_policy_text
from service.domain.quorum import Role
from service.domain.setup import destination_in_force
from service.domain.signed import Signed
from service.store.unit_of_work import SqlUnitOfWork
from tests.support.attacker import API, Attacker
from tests.support.authority import DECLARED, a_step
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers

TABLES = (
    *("votes", "applied_changes", "people", "factors", "factor_attempts", "policies", "mandates"),
    *("connections", "connection_secrets", "channels", "setup"),
)


def denied(superuser_url: str, statement: str) -> None:
    with psycopg.connect(url_of_role(superuser_url, API)) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_the_attack_would_be_noticed_if_it_worked(attacker: Attacker) -> None:
    """The yardstick of this file answers yes to an honest quorum."""
    one, two, *_ = attacker.house.phones
    step = a_step()
    document = attacker.house.ask(step_item(step, "Sweep."))
    attacker.house.vote(document, one)
    assert not attacker.gets(document, step)
    attacker.house.vote(document, two)
    assert attacker.gets(document, step)


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_of_who_decides_are_out_of_reach(postgres_url: str, table: str) -> None:
    name = sql.Identifier(table).as_string()
    denied(postgres_url, f"INSERT INTO {name} DEFAULT VALUES")
    denied(postgres_url, f"DELETE FROM {name}")  # noqa: S608  as above
    denied(postgres_url, f"TRUNCATE {name}")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE people SET roles = '{approver}'",
        "UPDATE factors SET last_timecode = 0",
        "UPDATE factors SET failures = 0",
        "UPDATE factor_attempts SET failures = 0",
        "UPDATE policies SET body = ''",
        "UPDATE votes SET decision = 'approve'",
        "UPDATE votes SET void_at = NULL",
        "UPDATE approvals SET state = 'approved'",
        "INSERT INTO approvals (id, state) VALUES ('apr_1', 'approved')",
        "INSERT INTO approvals (id, reason) VALUES ('apr_1', 'denied by all')",
        "UPDATE approvals SET document = ''",
        "DELETE FROM approvals",
        "UPDATE steps SET state = 'ready'",
        "UPDATE steps SET params = '{}'",
        "UPDATE steps SET effect = 'tightens'",
        "UPDATE steps SET approval_id = NULL",
        "INSERT INTO steps DEFAULT VALUES",
        "INSERT INTO plans DEFAULT VALUES",
        "UPDATE gate_holds SET released_at = now()",
        "UPDATE messages SET state = 'queued'",
        "UPDATE safe_destinations SET descriptor = 'thief'",
        "UPDATE safe_destinations SET signature = NULL",
        "UPDATE transactions SET cleared_by = 'apr_1'",
        "INSERT INTO transactions (connection_id, ref, cleared_by) VALUES ('c', 't', 'apr_1')",
        "INSERT INTO safe_destinations (account_id, signature) VALUES ('acc_1', 'x')",
        "INSERT INTO audit_entries (body, at, leaf_index) VALUES ('{}', now(), 0)",
        "INSERT INTO outbox (event, payload, created_at, published_at) VALUES ('e', '{}', now(), now())",
        "INSERT INTO handled (key) VALUES ('job:1:triage.alert')",
        "DELETE FROM audit_entries",
        "UPDATE audit_entries SET body = ''",
    ],
)
def test_what_is_decided_or_planned_cannot_be_rewritten(postgres_url: str, statement: str) -> None:
    denied(postgres_url, statement)


def test_a_row_that_calls_itself_approved_moves_nothing(attacker: Attacker) -> None:
    step = a_step()
    document = attacker.document(step_item(step, "Sweep."))
    attacker.has_it_approved(document)
    assert not attacker.gets(document, step)


def test_a_captured_vote_counts_for_no_other_document_and_no_second_time(attacker: Attacker) -> None:
    house = attacker.house
    one, *_ = house.phones
    honest = house.ask(step_item(a_step(), "Sweep."))
    captured = house.ballot(honest, one)
    cast(house.office, captured)

    mine = attacker.document(step_item(a_step(value="treasury"), "Sweep."))
    attacker.inserts_approval(mine)
    replay = msgspec.structs.replace(captured, approval=mine.id)
    for ballot in (captured, replay):
        with pytest.raises(PortcullisError):
            cast(house.office, ballot)
    assert not attacker.evidence(mine).votes


def test_a_document_with_a_milder_quorum_is_no_document(attacker: Attacker) -> None:
    house = attacker.house
    one, *_ = house.phones
    honest = attacker.document(step_item(a_step(), "Sweep."))
    mild = msgspec.structs.replace(honest, quorum={"sweep_to_safe": (Place(1, Role.RESPONDER),)})
    attacker.inserts_approval(mild)
    with pytest.raises(ApprovalError, match="another quorum"):
        house.vote(mild, one)


def test_a_document_under_an_own_or_older_policy_is_no_document(attacker: Attacker) -> None:
    house = attacker.house
    one, *_ = house.phones
    mild = default_policy(DECLARED, {"quorums": {"sweep_to_safe": [[1, "responder"]]}})
    honest = attacker.document(step_item(a_step(), "Sweep."))
    forged = msgspec.structs.replace(
        honest,
        quorum={"sweep_to_safe": (Place(1, Role.RESPONDER),)},
        policy=PolicyRef(version=mild.version, digest=mild.digest),
    )
    attacker.inserts_approval(forged)
    with pytest.raises(ApprovalError, match="another policy"):
        house.vote(forged, one)


def test_a_document_that_stands_for_years_is_no_document(attacker: Attacker) -> None:
    one, *_ = attacker.house.phones
    honest = attacker.document(step_item(a_step(), "Sweep."))
    long = msgspec.structs.replace(honest, execute_by=honest.execute_by + timedelta(days=900))
    attacker.inserts_approval(long)
    with pytest.raises(ApprovalError, match="longer than the policy allows"):
        attacker.house.vote(long, one)


def test_a_row_under_another_id_than_its_document_takes_no_vote(attacker: Attacker) -> None:
    house = attacker.house
    one, *_ = house.phones
    document = attacker.document(step_item(a_step(), "Sweep."))
    other = new_id("apr")
    attacker.runs(
        "INSERT INTO approvals (id, subject, document, digest, requester, created_at, approve_by, execute_by)"
        " VALUES (%s, 'steps', %s, 'x', 'portcullis', %s, %s, %s)",
        *(other, document.text, document.created, document.approve_by, document.execute_by),
    )
    ballot = msgspec.structs.replace(house.ballot(document, one), approval=other)
    with pytest.raises(ApprovalError, match="names another request"):
        cast(house.office, ballot)


def test_a_forged_vote_row_is_refused_even_if_somebody_writes_it(attacker: Attacker) -> None:
    """Worse than the API: a database superuser writes votes, and still has no signature."""
    house = attacker.house
    one, two, *_ = house.phones
    step = a_step()
    document = house.ask(step_item(step, "Sweep."))
    genuine = house.vote(document, one).signed
    honest = msgspec.json.decode(genuine.body, type=Vote)
    forged = msgspec.structs.replace(honest, person=two)
    with psycopg.connect(house.superuser_url) as connection:
        connection.execute(
            "INSERT INTO votes (id, approval_id, person_id, decision, statement, signature, factor_id, timecode, cast_at)"
            " VALUES (%s, %s, %s, 'approve', %s, %s, 'fac_x', 1, now())",
            (new_id("vot"), document.id, two, forged.text, genuine.signature),
        )
    with pytest.raises(ApprovalError, match="not signed by the authority"):
        check(
            attacker.evidence(document),
            step,
            public_key_pem=house.office.public_key_pem,
            now=house.clock.now(),
        )


def test_a_vote_for_another_document_put_into_this_one_is_refused(attacker: Attacker) -> None:
    house = attacker.house
    one, two, *_ = house.phones
    step = a_step()
    mine, honest = house.ask(step_item(step, "Mine.")), house.ask(step_item(a_step(), "Honest."))
    votes = [house.vote(honest, person).signed for person in (one, two)]
    evidence = attacker.evidence(mine)
    stolen = Evidence(evidence.document, votes, evidence.policy)
    with pytest.raises(ApprovalError, match="cast for another document"):
        check(stolen, step, public_key_pem=house.office.public_key_pem, now=house.clock.now())


def test_a_registry_change_marked_as_approved_is_not_carried_out(attacker: Attacker) -> None:
    house = attacker.house
    victim = next(iter(house.phones))
    changes = [
        NewPerson(id=new_id("per"), name="Mallory", email="m@example.org", roles=(Role.ADMIN,)).item(
            "change.person.add", "Add."
        ),
        PersonRoles(person=victim, roles=(Role.VIEWER,)).item("change.person.roles", "Demote."),
    ]
    for item in changes:
        document = attacker.document(item)
        attacker.has_it_approved(document)
        settle(house.office)
        with house.database(API).begin() as uow:
            assert uow.approvals.row(document.id).state is ApprovalState.VOID
    with house.database(API).begin() as uow:
        assert {p.id for p in uow.registry.people()} == set(house.phones)
        assert Role.ADMIN in uow.registry.person(victim).roles


def test_a_safe_destination_of_the_attackers_own_is_passed_over(attacker: Attacker) -> None:
    house = attacker.house
    now = house.clock.now()
    account, chain = new_id("acc"), "eip155:1"
    false = NewDestination(account=account, connection="main", ref="hot", chain=chain, descriptor="0xthief")
    document = attacker.document(false.item("change.destination.register", "Register."))
    attacker.has_it_approved(document)
    carry_out(house.office, document.id)
    statement = Signed('{"tag":"portcullis/registered-destination/v1"}', bytes(64))
    pem = house.office.public_key_pem
    assert destination_in_force([statement], account, chain, public_key_pem=pem, now=now) is None


def test_the_authority_tightens_at_once_but_loosens_for_nobody(attacker: Attacker) -> None:
    house = attacker.house
    mallory = {"id": new_id("per"), "name": "M", "email": "m@example.org", "roles": ["admin"]}
    for action, params in (
        ("change.person.add", mallory),
        ("change.person.restore", {"person": next(iter(house.phones))}),
        ("change.policy.replace", {"changes": {"approve_within_s": 3600}}),
        ("change.factor.enrol", {"person": next(iter(house.phones))}),
    ):
        with pytest.raises(ForbiddenError, match="no tightening"):
            tighten(house.office, action, params, "per_admin")


def test_the_attacker_cannot_lock_everybody_out_either(attacker: Attacker) -> None:
    """Suspending is a tightening, but not down to where no quorum could be won again."""
    house = attacker.house
    first, *others = house.phones
    tighten(house.office, "change.person.suspend", {"person": first}, "per_admin")
    for person in others:
        with pytest.raises(ForbiddenError, match="takes a quorum"):
            tighten(house.office, "change.person.suspend", {"person": person}, "per_admin")
    with house.database(API).begin() as uow:
        assert len(uow.registry.eligible()) == 3


def test_who_fills_no_place_is_suspended_at_once_while_places_are_empty_and_who_fills_one_is_not(
    attacker: Attacker,
) -> None:
    house = attacker.house
    one, two, three, _ = house.phones
    with psycopg.connect(house.superuser_url) as connection:
        connection.execute("UPDATE people SET roles = '{viewer}' WHERE id = ANY(%s)", [[one, two]])
    tighten(house.office, "change.person.suspend", {"person": one}, "per_admin")
    tighten(house.office, "change.factor.revoke", {"person": two}, "per_admin")
    with pytest.raises(ForbiddenError, match="takes a quorum"):
        tighten(house.office, "change.person.suspend", {"person": three}, "attacker")


def test_two_tightenings_at_once_do_not_overlook_each_other(
    attacker: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone leaves a quorum that can be won; both together would lock everybody out."""
    house = attacker.house
    spare = len(house.phones) - 3
    for person in list(house.phones)[: spare - 1]:
        tighten(house.office, "change.person.suspend", {"person": person}, "attacker")
    both_applied = threading.Barrier(2)
    look = changes._require_no_harder

    def after_the_other(office: Office, uow: SqlUnitOfWork, before: Holders) -> None:
        with suppress(threading.BrokenBarrierError):
            both_applied.wait(0.5)
        look(office, uow, before)

    monkeypatch.setattr(changes, "_require_no_harder", after_the_other)

    def suspend(person: PersonId) -> bool:
        try:
            tighten(house.office, "change.person.suspend", {"person": person}, "attacker")
        except ForbiddenError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(suspend, list(house.phones)[-2:])) == [False, True]


def test_a_role_that_was_taken_away_takes_its_vote_along(attacker: Attacker) -> None:
    one, two, *_ = attacker.house.phones
    step = a_step()
    document = attacker.house.ask(step_item(step, "Sweep."))
    attacker.house.vote(document, one)
    attacker.house.vote(document, two)
    assert attacker.gets(document, step)
    tighten(attacker.house.office, "change.person.role_remove", {"person": one, "roles": ["treasury"]}, "admin")
    assert not attacker.gets(document, step)


def test_who_sets_an_executed_change_back_to_approved_repeats_nothing(attacker: Attacker) -> None:
    """The containment worker's role may write an approval's state; the change it once carried is not carried again."""
    house = attacker.house
    one, two, _three, four = house.phones
    tighten(house.office, "change.person.suspend", {"person": four}, "admin")
    document = house.ask(PersonNamed(person=four).item("change.person.restore", "Restore."))
    house.vote(document, one)
    house.vote(document, two)
    settle(house.office)
    tighten(house.office, "change.person.suspend", {"person": four}, "admin, once more")
    with psycopg.connect(url_of_role(house.superuser_url, "portcullis_containment")) as connection:
        connection.execute("UPDATE approvals SET state = 'approved' WHERE id = %s", [document.id])
    settle(house.office)
    with house.database(API).begin() as uow:
        assert uow.registry.person(four).state is PersonState.SUSPENDED
        assert uow.approvals.row(document.id).state is ApprovalState.EXECUTED
    with psycopg.connect(house.superuser_url) as connection:
        told = connection.execute("SELECT subject FROM timeline WHERE kind = 'approval.repeated'").fetchall()
    assert told == [(document.id,)]


def test_a_workers_role_keeps_no_change_from_being_carried_out(attacker: Attacker) -> None:
    house = attacker.house
    one, two, _three, four = house.phones
    document = house.ask(PersonNamed(person=four).item("change.person.suspend", "Suspend."))
    with psycopg.connect(url_of_role(house.superuser_url, "portcullis_keys")) as worker:
        worker.execute("INSERT INTO handled (key) VALUES (%s)", [f"change:{document.id}"])
        worker.commit()
        with pytest.raises(errors.InsufficientPrivilege):
            worker.execute("INSERT INTO applied_changes (approval_id, at) VALUES (%s, now())", [document.id])
    for person in (one, two):
        house.vote(document, person)
    settle(house.office)
    with house.database(API).begin() as uow:
        assert uow.registry.person(four).state is PersonState.SUSPENDED


def test_nobody_enrols_a_factor_for_somebody_who_has_one(attacker: Attacker) -> None:
    person = next(iter(attacker.house.phones))
    for attempt in (enrolment.begin, partial(enrolment.begin_in_setup, require_open=lambda _uow: None)):
        with pytest.raises(PortcullisError, match="quorum"):
            attempt(attacker.house.office, PersonId(person))


def test_the_setup_token_is_dead_after_set_up(attacker: Attacker) -> None:
    house = attacker.house
    with pytest.raises(UnauthenticatedError, match="no longer valid"):
        house.add_people(1)
    with pytest.raises(UnauthenticatedError, match="no longer valid"):
        house.first.policy("one-time-token-of-tests", {"quorums": {"sweep_to_safe": [[1, "responder"]]}})


def test_the_document_in_the_database_is_what_was_voted_on(attacker: Attacker) -> None:
    one, *_ = attacker.house.phones
    document = attacker.house.ask(step_item(a_step(), "Sweep."))
    attacker.house.vote(document, one)
    with attacker.house.database(API).begin() as uow:
        stored = uow.approvals.row(document.id).document
        assert parse(stored).digest == document.digest
        assert parse_policy_text((uow.registry.policy() or Signed("", b"")).body).digest == document.policy.digest
