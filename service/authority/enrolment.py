"""Enrolling a person's TOTP factor: a seed drawn here, shown once as a URI, and from then on only in the token.

Rules: a factor exists before its seed is asked for, because set-up or a quorum made it; its URI is shown once; the first
code confirms it and is used up like any other (its time-code never votes); five wrong first codes end it. After set-up
the URI is answered under a key that the person's client sealed, and the first code comes sealed, so that the API carries
both and reads neither: whoever puts a question of his own in its place leaves the person without an answer. Where the
quorum approved the code of a client, the URI is answered under that client's key alone. A factor that was confirmed after
set-up took its last person counts only after 24 hours, so that a false one can be noticed, also where its code was shown
before: its person is told when its code is shown and when it is confirmed.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from hsm.sealing import KEY_BYTES, seal_reply
from hsm.totp import enrolment_uri, new_seed
from service.authority.office import Office
from service.authority.tries import give_back, timecode_of
from service.domain.ballot import (
    ENROLMENT_ANSWER_TAG,
    ENROLMENT_TAG,
    FIRST_CODE_TAG,
    FirstCode,
    associated_data,
    client_code,
    read_paper,
    to_text,
)
from service.domain.errors import ConflictError, ForbiddenError, InputError, UnauthenticatedError
from service.domain.events import FactorChanged
from service.domain.ids import PersonId, new_id
from service.domain.person import Person, PersonState
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.store.decided import DecidedRecords
from service.store.unit_of_work import SqlUnitOfWork
from service.store.voting import Factor, VotingRecords

PURPOSE: Final = "enrolment"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the person's authenticator is shown, once."""

    factor_id: str
    uri: Secret


def begin_in_setup(office: Office, person_id: PersonId, require_open: Callable[[SqlUnitOfWork], None]) -> Enrolment:
    """Give a person a first factor, or a new one in place of an unconfirmed one.

    `require_open` raises unless set-up is still open; it is asked again in the transaction that stores the factor,
    because a factor of set-up counts at once.
    """
    with office.db.begin() as uow:
        require_open(uow)
        person = uow.registry.person(person_id)
        if any(f.confirmed_at is not None for f in VotingRecords(uow.connection, uow.now).factors_of(person_id)):
            raise ConflictError("this person's factor is confirmed: a new one takes a quorum", field="person")
    factor_id = new_id("fac")
    seed = new_seed()
    office.token.store_totp_seed(factor_id, seed)
    with office.db.begin() as uow:
        require_open(uow)
        records = VotingRecords(uow.connection, uow.now)
        if any(f.confirmed_at is not None for f in records.factors_of(person_id)):
            raise ConflictError("this person's factor is confirmed: a new one takes a quorum", field="person")
        stale = records.revoke_factors(person_id)
        records.add_factor(factor_id, person_id, during_setup=True, seed_shown=True)
        _record_shown(uow, person_id, factor_id)
    for old in stale:
        office.token.delete_seed(old)
    return Enrolment(factor_id, Secret(enrolment_uri(seed, person.email)))


def begin(office: Office, person_id: PersonId, client: str = "") -> Enrolment:
    """Show the URI of a factor that a quorum made; `client` is the code of the client that asks.

    Raises ForbiddenError when there is none to enrol, or not from this client; ConflictError when its URI was shown before.
    """
    with office.db.begin() as uow:
        person = _active(uow.registry.person(person_id))
        factor = _unconfirmed(VotingRecords(uow.connection, uow.now).factors_of(person_id))
        if factor.client and not hmac.compare_digest(factor.client, client):
            raise ForbiddenError(
                "this factor is enrolled only from the client whose code the quorum approved: use the file that was prepared"
            )
        if not VotingRecords(uow.connection, uow.now).show_seed_once(factor.id):
            raise ConflictError("this enrolment code was shown before: ask for a new factor (change.factor.enrol)")
        _record_shown(uow, person_id, factor.id)
    seed = new_seed()
    office.token.store_totp_seed(factor.id, seed)
    return Enrolment(factor.id, Secret(enrolment_uri(seed, person.email)))


def answer(office: Office, person_id: PersonId, question: str) -> str:
    """As `begin`, for the client that sealed `question`: nobody else reads the answer.

    Raises InputError when the question does not open; nothing was shown then.
    """
    key = office.unsealed(question, associated_data(ENROLMENT_TAG, person_id))
    if len(key) != KEY_BYTES:
        raise InputError(f"a question holds a key of {KEY_BYTES} bytes", field="sealed")
    shown = begin(office, person_id, client_code(key))
    plain = msgspec.json.encode({"factor": shown.factor_id, "otpauth_uri": shown.uri.reveal()})
    return to_text(seal_reply(key, plain, associated_data(ENROLMENT_ANSWER_TAG, person_id)))


def confirm_sealed(office: Office, person_id: PersonId, sealed: str) -> None:
    """As `confirm`, with the first code as the person's client sealed it. Raises InputError when it does not open."""
    plain = office.unsealed(sealed, associated_data(FIRST_CODE_TAG, person_id))
    confirm(office, person_id, read_paper(plain, FirstCode).code)


def confirm(office: Office, person_id: PersonId, code: str) -> None:
    """Confirm a person's newest factor by its first code, which is used up by it.

    Raises UnauthenticatedError for a wrong code, RateLimitedError after five, ForbiddenError without such a factor.
    """
    with office.db.begin() as uow:
        _active(uow.registry.person(person_id))
        records = VotingRecords(uow.connection, uow.now)
        factor = _unconfirmed(records.factors_of(person_id))
        if factor.seed_shown_at is None:
            raise ForbiddenError("ask for the enrolment code first")
        records.charge(factor.id, PURPOSE)
    timecode = timecode_of(office, factor.id, PURPOSE, code)
    if timecode is None:
        raise UnauthenticatedError(
            "the code is wrong: check the clock of the phone and type the newest one", field="code"
        )
    give_back(office, factor.id, PURPOSE)
    with office.db.begin() as uow:
        records = VotingRecords(uow.connection, uow.now)
        if not records.burn(factor.id, timecode):
            raise ConflictError("this code was used before: wait for the next one", retry_after_s=30)
        during_setup = factor.during_setup and _takes_people(uow)
        replaced = records.confirm_factor(factor.id, person_id, during_setup=during_setup)
        entry = _entry(person_id, "factor.confirmed", "A factor was confirmed by its first code", uow.now)
        uow.record(entry, FactorChanged(person_id, factor.id, "confirmed"))
    for old in replaced:
        office.token.delete_seed(old)


def _active(person: Person) -> Person:
    if person.state is not PersonState.ACTIVE:
        raise ForbiddenError(f"this person is {person.state.value}")
    return person


def _unconfirmed(factors: tuple[Factor, ...]) -> Factor:
    newest = next(iter(factors), None)
    if newest is None or newest.confirmed_at is not None:
        raise ForbiddenError("there is no factor to enrol: ask for one (change.factor.enrol), it takes a quorum")
    return newest


def _takes_people(uow: SqlUnitOfWork) -> bool:
    """Whether set-up still adds people: it is not complete, and no account is registered."""
    return uow.registry.set_up_at() is None and DecidedRecords(uow.connection, uow.now).account_count() == 0


def _record_shown(uow: SqlUnitOfWork, person_id: PersonId, factor_id: str) -> None:
    entry = _entry(person_id, "factor.shown", "An enrolment code was shown", uow.now)
    uow.record(entry, FactorChanged(person_id, factor_id, "shown"))


def _entry(person_id: PersonId, kind: str, sentence: str, at: datetime) -> Entry:
    return Entry(kind=kind, at=at, subject=person_id, sentence=f"{sentence} for {person_id}", by="authority")
