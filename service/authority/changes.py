"""Carrying out a change of the registry that a quorum approved, and the tightenings that need none.

Rules: before a change is carried out its votes are verified again from what is stored, as a worker would; signing happens
outside the transaction; a change is applied once, in the transaction that marks its document as executed, and noted where
nobody else can write or take the note back: whoever sets the document's row back to approved repeats nothing, and whoever
does not decide keeps nothing from being done. A change that fails keeps no other waiting, and one that the database refuses
is void. Changes happen one after the other, or two tightenings at once would each overlook the other. A tightening that
would have a quorum lack more people than it does is refused: it could lock everybody out, so it takes the quorum too. What
its person approved before never counts again, also once he is restored: who knows which of it was his. A new policy voids
what waits under the old one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog
from sqlalchemy.exc import DataError, IntegrityError

from service.authority.office import Office
from service.domain.approval import ActionDocument, ApprovalState, one_line
from service.domain.authorisation import check_document
from service.domain.changes import (
    TIGHTENING,
    Change,
    ChannelSetting,
    ConnectionSetting,
    IssuersChange,
    NewDestination,
    NewFactor,
    NewMandate,
    NewPerson,
    PersonNamed,
    PersonReach,
    PersonRoles,
    PolicyChange,
    change_of,
    sentence,
)
from service.domain.errors import (
    ApprovalError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
)
from service.domain.events import AccountRegistered, ApprovalEnded, Event
from service.domain.ids import AccountId, ApprovalId, IncidentId, PersonId, new_id
from service.domain.matching import Holders
from service.domain.person import PersonState
from service.domain.policy import Policy, changed_policy, made_harder, policy_in_force, require_winnable
from service.domain.setup import DESTINATION_DELAY, DESTINATION_TAG, RegisteredDestination, registered_destination
from service.domain.signed import Signed
from service.domain.timeline import Entry
from service.ports.store.registry import DestinationRow
from service.store.decided import DecidedRecords
from service.store.unit_of_work import SqlUnitOfWork
from service.store.voting import VotingRecords

_log = structlog.get_logger(__name__)

LOCK: Final = "registry"
BATCH: Final = 100
"""Requests under an older policy that are voided in one go; the next go is after the next vote."""
Seeds = tuple[str, ...]
"""Ids of factors that were revoked: their seeds are destroyed after the commit."""


def settle(office: Office) -> None:
    """Carry out every approved change and mandate that is not applied yet, and void what waits under an older policy.

    After each vote and at start-up. A failure is logged and never raised: the vote that led here stands, what stands behind
    it has its turn, and a later call tries it again.
    """
    with _logged():
        with office.db.begin() as uow:
            approved = DecidedRecords(uow.connection, uow.now).approved_changes()
        for approval_id in approved:
            with _logged(approval_id):
                carry_out(office, approval_id)
        with office.db.begin() as uow:
            outdated = DecidedRecords(uow.connection, uow.now).outdated(BATCH)
        for approval_id, incident_id in outdated:
            with _logged(approval_id):
                _void(office, approval_id, "another policy is in force: ask again", incident_id)


@contextmanager
def _logged(approval_id: ApprovalId | None = None) -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001  one document of many: whatever fails of it must not stop the authority
        _log.exception("what was approved is not settled yet", approval=approval_id)


def carry_out(office: Office, approval_id: ApprovalId) -> None:
    """Apply one approved document, or mark it void when it cannot be applied any more."""
    with office.db.begin() as uow:
        evidence = uow.approvals.evidence(approval_id)
        now = uow.now
    try:
        document = check_document(evidence, public_key_pem=office.public_key_pem, now=now)
        change = change_of(document.what[0].action, document.what[0].params)
        signed = _signed(office, change, document)
        _apply_approved(office, document, change, signed)
    except (ApprovalError, ConfigurationError, ConflictError, InputError, NotFoundError) as error:
        _void(office, approval_id, one_line(str(error)))
    except (DataError, IntegrityError) as error:
        _log.exception("the database refuses an approved change", approval=approval_id)
        _void(office, approval_id, f"the database refuses it ({type(error).__name__})")


def tighten(office: Office, action: str, params: object, by: str) -> None:
    """Suspend a person, take a role away or revoke a factor at once, as an administrator asked.

    Raises ForbiddenError for any other change and for one that would have a quorum lack more people than it does.
    """
    if action not in TIGHTENING:
        raise ForbiddenError(f"{action} is no tightening: ask for an approval", field="action")
    change = change_of(action, params)
    with office.db.begin() as uow:
        uow.lock(LOCK)
        before = holders(uow)
        seeds = _apply(office, uow, change, action, None)
        _require_no_harder(office, uow, before)
        uow.record(_applied_entry(uow, action, change, by))
    _destroy(office, seeds)


def _signed(office: Office, change: Change, document: ActionDocument) -> Signed | None:
    """Sign what the change needs signed: a new policy, a new safe destination."""
    match change:
        case PolicyChange() | IssuersChange():
            return office.sign(_next_policy(office, change).text)
        case NewDestination():
            return office.sign(
                RegisteredDestination(
                    tag=DESTINATION_TAG,
                    account=change.account,
                    connection=change.connection,
                    ref=change.ref,
                    chain=change.chain,
                    descriptor=change.descriptor,
                    active_from=office.clock.now() + DESTINATION_DELAY,
                    approval=document.id,
                ).text
            )
        case _:
            return None


def _apply_approved(office: Office, document: ActionDocument, change: Change, signed: Signed | None) -> None:
    action = document.what[0].action
    if len(document.what) != 1:
        raise InputError("a document changes one thing at a time", field="what")
    with office.db.begin() as uow:
        uow.lock(LOCK)
        if VotingRecords(uow.connection, uow.now).lock_approval(document.id).state is not ApprovalState.APPROVED:
            return
        if not DecidedRecords(uow.connection, uow.now).note_applied(document.id):
            uow.approvals.end(document.id, ApprovalState.EXECUTED)
            uow.record(_repeated_entry(uow, document))
            return
        if isinstance(change, NewMandate):
            _add_mandate(office, uow, change, document.id)
        seeds = () if isinstance(change, NewMandate) else _apply(office, uow, change, action, signed)
        uow.approvals.end(document.id, ApprovalState.EXECUTED)
        uow.record(_applied_entry(uow, action, change, document.requester), *_events(change))
    _destroy(office, seeds)


def _apply(office: Office, uow: SqlUnitOfWork, change: Change, action: str, signed: Signed | None) -> Seeds:
    records = DecidedRecords(uow.connection, uow.now)
    match change:
        case NewPerson():
            records.add_person(change)
            VotingRecords(uow.connection, uow.now).add_factor(
                new_id("fac"), PersonId(change.id), during_setup=False, seed_shown=False, client=change.client
            )
        case NewFactor():
            person = uow.registry.person(PersonId(change.person)).id
            VotingRecords(uow.connection, uow.now).add_factor(
                new_id("fac"), person, during_setup=False, seed_shown=False, client=change.client
            )
        case PersonRoles():
            _set_roles(uow, records, change, remove=action == "change.person.role_remove")
        case PersonReach():
            records.set_reach(PersonId(change.person), change.oncall_level, change.channels)
        case PersonNamed():
            return _PERSON_CHANGES[action](uow, PersonId(change.person))
        case ConnectionSetting():
            records.put_connection(change)
        case ChannelSetting():
            records.put_channel(change)
        case PolicyChange() | IssuersChange() if signed is not None:
            records.add_policy(policy_in_force(signed, office.public_key_pem), signed)
        case NewDestination() if signed is not None:
            _add_destination(office, uow, change, signed)
        case _:
            raise InputError(f"{action} cannot be carried out", field="action")
    return ()


def _set_roles(uow: SqlUnitOfWork, records: DecidedRecords, change: PersonRoles, *, remove: bool) -> None:
    person = uow.registry.person(PersonId(change.person))
    roles = person.roles - set(change.roles) if remove else frozenset(change.roles)
    records.set_roles(person.id, roles)
    if person.roles - roles:
        VotingRecords(uow.connection, uow.now).void_votes(person.id)


def _suspend(uow: SqlUnitOfWork, person: PersonId) -> Seeds:
    DecidedRecords(uow.connection, uow.now).set_state(person, PersonState.SUSPENDED)
    VotingRecords(uow.connection, uow.now).void_votes(person)
    return ()


def _restore(uow: SqlUnitOfWork, person: PersonId) -> Seeds:
    DecidedRecords(uow.connection, uow.now).set_state(person, PersonState.ACTIVE)
    return ()


def _revoke(uow: SqlUnitOfWork, person: PersonId) -> Seeds:
    uow.registry.person(person)
    records = VotingRecords(uow.connection, uow.now)
    seeds = records.revoke_factors(person)
    records.void_votes(person)
    return seeds


_PERSON_CHANGES: Final[Mapping[str, Callable[[SqlUnitOfWork, PersonId], Seeds]]] = {
    "change.person.suspend": _suspend,
    "change.person.restore": _restore,
    "change.factor.revoke": _revoke,
}


def _add_destination(office: Office, uow: SqlUnitOfWork, change: NewDestination, signed: Signed) -> None:
    account = uow.registry.account(AccountId(change.account))
    if (account.at.connection, account.at.ref) != (change.connection, change.ref):
        raise InputError(f"account {change.account} is {account.at.entity}, not {change.connection}/{change.ref}")
    stated = registered_destination(signed, office.public_key_pem)
    DecidedRecords(uow.connection, uow.now).add_destination(
        DestinationRow(account.id, stated.chain, stated.descriptor, stated.active_from, signed, None, stated.approval)
    )


def _next_policy(office: Office, change: PolicyChange | IssuersChange) -> Policy:
    """Return the policy in force with the changes laid over it, one version higher, if it can still be won."""
    with office.db.begin() as uow:
        old = policy_in_force(uow.registry.policy(), office.public_key_pem)
        eligible = holders(uow)
    policy = changed_policy(old, change.changes)
    require_winnable(policy, eligible)
    return policy


def _add_mandate(office: Office, uow: SqlUnitOfWork, change: NewMandate, approval_id: ApprovalId | None) -> None:
    rules = policy_in_force(uow.registry.policy(), office.public_key_pem).mandates
    if change.scope not in rules.scopes:
        raise InputError(f"the policy allows mandates for {', '.join(rules.scopes) or 'nothing'}", field="scope")
    if not 0 < change.lasts_s <= rules.longest_s:
        raise InputError(f"a mandate lasts 1 to {rules.longest_s} seconds", field="lasts_s")
    if approval_id is None:
        raise InputError("a mandate needs an approval", field="approval")
    DecidedRecords(uow.connection, uow.now).add_mandate(change, approval_id)


def holders(uow: SqlUnitOfWork) -> Holders:
    """Return who could vote now, with their roles."""
    return {str(person.id): person.roles for person in uow.registry.eligible()}


def _require_no_harder(office: Office, uow: SqlUnitOfWork, before: Holders) -> None:
    policy = policy_in_force(uow.registry.policy(), office.public_key_pem)
    action = made_harder(policy, before, holders(uow))
    if action is not None:
        raise ForbiddenError(
            f"this takes a quorum, because afterwards too few people who are active and enrolled could approve {action}"
        )


def _void(office: Office, approval_id: ApprovalId, reason: str, incident_id: IncidentId | None = None) -> None:
    with office.db.begin() as uow:
        if uow.approvals.end(approval_id, ApprovalState.VOID, reason):
            entry = Entry(
                kind="approval.void",
                at=uow.now,
                subject=approval_id,
                sentence=f"Nothing of a request is carried out: {reason}",
                by="authority",
                incident_id=incident_id,
            )
            uow.record(entry, ApprovalEnded(approval_id))


def _events(change: Change) -> tuple[Event, ...]:
    """A new destination is provisioned like a new account: until the vault has signed it, nothing is swept there."""
    return (AccountRegistered(AccountId(change.account)),) if isinstance(change, NewDestination) else ()


def _destroy(office: Office, seeds: Seeds) -> None:
    for factor_id in seeds:
        office.token.delete_seed(factor_id)


def _repeated_entry(uow: SqlUnitOfWork, document: ActionDocument) -> Entry:
    return Entry(
        kind="approval.repeated",
        at=uow.now,
        subject=document.id,
        sentence="A change that was carried out before was marked as approved once more: nothing was done",
        by="authority",
    )


def _applied_entry(uow: SqlUnitOfWork, action: str, change: Change, by: str) -> Entry:
    shown = sentence(action, change)
    return Entry(kind=f"{action}.applied", at=uow.now, subject="registry", sentence=shown, by=by)
