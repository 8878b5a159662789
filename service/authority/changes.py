"""Carrying out a change of the registry that a quorum approved, and the tightenings that need none.

Rules: before a change is carried out its votes are verified again from what is stored, as a worker would; signing happens
outside the transaction; a change is applied once, in the transaction that marks its document as executed, and noted where
nobody can take the note back: whoever sets the document's row back to approved repeats nothing. Changes happen one after
the other, or two tightenings at once would each overlook the other. A tightening that would leave a quorum that nobody
could fill is refused: it would lock everybody out, so it takes the quorum too.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from hsm.errors import HsmError
from service.authority.office import Office
from service.domain.approval import ActionDocument, ApprovalState
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
    PortcullisError,
)
from service.domain.events import AccountRegistered, ApprovalEnded, Event
from service.domain.ids import AccountId, ApprovalId, PersonId, new_id
from service.domain.matching import Holders
from service.domain.person import PersonState
from service.domain.policy import Policy, changed_policy, policy_in_force, require_winnable
from service.domain.setup import DESTINATION_DELAY, DESTINATION_TAG, RegisteredDestination, registered_destination
from service.domain.signed import Signed
from service.domain.timeline import Entry
from service.ports.store.registry import DestinationRow
from service.store.decided import DecidedRecords
from service.store.unit_of_work import SqlUnitOfWork
from service.store.voting import VotingRecords

_log = structlog.get_logger(__name__)

LOCK: Final = "registry"
Seeds = tuple[str, ...]
"""Ids of factors that were revoked: their seeds are destroyed after the commit."""


def settle(office: Office) -> None:
    """Carry out every approved change and mandate that is not applied yet: after each vote and at start-up."""
    with office.db.begin() as uow:
        waiting = DecidedRecords(uow.connection, uow.now).approved_changes()
    for approval_id in waiting:
        carry_out(office, approval_id)


def settle_or_say(office: Office) -> None:
    """As `settle`, but a failure is logged instead of raised: the vote that led here stands, a later call carries it out."""
    try:
        settle(office)
    except (PortcullisError, HsmError) as error:
        _log.exception("an approved change was not carried out yet", error_code=error.code)


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
        _void(office, approval_id, str(error))


def tighten(office: Office, action: str, params: object, by: str) -> None:
    """Suspend a person, take a role away or revoke a factor at once, as an administrator asked.

    Raises ForbiddenError for any other change and for one that would leave a quorum unwinnable.
    """
    if action not in TIGHTENING:
        raise ForbiddenError(f"{action} is no tightening: ask for an approval", field="action")
    change = change_of(action, params)
    with office.db.begin() as uow:
        uow.lock(LOCK)
        seeds = _apply(office, uow, change, action, None)
        _require_still_winnable(office, uow)
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
        if not uow.once(f"change:{document.id}"):
            uow.approvals.end(document.id, ApprovalState.EXECUTED)
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


def _suspend(uow: SqlUnitOfWork, person: PersonId) -> Seeds:
    DecidedRecords(uow.connection, uow.now).set_state(person, PersonState.SUSPENDED)
    return ()


def _restore(uow: SqlUnitOfWork, person: PersonId) -> Seeds:
    DecidedRecords(uow.connection, uow.now).set_state(person, PersonState.ACTIVE)
    return ()


def _revoke(uow: SqlUnitOfWork, person: PersonId) -> Seeds:
    uow.registry.person(person)
    return VotingRecords(uow.connection, uow.now).revoke_factors(person)


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


def _require_still_winnable(office: Office, uow: SqlUnitOfWork) -> None:
    policy = policy_in_force(uow.registry.policy(), office.public_key_pem)
    try:
        require_winnable(policy, holders(uow))
    except ConfigurationError as error:
        raise ForbiddenError(f"this takes a quorum, because afterwards {error}") from error


def _void(office: Office, approval_id: ApprovalId, reason: str) -> None:
    with office.db.begin() as uow:
        if uow.approvals.end(approval_id, ApprovalState.VOID, reason):
            entry = Entry(
                kind="approval.void",
                at=uow.now,
                subject=approval_id,
                sentence=f"An approved change could not be carried out: {reason}",
                by="authority",
            )
            uow.record(entry, ApprovalEnded(approval_id))


def _events(change: Change) -> tuple[Event, ...]:
    """A new destination is provisioned like a new account: until the vault has signed it, nothing is swept there."""
    return (AccountRegistered(AccountId(change.account)),) if isinstance(change, NewDestination) else ()


def _destroy(office: Office, seeds: Seeds) -> None:
    for factor_id in seeds:
        office.token.delete_seed(factor_id)


def _applied_entry(uow: SqlUnitOfWork, action: str, change: Change, by: str) -> Entry:
    shown = sentence(action, change)
    return Entry(kind=f"{action}.applied", at=uow.now, subject="registry", sentence=shown, by=by)
