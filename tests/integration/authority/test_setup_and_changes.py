"""First set-up under the one-time token, and what a quorum changes afterwards."""

from datetime import timedelta

import psycopg
import pytest

from hsm.totp import new_seed
from service.authority import enrolment
from service.authority.changes import settle, tighten
from service.authority.first_setup import SetupAccount, SetupDestination, SetupPerson
from service.domain.account import Account, AccountRef, Holder
from service.domain.approval import ApprovalState, Item, step_item
from service.domain.changes import (
    Change,
    ChannelSetting,
    ConnectionSetting,
    IssuersChange,
    NewDestination,
    NewMandate,
    NewPerson,
    PersonNamed,
    PersonRoles,
    PolicyChange,
    SealedValue,
    sentence,
)
from service.domain.errors import (
    ApprovalError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InputError,
    RateLimitedError,
    UnauthenticatedError,
)
from service.domain.ids import AccountId, ConnectionId, PersonId, new_id
from service.domain.issuer import Issuer
from service.domain.person import PersonState
from service.domain.plan import Effect
from service.domain.policy import policy_in_force
from service.domain.quorum import Role
from service.domain.setup import DESTINATION_DELAY, destination_in_force, registered_destination
from service.ports.store.registry import DestinationRow, NewAccount
from tests.support.authority import EVERYTHING, SETUP_TOKEN, House, Phone, a_step

pytestmark = pytest.mark.servers

MAIN = ConnectionSetting(
    id="main",
    platform="standard",
    name="Main",
    settings={"tenant": "t-1"},
    secrets=(SealedValue(name="webhook_secret.0", opened_by="api", sealed="c2VhbGVk"),),
)


def approved(house: House, action: str, change: Change, *, requester: str = "portcullis") -> ApprovalState:
    """Ask for a change, have two people approve it, and return how it ended."""
    document = house.ask(change.item(action, sentence(action, change)), requester=requester, role="portcullis_api")
    for person in [p for p in house.phones if p != requester][:2]:
        house.vote(document, person)
    settle(house.office)
    with house.office.db.begin() as uow:
        return uow.approvals.row(document.id).state


def account_of(house: House, account_id: str, ref: str = "hot-1") -> None:
    """Register an account as the API does, with the destinations that the authority signed."""
    given = SetupAccount(
        id=account_id,
        connection="main",
        ref=ref,
        safe_destinations=(SetupDestination(chain="eip155:1", descriptor="0xsafe"),),
    )
    signed = house.first.accounts(SETUP_TOKEN, [given])[account_id]
    rows = tuple(
        DestinationRow(AccountId(account_id), s.chain, s.descriptor, s.active_from, one, None, None)
        for one in signed
        for s in [registered_destination(one, house.office.public_key_pem)]
    )
    at = AccountRef(ConnectionId("main"), ref)
    account = Account(AccountId(account_id), at, Holder.PLATFORM, (), "default", None)
    with house.database("portcullis_api").begin() as uow:
        uow.registry.register_account(NewAccount(account, "Hot", (), rows))


def test_set_up_from_nothing_to_completion(house: House) -> None:
    house.first.connections(SETUP_TOKEN, [MAIN])
    house.first.channels(SETUP_TOKEN, [ChannelSetting(id="mail", kind="smtp", config={"host": "localhost"})])
    people = house.add_people(3)
    house.first.policy(SETUP_TOKEN, {"quorums": {"sweep_to_safe": [[1, "responder"]]}})
    account_of(house, new_id("acc"))
    statement = house.first.complete(SETUP_TOKEN)
    assert set(statement.people) == set(people)
    with house.database("portcullis_api").begin() as uow:
        policy = policy_in_force(uow.registry.policy(), house.office.public_key_pem)
        assert policy.quorum("sweep_to_safe").size == 1
        assert policy.quorum("change.person.add").size == 2
        assert [s.name for s in uow.registry.secrets(ConnectionId("main"), "api")] == ["webhook_secret.0"]
        assert uow.registry.set_up_at() == statement.completed_at


def test_from_the_first_account_on_the_token_only_adds_accounts_and_completes(house: House) -> None:
    house.first.connections(SETUP_TOKEN, [MAIN])
    house.add_people(3)
    account_of(house, new_id("acc"), "hot-1")
    for attempt in (
        lambda: house.add_people(1),
        lambda: house.first.connections(SETUP_TOKEN, [MAIN]),
        lambda: house.first.policy(SETUP_TOKEN, {}),
    ):
        with pytest.raises(UnauthenticatedError):
            attempt()
    with pytest.raises(ConflictError, match="already registered"):
        account_of(house, new_id("acc"), "hot-1")
    account_of(house, new_id("acc"), "hot-2")
    house.complete()
    with pytest.raises(UnauthenticatedError):
        account_of(house, new_id("acc"), "hot-3")


def test_the_token_moves_no_account_that_is_registered_already(house: House) -> None:
    """Its id under another place would give its funds a new safe destination, active at once."""
    house.add_people(4)
    house.first.connections(SETUP_TOKEN, [MAIN])
    mine = new_id("acc")
    account_of(house, mine, "hot-1")
    thief = SetupDestination(chain="eip155:1", descriptor="0x" + "66" * 20)
    elsewhere = SetupAccount(id=mine, connection="main", ref="hot-2", safe_destinations=(thief,))
    with pytest.raises(ConflictError):
        house.first.accounts(SETUP_TOKEN, [elsewhere])
    other = new_id("acc")
    for ids in ((other, other), ("thief", other)):
        with pytest.raises(InputError):
            house.first.accounts(
                SETUP_TOKEN, [SetupAccount(id=one, connection="main", ref=f"new-{n}") for n, one in enumerate(ids)]
            )


def test_no_factor_of_set_up_is_made_once_set_up_is_complete(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completion may come between the look at the token and the writing of the factor."""
    house.add_people(4)
    late = house.first.people(SETUP_TOKEN, [SetupPerson(name="L", email="l@example.org", roles=("viewer",))])[0][0]

    def meanwhile() -> bytes:
        house.complete()
        return new_seed()

    monkeypatch.setattr("service.authority.enrolment.new_seed", meanwhile)
    with pytest.raises(UnauthenticatedError):
        house.first.enrol_again(SETUP_TOKEN, late)


def test_a_wrong_token_sets_nothing_up(house: House) -> None:
    with pytest.raises(UnauthenticatedError):
        house.first.connections("guess", [MAIN])
    house.first.token_file.unlink()
    with pytest.raises(UnauthenticatedError):
        house.first.connections(SETUP_TOKEN, [MAIN])
    house.first.token_file.write_text("")
    with pytest.raises(UnauthenticatedError):
        house.first.connections("", [MAIN])


def test_a_quorum_that_could_not_be_won_stops_the_completion(house: House) -> None:
    house.add_people(2)
    with pytest.raises(ConfigurationError, match="cannot be won") as refused:
        house.complete()
    assert refused.value.field is not None
    house.add_people(1)
    house.complete()


def test_a_quorum_that_could_not_be_won_stops_accounts_while_the_token_can_still_mend_it(house: House) -> None:
    house.first.connections(SETUP_TOKEN, [MAIN])
    house.add_people(2)
    with pytest.raises(ConfigurationError, match="add and enrol 1 x approver"):
        account_of(house, new_id("acc"))
    house.add_people(1)
    house.first.policy(SETUP_TOKEN, {"quorums": {"change": [[3, "admin"]]}})
    with pytest.raises(ConfigurationError, match="lower the quorum") as refused:
        account_of(house, new_id("acc"))
    assert refused.value.field == "quorums.change"
    house.first.policy(SETUP_TOKEN, {"quorums": {"change": [[2, "admin"]]}})
    account_of(house, new_id("acc"))
    house.complete()


def test_people_who_did_not_enrol_do_not_count_at_completion(house: House) -> None:
    house.add_people(2)
    third = house.first.people(SETUP_TOKEN, [SetupPerson(name="Late", email="late@example.org", roles=EVERYTHING)])[0]
    with pytest.raises(ConfigurationError, match="enrolled"):
        house.complete()
    again = house.first.enrol_again(SETUP_TOKEN, third[0])
    phone = Phone(again.uri.reveal(), house.clock)
    with pytest.raises(UnauthenticatedError):
        house.first.confirm(SETUP_TOKEN, third[0], Phone(third[1].uri.reveal(), house.clock).code())
    house.first.confirm(SETUP_TOKEN, third[0], phone.code())
    house.complete()


def test_a_factor_of_set_up_that_is_confirmed_later_counts_a_day_after(house: House) -> None:
    house.add_people(3)
    [(late, shown)] = house.first.people(SETUP_TOKEN, [SetupPerson(name="L", email="l@example.org", roles=EVERYTHING)])
    house.complete()
    house.phones[late] = Phone(shown.uri.reveal(), house.clock)
    enrolment.confirm(house.office, late, house.phones[late].code())
    with pytest.raises(ForbiddenError, match="24 hours"):
        house.vote(house.ask(step_item(a_step(), "Sweep.")), late)


def test_the_code_that_confirmed_a_factor_does_not_vote(house: House) -> None:
    one, *_ = house.add_people(3)
    house.complete()
    document = house.ask(step_item(a_step(), "Sweep."))
    used = house.phones[one].same_code()
    with pytest.raises(ConflictError, match="used before"):
        house.vote_with(document, one, code=used)


def test_a_person_added_later_votes_only_a_day_after_enrolment(ready: House) -> None:
    new = NewPerson(id=new_id("per"), name="New", email="new@example.org", roles=(Role.RESPONDER, Role.TREASURY))
    assert approved(ready, "change.person.add", new) is ApprovalState.EXECUTED
    person = PersonId(new.id)
    ready.phones[person] = Phone(enrolment.begin(ready.office, person).uri.reveal(), ready.clock)
    with pytest.raises(ConflictError, match="shown before"):
        enrolment.begin(ready.office, person)
    enrolment.confirm(ready.office, person, ready.phones[person].code())
    with pytest.raises(ForbiddenError, match="24 hours"):
        ready.vote(ready.ask(step_item(a_step(), "Sweep.")), person)
    ready.clock.pass_by(timedelta(hours=24, minutes=1))
    assert ready.vote(ready.ask(step_item(a_step(), "Sweep.")), person).state is ApprovalState.WAITING


def test_five_wrong_first_codes_end_an_enrolment(ready: House) -> None:
    new = NewPerson(id=new_id("per"), name="New", email="new@example.org", roles=(Role.RESPONDER,))
    approved(ready, "change.person.add", new)
    enrolment.begin(ready.office, PersonId(new.id))
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            enrolment.confirm(ready.office, PersonId(new.id), "12345x")
    with pytest.raises(RateLimitedError):
        enrolment.confirm(ready.office, PersonId(new.id), "123456")


def test_a_new_factor_replaces_the_old_one_once_it_is_confirmed(ready: House) -> None:
    person = next(iter(ready.phones))
    assert approved(ready, "change.factor.enrol", PersonNamed(person=person)) is ApprovalState.EXECUTED
    old = ready.phones[person]
    assert ready.vote(ready.ask(step_item(a_step(), "Sweep.")), person).state is ApprovalState.WAITING
    ready.phones[person] = Phone(enrolment.begin(ready.office, person).uri.reveal(), ready.clock)
    enrolment.confirm(ready.office, person, ready.phones[person].code())
    document = ready.ask(step_item(a_step(), "Sweep."))
    ready.phones[person] = old
    with pytest.raises(ForbiddenError, match="24 hours"):
        ready.vote(document, person)


def test_tightening_runs_at_once_and_its_undoing_takes_a_quorum(ready: House) -> None:
    person = next(iter(ready.phones))
    tighten(ready.office, "change.person.suspend", {"person": person}, "per_admin")
    document = ready.ask(step_item(a_step(), "Sweep."))
    with pytest.raises(ForbiddenError, match="suspended"):
        ready.vote(document, person)
    others = [p for p in ready.phones if p != person]
    restore = PersonNamed(person=person)
    asked = ready.ask(restore.item("change.person.restore", "Restore."), requester=person)
    for other in others[:2]:
        ready.vote(asked, other)
    settle(ready.office)
    with ready.office.db.begin() as uow:
        assert uow.registry.person(person).state is PersonState.ACTIVE


def test_a_revoked_factor_is_gone_from_the_token(ready: House) -> None:
    person = next(iter(ready.phones))
    tighten(ready.office, "change.factor.revoke", {"person": person}, "per_admin")
    with pytest.raises(ForbiddenError, match="no factor"):
        ready.vote(ready.ask(step_item(a_step(), "Sweep.")), person)


def test_roles_connections_and_channels_change_by_quorum(ready: House) -> None:
    person = next(iter(ready.phones))
    for action, change in (
        ("change.person.roles", PersonRoles(person=person, roles=(Role.VIEWER,))),
        ("change.connection.put", MAIN),
        ("change.channel.put", ChannelSetting(id="mail", kind="smtp", config={"host": "localhost"})),
    ):
        assert approved(ready, action, change, requester=person) is ApprovalState.EXECUTED
    with ready.office.db.begin() as uow:
        assert uow.registry.person(person).roles == {Role.VIEWER}
        assert uow.registry.connection(ConnectionId("main")).platform == "standard"
        assert [c.id for c in uow.registry.channels()] == ["mail"]


def test_a_new_policy_voids_what_was_asked_under_the_old(ready: House) -> None:
    step = ready.ask(step_item(a_step(), "Sweep."))
    change = PolicyChange(changes={"quorums": {"sweep_to_safe": [[1, "approver"]]}})
    assert approved(ready, "change.policy.replace", change) is ApprovalState.EXECUTED
    later = ready.ask(step_item(a_step(), "Sweep."))
    settle(ready.office)
    with ready.office.db.begin() as uow:
        assert policy_in_force(uow.registry.policy(), ready.office.public_key_pem).version == 2
        assert uow.approvals.row(step.id).reason == "another policy is in force: ask again"
        assert uow.approvals.row(later.id).state is ApprovalState.WAITING
    with pytest.raises(ApprovalError, match="is void"):
        ready.vote(step, next(iter(ready.phones)))
    with psycopg.connect(ready.superuser_url) as connection:
        ended = connection.execute("SELECT payload FROM outbox WHERE event = 'approval_ended'").fetchall()
    assert ended == [({"approval_id": step.id},)]


def test_issuers_change_by_the_quorum_of_contacts_and_by_no_other_request(ready: House) -> None:
    issuer = Issuer(asset="eip155:1/erc20:0x" + "a0" * 20, name="A coin", contact="freeze@example.org", channel="mail")
    numbers = PolicyChange(changes={"quorums": {"change.channel.put": [[3, "admin"]]}})
    assert approved(ready, "change.policy.replace", numbers) is ApprovalState.EXECUTED
    change = IssuersChange(issuers=(issuer,))
    assert approved(ready, "change.policy.issuers", change) is ApprovalState.WAITING, "two of three"
    document = ready.ask(change.item("change.policy.issuers", "Name it."), role="portcullis_api")
    for person in list(ready.phones)[:3]:
        ready.vote(document, person)
    settle(ready.office)
    with ready.office.db.begin() as uow:
        assert uow.approvals.row(document.id).state is ApprovalState.EXECUTED
        assert policy_in_force(uow.registry.policy(), ready.office.public_key_pem).issuers == (issuer,)
    params: dict[str, object] = {"changes": {"issuers": []}}
    smuggled = Item(
        step="", action="change.policy.replace", effect=Effect.LOOSENS, target={}, params=params, sentence="Tidy up."
    )
    document = ready.ask(smuggled, role="portcullis_api")
    for person in list(ready.phones)[:2]:
        ready.vote(document, person)
    settle(ready.office)
    with ready.office.db.begin() as uow:
        assert uow.approvals.row(document.id).state is ApprovalState.VOID


def test_a_policy_that_nobody_could_win_is_not_put_in_force(ready: House) -> None:
    change = PolicyChange(changes={"quorums": {"change": [[9, "admin"]]}})
    assert approved(ready, "change.policy.replace", change) is ApprovalState.VOID
    with ready.office.db.begin() as uow:
        assert policy_in_force(uow.registry.policy(), ready.office.public_key_pem).version == 1


def test_a_safe_destination_by_quorum_is_active_a_day_later_and_the_old_one_until_then(house: House) -> None:
    house.first.connections(SETUP_TOKEN, [MAIN])
    house.add_people(4)
    account_id = new_id("acc")
    account_of(house, account_id)
    house.complete()
    change = NewDestination(
        account=account_id, connection="main", ref="hot-1", chain="eip155:1", descriptor="0xnewsafe"
    )
    assert approved(house, "change.destination.register", change) is ApprovalState.EXECUTED
    with psycopg.connect(house.superuser_url) as connection:
        handed = connection.execute("SELECT payload FROM outbox WHERE event = 'account_registered'").fetchall()
    assert handed == [({"account_id": account_id},)], "the vault signs the new destination only when it is told"
    with house.database("portcullis_keys").begin() as uow:
        statements = [row.registered for row in uow.registry.destinations(AccountId(account_id))]

    def in_force() -> str:
        found = destination_in_force(
            statements,
            account_id,
            "eip155:1",
            public_key_pem=house.office.public_key_pem,
            now=house.clock.now(),
        )
        return "" if found is None else found.descriptor

    assert in_force() == "0xsafe"
    house.clock.pass_by(DESTINATION_DELAY)
    assert in_force() == "0xnewsafe"


def test_a_mandate_is_granted_within_what_the_policy_allows(ready: House) -> None:
    def mandate(scope: str, days: int) -> NewMandate:
        limits: dict[str, tuple[str, ...]] = {"kind": ("drain",)}
        return NewMandate(id=new_id("man"), scope=scope, limits=limits, lasts_s=days * 86_400)

    assert approved(ready, "mandate.grant", mandate("escalation", 7)) is ApprovalState.EXECUTED
    assert approved(ready, "mandate.grant", mandate("escalation", 31)) is ApprovalState.VOID
    assert approved(ready, "mandate.grant", mandate("sweep", 7)) is ApprovalState.VOID
    with ready.office.db.begin() as uow:
        assert uow.attention.mandates_in_force("escalation", {"kind": "drain"})
        assert not uow.attention.mandates_in_force("escalation", {"kind": "other"})
