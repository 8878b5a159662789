"""Factors, attempts and votes on PostgreSQL: what the authority alone writes while it checks codes.

Rules: an attempt is charged and committed before the token is asked, and given back only when the code was right or the
token gave no answer, so that neither parallel guesses nor a crash buy a further one; a time-code is used by one
conditional UPDATE in the transaction of the vote, so that it counts once however many processes try (RFC 6238 section 5.2);
a vote is stored either before its person is suspended, and voided with the others, or not at all.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, and_, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.authorisation import Vote
from service.domain.errors import ConflictError, NotFoundError, RateLimitedError
from service.domain.ids import ApprovalId, PersonId, new_id
from service.domain.signed import Signed
from service.ports.store.approvals import ApprovalRow
from service.store.approvals import approval_of
from service.store.registry import FACTOR_AGE
from service.store.tables.approval import approvals, votes
from service.store.tables.registry import factor_attempts, factors, people

TRIES_PER_APPROVAL: Final = 5
TRIES_PER_DAY: Final = 20
DAY: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Factor:
    """One person's TOTP factor; the seed is in the token under the factor's id."""

    id: str
    person_id: PersonId
    last_timecode: int
    confirmed_at: datetime | None
    during_setup: bool
    seed_shown_at: datetime | None
    client: str = ""
    """The code of the client that may enrol it; empty for whichever asks first."""

    def counts(self, now: datetime) -> bool:
        """Confirmed, and old enough or from set-up."""
        return self.confirmed_at is not None and (self.during_setup or self.confirmed_at <= now - FACTOR_AGE)


class VotingRecords:
    """Reads and writes of one transaction of the authority."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def lock_approval(self, approval_id: ApprovalId) -> ApprovalRow:
        """Read a request, locked until the transaction ends. Raises NotFoundError."""
        row = self._connection.execute(select(approvals).where(approvals.c.id == approval_id).with_for_update()).first()
        if row is None:
            raise NotFoundError(f"there is no approval {approval_id}", field="approval")
        return approval_of(row)

    def hold_person(self, person: PersonId) -> None:
        """Let nobody change this person until the transaction ends; he is read after this."""
        self._connection.execute(select(people.c.id).where(people.c.id == person).with_for_update(read=True))

    def has_voted(self, approval_id: ApprovalId, person: PersonId) -> bool:
        """Say whether this person answered this request already, by a vote that is not void."""
        mine = and_(votes.c.approval_id == approval_id, votes.c.person_id == person, votes.c.void_at.is_(None))
        return self._connection.execute(select(votes.c.id).where(mine)).first() is not None

    def factors_of(self, person: PersonId) -> tuple[Factor, ...]:
        """Return the factors that are not revoked, newest first."""
        mine = and_(factors.c.person_id == person, factors.c.revoked_at.is_(None))
        rows = self._connection.execute(
            select(factors).where(mine).order_by(factors.c.created_at.desc(), factors.c.id.desc())
        )
        return tuple(
            Factor(
                r.id,
                PersonId(r.person_id),
                r.last_timecode,
                r.confirmed_at,
                r.during_setup,
                r.seed_shown_at,
                r.client,
            )
            for r in rows
        )

    def charge(self, factor_id: str, purpose: str) -> int:
        """Count one attempt of a factor for one purpose (an approval's id); return how many it makes there.

        Raises RateLimitedError when the purpose has had its five or the day its twenty: nothing is counted then.
        """
        row = self._connection.execute(select(factors).where(factors.c.id == factor_id).with_for_update()).one()
        tries = self._tries(factor_id, purpose)
        if tries >= TRIES_PER_APPROVAL:
            raise RateLimitedError(
                f"{TRIES_PER_APPROVAL} wrong codes: you are locked out of {purpose}; others can decide"
            )
        began = row.first_failure_at
        if began is None or began <= self._now - DAY:
            began, today = self._now, 0
        else:
            today = row.failures
        if today >= TRIES_PER_DAY:
            after = (began + DAY - self._now).total_seconds()
            raise RateLimitedError(f"{TRIES_PER_DAY} wrong codes within a day: try again later", retry_after_s=after)
        self._set_attempts(factor_id, purpose, tries + 1)
        self._connection.execute(
            update(factors).where(factors.c.id == factor_id).values(failures=today + 1, first_failure_at=began)
        )
        return tries + 1

    def refund(self, factor_id: str, purpose: str) -> None:
        """Give the last attempt back: its code was right, or nobody looked at it."""
        self._set_attempts(factor_id, purpose, self._tries(factor_id, purpose) - 1)
        self._connection.execute(
            update(factors).where(factors.c.id == factor_id).values(failures=factors.c.failures - 1)
        )

    def burn(self, factor_id: str, timecode: int) -> bool:
        """Use up a time-code; False when it, or a later one, was used before."""
        used = self._connection.execute(
            update(factors)
            .where(factors.c.id == factor_id, factors.c.revoked_at.is_(None), factors.c.last_timecode < timecode)
            .values(last_timecode=timecode)
            .returning(factors.c.id)
        )
        return used.first() is not None

    def add_vote(self, vote: Vote, signed: Signed) -> str:
        """Store a signed vote. Raises ConflictError when this person has voted on this request."""
        vote_id = new_id("vot")
        stored = self._connection.execute(
            upsert(votes)
            .values(
                id=vote_id,
                approval_id=vote.approval,
                person_id=vote.person,
                decision=vote.decision,
                statement=signed.body,
                signature=signed.signature,
                factor_id=vote.factor,
                timecode=vote.timecode,
                cast_at=vote.at,
            )
            .on_conflict_do_nothing()
            .returning(votes.c.id)
        )
        if stored.first() is None:
            raise ConflictError("this person has already voted on this request")
        return vote_id

    def add_factor(
        self, factor_id: str, person: PersonId, *, during_setup: bool, seed_shown: bool, client: str = ""
    ) -> None:
        """Insert an unconfirmed factor; `client`: the code of the only client that may enrol it."""
        self._connection.execute(
            insert(factors).values(
                id=factor_id,
                person_id=person,
                kind="totp",
                during_setup=during_setup,
                seed_shown_at=self._now if seed_shown else None,
                created_at=self._now,
                client=client,
            )
        )

    def show_seed_once(self, factor_id: str) -> bool:
        """Mark the enrolment URI as shown; False when it was shown before."""
        shown = self._connection.execute(
            update(factors)
            .where(factors.c.id == factor_id, factors.c.seed_shown_at.is_(None), factors.c.revoked_at.is_(None))
            .values(seed_shown_at=self._now)
            .returning(factors.c.id)
        )
        return shown.first() is not None

    def void_votes(self, person: PersonId) -> None:
        """Let nothing count any more, and never again, that this person approved until now. His denials stay."""
        standing = and_(votes.c.person_id == person, votes.c.decision == "approve", votes.c.void_at.is_(None))
        self._connection.execute(update(votes).where(standing).values(void_at=self._now))

    def confirm_factor(self, factor_id: str, person: PersonId, *, during_setup: bool) -> tuple[str, ...]:
        """Make a factor the person's only one; return the ids of those it replaces."""
        confirmed = {"confirmed_at": self._now, "during_setup": during_setup}
        self._connection.execute(update(factors).where(factors.c.id == factor_id).values(**confirmed))
        return self.revoke_factors(person, but=factor_id)

    def revoke_factors(self, person: PersonId, *, but: str = "") -> tuple[str, ...]:
        """Revoke a person's factors, all or all but one; return their ids, whose seeds the caller destroys."""
        revoked = self._connection.execute(
            update(factors)
            .where(factors.c.person_id == person, factors.c.revoked_at.is_(None), factors.c.id != but)
            .values(revoked_at=self._now)
            .returning(factors.c.id)
        )
        return tuple(revoked.scalars())

    def _tries(self, factor_id: str, purpose: str) -> int:
        found = self._connection.execute(
            select(factor_attempts.c.failures).where(
                factor_attempts.c.factor_id == factor_id, factor_attempts.c.approval_id == purpose
            )
        ).scalar_one_or_none()
        return found or 0

    def _set_attempts(self, factor_id: str, purpose: str, failures: int) -> None:
        locked = self._now if failures >= TRIES_PER_APPROVAL else None
        values = {"failures": failures, "locked_at": locked}
        self._connection.execute(
            upsert(factor_attempts)
            .values(factor_id=factor_id, approval_id=purpose, **values)
            .on_conflict_do_update(index_elements=["factor_id", "approval_id"], set_=values)
        )
