"""The registry as decided: what the authority writes after set-up's token or a quorum allowed it, and nobody else can."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.approval import ApprovalState, Subject
from service.domain.changes import ChannelSetting, ConnectionSetting, NewMandate, NewPerson, SealedValue, sealed_bytes
from service.domain.errors import ConflictError, NotFoundError
from service.domain.ids import AccountId, ApprovalId, IncidentId, PersonId
from service.domain.person import PersonState
from service.domain.policy import Policy
from service.domain.quorum import Role
from service.domain.signed import Signed
from service.ports.store.registry import DestinationRow
from service.store.registry import destination_values
from service.store.tables.approval import applied_changes, approvals, mandates
from service.store.tables.keys import accounts, safe_destinations
from service.store.tables.registry import channels, connection_secrets, connections, people, policies, setup


class DecidedRecords:
    """Writes of one transaction of the authority."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def add_person(self, person: NewPerson) -> None:
        """Insert an active person. Raises ConflictError for an id or e-mail address that is there."""
        added = self._connection.execute(
            upsert(people)
            .values(
                id=person.id,
                name=person.name,
                email=person.email,
                roles=sorted(role.value for role in person.roles),
                oncall_level=person.oncall_level,
                channels=[dict(route) for route in person.channels],
                state=PersonState.ACTIVE.value,
                created_at=self._now,
            )
            .on_conflict_do_nothing()
            .returning(people.c.id)
        )
        if added.first() is None:
            raise ConflictError("somebody with this id or e-mail address is registered", field="email")

    def set_roles(self, person: PersonId, roles: frozenset[Role]) -> None:
        """Replace a person's roles."""
        self._update_person(person, roles=sorted(role.value for role in roles))

    def set_state(self, person: PersonId, state: PersonState) -> None:
        """Suspend or restore a person."""
        self._update_person(person, state=state.value)

    def set_reach(self, person: PersonId, level: int | None, routes: tuple[dict[str, str], ...]) -> None:
        """Replace how a person is reached."""
        self._update_person(person, oncall_level=level, channels=[dict(route) for route in routes])

    def put_connection(self, setting: ConnectionSetting) -> None:
        """Insert or replace a connection; listed secrets replace those of the same name."""
        values = {
            "platform": setting.platform,
            "name": setting.name,
            "config": dict(setting.settings),
            "state": setting.state,
        }
        self._connection.execute(
            upsert(connections)
            .values(id=setting.id, created_at=self._now, **values)
            .on_conflict_do_update(index_elements=["id"], set_={**values, "version": connections.c.version + 1})
        )
        for secret in setting.secrets:
            self._put_secret(setting.id, secret)

    def put_channel(self, setting: ChannelSetting) -> None:
        """Insert or replace a channel."""
        sealed = sealed_bytes(setting.sealed_secret, "sealed_secret") if setting.sealed_secret else None
        values = {"kind": setting.kind, "config": setting.config, "sealed_secret": sealed}
        self._connection.execute(
            upsert(channels)
            .values(id=setting.id, created_at=self._now, **values)
            .on_conflict_do_update(index_elements=["id"], set_=values)
        )

    def add_policy(self, policy: Policy, signed: Signed) -> None:
        """Insert a version of the policy. Raises ConflictError when the version is there."""
        added = self._connection.execute(
            upsert(policies)
            .values(
                version=policy.version,
                body=signed.body,
                digest=policy.digest,
                signature=signed.signature,
                created_at=self._now,
            )
            .on_conflict_do_nothing()
            .returning(policies.c.version)
        )
        if added.first() is None:
            raise ConflictError(f"policy version {policy.version} is there already: read it again", field="policy")

    def add_destination(self, destination: DestinationRow) -> None:
        """Insert a safe destination."""
        self._connection.execute(insert(safe_destinations).values(destination_values(destination, self._now)))

    def add_mandate(self, mandate: NewMandate, approval_id: ApprovalId) -> None:
        """Insert a standing mandate. Raises ConflictError when one of this id was granted before, run out or not."""
        added = self._connection.execute(
            upsert(mandates)
            .values(
                id=mandate.id,
                scope=mandate.scope,
                limits={name: list(values) for name, values in mandate.limits.items()},
                approval_id=approval_id,
                expires_at=self._now + timedelta(seconds=mandate.lasts_s),
                created_at=self._now,
            )
            .on_conflict_do_nothing()
            .returning(mandates.c.id)
        )
        if added.first() is None:
            raise ConflictError(f"a mandate {mandate.id} was granted before: ask for it under another id", field="id")

    def account_count(self) -> int:
        """Return how many accounts are registered."""
        return self._connection.execute(select(func.count()).select_from(accounts)).scalar_one()

    def has_account(self, account: AccountId) -> bool:
        """Say whether an account of this id is registered."""
        return self._connection.execute(select(accounts.c.id).where(accounts.c.id == account)).first() is not None

    def complete_setup(self, signed: Signed) -> None:
        """Store the set-up statement. Raises ConflictError when set-up was completed before."""
        done = self._connection.execute(
            upsert(setup)
            .values(id=1, statement=signed.body, signature=signed.signature, completed_at=self._now)
            .on_conflict_do_nothing()
            .returning(setup.c.id)
        )
        if done.first() is None:
            raise ConflictError("set-up was completed before")

    def approved_changes(self) -> tuple[ApprovalId, ...]:
        """Return the changes and mandates whose quorum is met and that are not applied yet."""
        rows = self._connection.execute(
            select(approvals.c.id)
            .where(
                approvals.c.state == ApprovalState.APPROVED.value,
                approvals.c.subject.in_([Subject.CHANGE.value, Subject.MANDATE.value]),
            )
            .order_by(approvals.c.id)
        )
        return tuple(ApprovalId(found) for found in rows.scalars())

    def note_applied(self, approval_id: ApprovalId) -> bool:
        """Note that a change or mandate is applied in this transaction; False when it was before."""
        noted = self._connection.execute(
            upsert(applied_changes)
            .values(approval_id=approval_id, at=self._now)
            .on_conflict_do_nothing()
            .returning(applied_changes.c.approval_id)
        )
        return noted.first() is not None

    def outdated(self, limit: int) -> Sequence[tuple[ApprovalId, IncidentId | None]]:
        """Return requests that wait for votes under another policy than the newest, with their incidents.

        Looks for the policy in the document's canonical text; by one statement, so that no request under a policy that came
        meanwhile is among them.
        """
        newest = select(policies.c.digest).order_by(policies.c.version.desc()).limit(1).scalar_subquery()
        named = func.strpos(approvals.c.document, literal('"policy":{"digest":"') + newest + literal('"'))
        rows = self._connection.execute(
            select(approvals.c.id, approvals.c.incident_id)
            .where(approvals.c.state == ApprovalState.WAITING.value, named == 0)
            .order_by(approvals.c.id)
            .limit(limit)
        )
        return [(ApprovalId(row.id), IncidentId(row.incident_id) if row.incident_id else None) for row in rows]

    def _put_secret(self, connection: str, secret: SealedValue) -> None:
        sealed = sealed_bytes(secret.sealed, "secrets.sealed")
        values = {"opened_by": secret.opened_by, "sealed": sealed}
        self._connection.execute(
            upsert(connection_secrets)
            .values(connection_id=connection, name=secret.name, created_at=self._now, **values)
            .on_conflict_do_update(index_elements=["connection_id", "name"], set_=values)
        )

    def _update_person(self, person: PersonId, **values: object) -> None:
        changed = self._connection.execute(
            update(people).where(people.c.id == person).values(**values).returning(people.c.id)
        )
        if changed.first() is None:
            raise NotFoundError(f"there is no person {person}", field="person")
