"""Casting a vote: the document is read from the authority's own database role, the code is checked, the answer is signed.

Rules: nothing that the caller says about the document is believed; only a sealed ballot is taken, and it opens only as the
answer of this person to this document, so that whoever carries it can spend its code on nothing else (`domain/ballot.py`);
one that does not open is no try of the person, or whoever carries ballots could lock people out with rubbish, and is
audited once for a person and a request; an attempt is charged before the code is looked at and given back unless the
codes were wrong (`tries.py`); no transaction is open while the token works; what was checked before is checked again in
the transaction that stores the vote, where the time-code is used up; a denial ends the request; the request counts as
approved only by the signed votes, counted as an executing worker counts them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from service.authority.office import Office
from service.authority.tries import give_back, timecode_of
from service.domain.approval import ActionDocument, ApprovalState, Subject, is_check_code, parse
from service.domain.authorisation import VOTE_TAG, Tally, Vote, may_vote, require_admissible, tally
from service.domain.ballot import BALLOT_TAG, BallotPaper, associated_data, read_paper
from service.domain.errors import ApprovalError, ConflictError, ForbiddenError, InputError, UnauthenticatedError
from service.domain.events import ApprovalEnded, Event, StepApproved, VoteCast
from service.domain.ids import ApprovalId, PersonId
from service.domain.person import Person, PersonState
from service.domain.policy import Policy, policy_in_force
from service.domain.signed import Signed
from service.domain.timeline import Entry
from service.store.unit_of_work import SqlUnitOfWork
from service.store.voting import TRIES_PER_APPROVAL, Factor, VotingRecords

APPLIED_HERE: Final = frozenset({Subject.CHANGE, Subject.MANDATE})
"""Documents that the authority carries out itself; the others go to a worker by event."""


class Ballot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What reaches the authority: which request, who, and what his client sealed (a `BallotPaper`)."""

    approval: str
    person: str
    sealed: str


@dataclass(frozen=True, slots=True)
class Cast:
    """A vote as stored, and how the request stands now."""

    vote_id: str
    signed: Signed
    state: ApprovalState
    lacking: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class _Admitted:
    document: ActionDocument
    person: Person
    factor: Factor


def cast(office: Office, ballot: Ballot) -> Cast:
    """Check a ballot, sign it and store it.

    Raises NotFoundError, ForbiddenError (may not vote on this), ApprovalError (the request cannot be voted on), InputError
    (the ballot does not open), ConflictError (voted already, or the code was used), RateLimitedError, UnauthenticatedError
    (wrong code).
    """
    with office.db.begin() as uow:
        admitted = _admit(office, uow, VotingRecords(uow.connection, uow.now), ballot)
    paper = _opened(office, ballot, admitted)
    with office.db.begin() as uow:
        tries = VotingRecords(uow.connection, uow.now).charge(admitted.factor.id, admitted.document.id)
    timecode = _checked(office, paper, admitted, tries)
    vote = Vote(
        tag=VOTE_TAG,
        approval=admitted.document.id,
        digest=admitted.document.digest,
        person=admitted.person.id,
        roles=tuple(sorted(admitted.person.roles)),
        decision=paper.decision,
        method="totp",
        factor=admitted.factor.id,
        timecode=timecode,
        at=office.clock.now(),
    )
    return _store(office, ballot, vote, office.sign(vote.text))


def _admit(office: Office, uow: SqlUnitOfWork, records: VotingRecords, ballot: Ballot) -> _Admitted:
    """Return what the ballot is about if this person may vote on it now."""
    row = records.lock_approval(ApprovalId(ballot.approval))
    if row.state is not ApprovalState.WAITING:
        raise ApprovalError(f"request {row.id} is {row.state.value}: it takes no more votes")
    document = parse(row.document)
    policy = policy_in_force(uow.registry.policy(), office.public_key_pem)
    if document.id != row.id:
        raise ApprovalError(f"the document stored as {row.id} names another request")
    require_admissible(document, policy, uow.now)
    if uow.now > document.approve_by:
        raise ApprovalError(f"request {row.id} could be voted on until {document.approve_by.isoformat()}")
    records.hold_person(PersonId(ballot.person))
    person = uow.registry.person(PersonId(ballot.person))
    factor = _factor(records, person, uow.now)
    if not may_vote(document, policy, person.id, person.roles):
        raise ForbiddenError("the requester, and people without a role that is asked for, do not vote on this request")
    if records.has_voted(row.id, person.id):
        raise ConflictError("this person has already voted on this request")
    return _Admitted(document, person, factor)


def _factor(records: VotingRecords, person: Person, now: datetime) -> Factor:
    if person.state is not PersonState.ACTIVE:
        raise ForbiddenError(f"this person is {person.state.value} and does not vote")
    usable = [factor for factor in records.factors_of(person.id) if factor.counts(now)]
    if not usable:
        raise ForbiddenError("this person has no factor that counts yet: enrol one, it counts after 24 hours")
    return usable[0]


def _opened(office: Office, ballot: Ballot, admitted: _Admitted) -> BallotPaper:
    """Return the paper of a ballot that answers exactly this document; another is refused without being counted."""
    document, person = admitted.document, admitted.person
    bound = associated_data(BALLOT_TAG, person.id, document.digest)
    try:
        return read_paper(office.unsealed(ballot.sealed, bound), BallotPaper)
    except InputError:
        with office.db.begin() as uow:
            if uow.once(f"ballot:{document.id}:{person.id}"):
                uow.record(_unopened(document, person, uow.now))
        raise


def _unopened(document: ActionDocument, person: Person, now: datetime) -> Entry:
    return Entry(
        kind="ballot.refused",
        at=now,
        subject=document.id,
        sentence=f"A ballot in the name of {person.id} was not sealed for this document: further ones are not noted",
        by="authority",
        incident_id=document.incident or None,
        facts={"person": person.id},
    )


def _checked(office: Office, paper: BallotPaper, admitted: _Admitted, tries: int) -> int:
    """Return the time-code of a right code; a wrong one stays charged, is audited and raises UnauthenticatedError."""
    document, factor = admitted.document, admitted.factor
    seen = is_check_code(paper.check_code, document.digest, admitted.person.id)
    timecode = timecode_of(office, factor.id, document.id, paper.code)
    if seen and timecode is not None and timecode > factor.last_timecode:
        give_back(office, factor.id, document.id)
        return timecode
    left = TRIES_PER_APPROVAL - tries
    with office.db.begin() as uow:
        uow.record(_refusal(document, admitted.person, left, uow.now))
    if seen and timecode is not None:
        raise ConflictError("this code was used before: wait for the next one", retry_after_s=30)
    raise UnauthenticatedError(f"the check code or the code is wrong; {left} tries are left for this request")


def _refusal(document: ActionDocument, person: Person, left: int, now: datetime) -> Entry:
    locked = left <= 0
    tail = ": locked out of this request, look into it" if locked else ""
    return Entry(
        kind="vote.locked" if locked else "vote.refused",
        at=now,
        subject=document.id,
        sentence=f"A wrong code was given in the name of {person.id}{tail}",
        by="authority",
        incident_id=document.incident or None,
        facts={"person": person.id, "tries_left": left},
    )


def _store(office: Office, ballot: Ballot, vote: Vote, signed: Signed) -> Cast:
    with office.db.begin() as uow:
        records = VotingRecords(uow.connection, uow.now)
        again = _admit(office, uow, records, ballot)
        if tuple(sorted(again.person.roles)) != vote.roles or again.factor.id != vote.factor:
            raise ConflictError("this person's roles or factor changed meanwhile: vote again")
        if not records.burn(vote.factor, vote.timecode):
            raise ConflictError("this code was used before: wait for the next one", retry_after_s=30)
        vote_id = records.add_vote(vote, signed)
        policy = policy_in_force(uow.registry.policy(), office.public_key_pem)
        stand = tally(again.document, uow.approvals.evidence(again.document.id).votes, policy, office.public_key_pem)
        state = _decide(uow, again.document, policy, stand)
        # The voter hears over a channel of his own what his code was used for: who carried it may have swapped documents.
        receipt = VoteCast(vote.approval, vote.person)
        uow.record(_cast_entry(again.document, vote, uow.now), receipt, *_events(again.document, state))
    return Cast(vote_id, signed, state, {a: [r.value for r in roles] for a, roles in stand.lacking.items()})


def _decide(uow: SqlUnitOfWork, document: ActionDocument, policy: Policy, stand: Tally) -> ApprovalState:
    """Write down what the counted votes mean."""
    if stand.denied_by:
        uow.approvals.end(document.id, ApprovalState.REFUSED, f"denied by {', '.join(stand.denied_by)}")
        return ApprovalState.REFUSED
    if not stand.met:
        return ApprovalState.WAITING
    uow.approvals.end(document.id, ApprovalState.APPROVED, None)
    uow.record(
        Entry(
            kind="approval.approved",
            at=uow.now,
            subject=document.id,
            sentence=f"The quorum for {', '.join(document.actions)} is complete",
            by="authority",
            incident_id=document.incident or None,
            facts={"digest": document.digest, "policy": policy.digest, "people": sorted(stand.approvals)},
        )
    )
    return ApprovalState.APPROVED


def _events(document: ActionDocument, state: ApprovalState) -> tuple[Event, ...]:
    if state is ApprovalState.REFUSED:
        return (ApprovalEnded(document.id),)
    if state is ApprovalState.APPROVED and document.subject not in APPLIED_HERE:
        return (StepApproved(document.id),)
    return ()


def _cast_entry(document: ActionDocument, vote: Vote, now: datetime) -> Entry:
    word = "approved" if vote.decision == "approve" else "denied"
    return Entry(
        kind="vote.cast",
        at=now,
        subject=document.id,
        sentence=f"{vote.person} {word} {', '.join(document.actions)}",
        by=vote.person,
        incident_id=document.incident or None,
        facts={
            "digest": document.digest,
            "decision": vote.decision,
            "roles": [role.value for role in vote.roles],
            "timecode": vote.timecode,
        },
    )
