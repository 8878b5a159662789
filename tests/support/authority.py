"""An authority for tests: real database role, real token, a clock that the test moves, and people with phones."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import msgspec
import pyotp

from hsm.sealing import seal
from service.authority.first_setup import FirstSetup, SetupPerson
from service.authority.office import Office, VoteToken
from service.authority.votes import Ballot, Cast, cast
from service.domain.approval import ActionDocument, Draft, Item, check_code
from service.domain.ballot import BALLOT_TAG, BallotPaper, associated_data, filled, to_text
from service.domain.ids import ConnectionId, IncidentId, PersonId, PlanId, StepId, new_id
from service.domain.plan import Effect, Lane, Step, StepState, Target
from service.domain.quorum import Approval, Quorum, Role
from service.domain.secrets import Secret
from service.store.database import SqlDatabase, create
from tests.support.servers import url_of_role

SETUP_TOKEN = "one-time-token-of-tests"
EVERYTHING = ("responder", "approver", "treasury", "admin")
DECLARED: Mapping[str, Approval] = {"sweep_to_safe": Quorum.of(1, Role.RESPONDER) & Quorum.of(1, Role.TREASURY)}


class MovedClock:
    """Implements `Clock`; stands still until told."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def now(self) -> datetime:
        return self.moment

    def pass_by(self, by: timedelta) -> None:
        self.moment += by


@dataclass
class Phone:
    """One person's authenticator. Every code is of a time-code not used before: the clock moves on if it must."""

    uri: str
    clock: MovedClock
    last: int = 0

    @property
    def totp(self) -> pyotp.TOTP:
        return pyotp.TOTP(parse_qs(urlparse(self.uri).query)["secret"][0])

    def code(self) -> str:
        now = int(self.clock.now().timestamp()) // 30
        self.last = max(now, self.last + 1)
        while self.last > int(self.clock.now().timestamp()) // 30 + 1:
            self.clock.pass_by(timedelta(seconds=30))
        return self.totp.generate_otp(self.last)

    def same_code(self) -> str:
        return self.totp.generate_otp(self.last)


@dataclass
class House:
    """One installation's authority, after set-up."""

    office: Office
    first: FirstSetup
    clock: MovedClock
    superuser_url: str
    phones: dict[PersonId, Phone] = field(default_factory=dict)
    databases: dict[str, SqlDatabase] = field(default_factory=dict)

    def database(self, role: str) -> SqlDatabase:
        if role not in self.databases:
            url = Secret(url_of_role(self.superuser_url, role))
            self.databases[role] = SqlDatabase(create(url, pool_size=2), self.clock)
        return self.databases[role]

    def close(self) -> None:
        for database in (self.office.db, *self.databases.values()):
            database.engine.dispose()

    def add_people(self, count: int, roles: tuple[str, ...] = EVERYTHING) -> list[PersonId]:
        first = len(self.phones)
        people = [
            SetupPerson(name=f"Person {n}", email=f"p{n}@example.org", roles=roles) for n in range(first, first + count)
        ]
        added = []
        for person, enrolled in self.first.people(SETUP_TOKEN, people):
            self.phones[person] = Phone(enrolled.uri.reveal(), self.clock)
            self.first.confirm(SETUP_TOKEN, person, self.phones[person].code())
            added.append(person)
        return added

    def complete(self) -> None:
        self.first.complete(SETUP_TOKEN)

    def paper(self, document: ActionDocument, person: PersonId, decision: str = "approve") -> BallotPaper:
        """What this person's client is about to seal; his phone shows a fresh code for it."""
        assert decision in {"approve", "deny"}
        return BallotPaper(
            check_code=check_code(document.digest, person),
            code=self.phones[person].code(),
            decision="approve" if decision == "approve" else "deny",
        )

    def sealed(self, document: ActionDocument, person: PersonId, paper: BallotPaper) -> Ballot:
        """A paper in its envelope: anyone who has the public key can make one."""
        bound = associated_data(BALLOT_TAG, person, document.digest)
        key = self.office.token.secrets.public_key_pem()
        return Ballot(approval=document.id, person=person, sealed=to_text(seal(key, filled(paper), bound)))

    def ballot(self, document: ActionDocument, person: PersonId, decision: str = "approve") -> Ballot:
        return self.sealed(document, person, self.paper(document, person, decision))

    def vote(self, document: ActionDocument, person: PersonId, decision: str = "approve") -> Cast:
        return cast(self.office, self.ballot(document, person, decision))

    def vote_with(self, document: ActionDocument, person: PersonId, **changed: str) -> Cast:
        """A vote whose paper says something else than the person's client would write."""
        paper = msgspec.structs.replace(self.paper(document, person), **changed)
        return cast(self.office, self.sealed(document, person, paper))

    def ask(self, *items: Item, requester: str = "portcullis", role: str = "portcullis_containment") -> ActionDocument:
        with self.database(role).begin() as uow:
            return uow.approvals.propose(Draft(what=items, why="A test asks.", requester=requester))


def house_on(url: str, token: VoteToken, folder: Path) -> House:
    clock = MovedClock()
    db = SqlDatabase(create(Secret(url_of_role(url, "portcullis_authority")), pool_size=2), clock)
    office = Office(db, token, clock, token.vote_public_key_pem())
    token_file = folder / "setup-token.sha256"
    token_file.write_text(hashlib.sha256(SETUP_TOKEN.encode()).hexdigest())
    return House(office, FirstSetup(office, token_file, DECLARED), clock, url)


def a_step(action: str = "sweep_to_safe", value: str = "hot-1", params: Mapping[str, object] | None = None) -> Step:
    return Step(
        id=StepId(new_id("stp")),
        plan_id=PlanId(new_id("pln")),
        incident_id=IncidentId(new_id("inc")),
        position=0,
        action=action,
        target=Target("account", ConnectionId("main"), value),
        params=params if params is not None else {"destination": "eip155:1:0xsafe", "amount_base_units": "12"},
        effect=Effect.IRREVERSIBLE,
        lane=Lane.KEYS,
        state=StepState.WAITING_APPROVAL,
        idempotency_key=new_id("key"),
        attempt=0,
        fence=0,
        after=(),
        approval_id=None,
        receipt=None,
        reason=None,
        deadline_at=None,
    )
