"""First set-up under the one-time token: people, connections, channels, policy, accounts, completion.

Rules: the token is known by its SHA-256 only, compared in constant time; it is dead once set-up is complete, and from the
first registered account on it serves for further new accounts and the completion alone. Accounts and completion need
quorums that the enrolled people can win, so that the token cannot close itself out; what was set up is then signed, and
everything that it decided takes a quorum from there on.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from service.authority import enrolment
from service.authority.changes import holders
from service.authority.enrolment import Enrolment
from service.authority.office import Office
from service.domain.account import AccountRef
from service.domain.changes import ChannelSetting, ConnectionSetting, NewPerson, check_destination
from service.domain.errors import ConflictError, InputError, UnauthenticatedError
from service.domain.ids import AccountId, ConnectionId, PersonId, looks_like_id, new_id
from service.domain.policy import Policy, changed_policy, default_policy, policy_in_force, require_winnable
from service.domain.quorum import Approval
from service.domain.setup import BY_SETUP, DESTINATION_TAG, SETUP_TAG, RegisteredDestination, SetupStatement
from service.domain.signed import Signed
from service.domain.timeline import Entry
from service.store.decided import DecidedRecords
from service.store.unit_of_work import SqlUnitOfWork

MAX_ACCOUNTS: Final = 1_000


class SetupPerson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person as set-up names him; the id is given here."""

    name: str
    email: str
    roles: tuple[str, ...]
    oncall_level: int | None = None
    channels: tuple[dict[str, str], ...] = ()


class SetupDestination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A safe destination of an account that is registered in the same call."""

    chain: str
    descriptor: str

    def __post_init__(self) -> None:
        check_destination(self.chain, self.descriptor)


class SetupAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account about to be registered; its other properties are the API's business."""

    id: str
    connection: str
    ref: str
    safe_destinations: tuple[SetupDestination, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstSetup:
    """First set-up of this installation."""

    office: Office
    token_file: Path
    """Holds the SHA-256 of the one-time token in hex."""
    declared: Mapping[str, Approval]
    """What each containment action demands by its own declaration."""

    def people(self, token: str, people: Sequence[SetupPerson]) -> list[tuple[PersonId, Enrolment]]:
        """Register people and give each a factor to enrol."""
        added = [msgspec.convert({**msgspec.to_builtins(p), "id": new_id("per")}, NewPerson) for p in people]
        with self.office.db.begin() as uow:
            self._require_alive(uow, token)
            for person in added:
                DecidedRecords(uow.connection, uow.now).add_person(person)
                roles = ", ".join(person.roles)
                uow.record(self._entry(uow, "person.added", person.id, f"{person.id} was added as {roles}"))
        return [(PersonId(p.id), self.enrol_again(token, PersonId(p.id))) for p in added]

    def enrol_again(self, token: str, person: PersonId) -> Enrolment:
        """Give a person a new factor in place of one that was not confirmed."""
        return enrolment.begin_in_setup(self.office, person, lambda uow: self._require_alive(uow, token))

    def confirm(self, token: str, person: PersonId, code: str) -> None:
        """Confirm a person's factor by its first code."""
        with self.office.db.begin() as uow:
            self._require_alive(uow, token)
        enrolment.confirm(self.office, person, code)

    def connections(self, token: str, settings: Sequence[ConnectionSetting]) -> None:
        """Register connections; their secrets come sealed."""
        with self.office.db.begin() as uow:
            self._require_alive(uow, token)
            for setting in settings:
                DecidedRecords(uow.connection, uow.now).put_connection(setting)
                shown = f"Connection {setting.id} to {setting.platform} was set up"
                uow.record(self._entry(uow, "connection.set_up", setting.id, shown))

    def channels(self, token: str, settings: Sequence[ChannelSetting]) -> None:
        """Register delivery channels."""
        with self.office.db.begin() as uow:
            self._require_alive(uow, token)
            for setting in settings:
                DecidedRecords(uow.connection, uow.now).put_channel(setting)
                uow.record(self._entry(uow, "channel.set_up", setting.id, f"Channel {setting.id} was set up"))

    def policy(self, token: str, changes: Mapping[str, object]) -> Policy:
        """Lay changes over the policy so far (at first the declared defaults), sign and store it."""
        return self._put_policy(token, changes, only_accounts=False)

    def _put_policy(self, token: str, changes: Mapping[str, object], *, only_accounts: bool) -> Policy:
        with self.office.db.begin() as uow:
            self._require_alive(uow, token, only_accounts=only_accounts)
            before = uow.registry.policy()
        if before is None:
            policy = default_policy(self.declared, changes)
        else:
            old = policy_in_force(before, self.office.public_key_pem)
            policy = changed_policy(old, changes)
        signed = self.office.sign(policy.text)
        with self.office.db.begin() as uow:
            self._require_alive(uow, token, only_accounts=only_accounts)
            DecidedRecords(uow.connection, uow.now).add_policy(policy, signed)
            shown = f"Policy {policy.version} is in force"
            uow.record(self._entry(uow, "policy.set_up", policy.digest, shown))
        return policy

    def accounts(self, token: str, accounts: Sequence[SetupAccount]) -> dict[str, list[Signed]]:
        """Sign the safe destinations of new accounts, active at once; by account id, in the order given.

        Raises ConfigurationError that names a quorum which the enrolled people could not fill, and whom to add: after the
        first account the token adds nobody. Raises ConflictError for an account that is registered already, by its id or
        its place: its destinations take a quorum. Raises InputError for ids that are no account ids or come twice.
        """
        if not 0 < len(accounts) <= MAX_ACCOUNTS:
            raise InputError(f"give 1 to {MAX_ACCOUNTS} accounts", field="accounts")
        if len({a.id for a in accounts}) != len(accounts) or not all(looks_like_id(a.id, "acc") for a in accounts):
            raise InputError("each account has an id of its own, acc_…", field="id")
        with self.office.db.begin() as uow:
            self._require_alive(uow, token, only_accounts=True)
            self._require_winnable(uow)
            for account in accounts:
                uow.registry.connection(ConnectionId(account.connection))
                if uow.registry.account_at(AccountRef(ConnectionId(account.connection), account.ref)) is not None:
                    raise ConflictError(f"{account.connection}/{account.ref} is already registered", field="ref")
                if DecidedRecords(uow.connection, uow.now).has_account(AccountId(account.id)):
                    raise ConflictError(f"account {account.id} is already registered", field="id")
        signed = {a.id: [self._destination(a, d) for d in a.safe_destinations] for a in accounts}
        with self.office.db.begin() as uow:
            self._require_alive(uow, token, only_accounts=True)
            for account in accounts:
                shown = f"Account {account.connection}/{account.ref} was set up"
                facts = {"destinations": [f"{d.chain} {d.descriptor}" for d in account.safe_destinations]}
                uow.record(self._entry(uow, "account.set_up", account.id, shown, facts))
        return signed

    def complete(self, token: str) -> SetupStatement:
        """End set-up: from here on the token is dead and everything it decided takes a quorum.

        Raises ConfigurationError that names a quorum which the enrolled people could not fill.
        """
        with self.office.db.begin() as uow:
            self._require_alive(uow, token, only_accounts=True)
            has_policy = uow.registry.policy() is not None
        if not has_policy:
            self._put_policy(token, {}, only_accounts=True)  # the declared defaults, nothing of the caller's
        with self.office.db.begin() as uow:
            policy = self._require_winnable(uow)
            statement = SetupStatement(
                tag=SETUP_TAG,
                people=tuple(str(person.id) for person in uow.registry.people()),
                connections=tuple(str(connection.id) for connection in uow.registry.connections()),
                policy=policy.digest,
                completed_at=uow.now,
            )
        signed = self.office.sign(statement.text)
        with self.office.db.begin() as uow:
            self._require_alive(uow, token, only_accounts=True)
            DecidedRecords(uow.connection, uow.now).complete_setup(signed)
            facts = {"policy": statement.policy, "people": len(statement.people)}
            uow.record(self._entry(uow, "setup.completed", "setup", "Set-up is complete", facts))
        return statement

    def _destination(self, account: SetupAccount, destination: SetupDestination) -> Signed:
        return self.office.sign(
            RegisteredDestination(
                tag=DESTINATION_TAG,
                account=account.id,
                connection=account.connection,
                ref=account.ref,
                chain=destination.chain,
                descriptor=destination.descriptor,
                active_from=self.office.clock.now(),
                approval=BY_SETUP,
            ).text
        )

    def _require_winnable(self, uow: SqlUnitOfWork) -> Policy:
        """Return the policy as it would be completed, if it can be won by those who are enrolled."""
        signed = uow.registry.policy()
        policy = (
            default_policy(self.declared) if signed is None else policy_in_force(signed, self.office.public_key_pem)
        )
        require_winnable(policy, holders(uow))
        return policy

    def _require_alive(self, uow: SqlUnitOfWork, token: str, *, only_accounts: bool = False) -> None:
        """Raise unless the token is right and set-up is still open for this; the message does not tell which failed."""
        uow.lock("first_setup")
        dead = "the set-up token is wrong or no longer valid: from now on changes take an approval"
        try:
            known = self.token_file.read_text(encoding="ascii").strip().lower()
        except (OSError, UnicodeDecodeError):
            known = ""
        given = hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
        if not known or not hmac.compare_digest(given, known) or uow.registry.set_up_at() is not None:
            raise UnauthenticatedError(dead)
        if not only_accounts and DecidedRecords(uow.connection, uow.now).account_count() > 0:
            raise UnauthenticatedError(dead)

    @staticmethod
    def _entry(
        uow: SqlUnitOfWork, kind: str, subject: str, sentence: str, facts: Mapping[str, object] | None = None
    ) -> Entry:
        return Entry(kind=kind, at=uow.now, subject=subject, sentence=sentence, by="setup", facts=facts or {})
