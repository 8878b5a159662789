"""Plays the approvers: every request is read, recomputed and voted on by people with their own phones.

Rules: a vote is cast only on a document whose digest was recomputed and that belongs to this drill's incidents; sweeps go
before everything else; a person votes once per request and once per time step; the requester never votes; a vote leaves
sealed for the authority, as the answer to the document that was recomputed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from drills.runner.ballots import Answer, BallotKey
from drills.runner.crew import Member, seats_of, voters
from drills.runner.documents import Reviewed, check_code, review
from drills.runner.errors import ApiError, DrillError
from drills.runner.service import Service
from drills.runner.story import Story

URGENT = "sweep_to_safe"
WAITING = "waiting"
CONFLICT = 409


@dataclass(slots=True)
class Approvers:
    """The people who vote in one drill."""

    service: Service
    crew: Sequence[Member]
    ballots: BallotKey
    story: Story
    reviewed: dict[str, Reviewed] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    votes: int = 0
    _cast: dict[str, set[str]] = field(default_factory=dict)

    def heard(self, approval_id: str) -> None:
        """Look at a request that was made; repeating it changes nothing."""
        if approval_id in self.reviewed:
            return
        token = next(m.token for m in self.crew if "approver" in m.roles)
        found = self.service.get(f"/v1/approvals/{approval_id}", token)
        document = review(str(found["document"]), str(found["digest"]))
        if document.id != approval_id:
            raise DrillError(f"request {approval_id} shows the document of {document.id}; do not vote on it, report it")
        self.reviewed[approval_id] = document
        for sentence in document.sentences[:3]:
            self.story.tell("people", f"asked of the approvers: {sentence}")
        if len(document.sentences) > 3:  # noqa: PLR2004 - the number shown above
            self.story.tell("people", f"… and {len(document.sentences) - 3} more in the same document")

    @property
    def waiting(self) -> list[Reviewed]:
        """The documents that were not decided yet."""
        return [d for d in self.reviewed.values() if d.id not in self.done]

    def vote(self) -> None:
        """Cast what votes can be cast now."""
        for document in sorted(self.waiting, key=lambda d: not d.is_about(URGENT)):
            self._vote_on(document)

    def _vote_on(self, document: Reviewed) -> None:
        cast = self._cast.setdefault(document.id, set())
        seats = seats_of(document.quorum)
        chosen = voters(seats, self.crew, time.time(), without={document.requester, *cast})
        for member in chosen[: max(0, len(seats) - len(cast))]:
            if self._cast_one(document, member):
                cast.add(member.person)
            if document.id in self.done:
                return

    def _cast_one(self, document: Reviewed, member: Member) -> bool:
        """Cast one vote; False when it did not count, because the request ended or the code came at the wrong moment."""
        if member.phone is None:
            raise DrillError(f"{member.name} has no phone; that is a fault of the drill")
        code = member.phone.code(time.time())
        answer = Answer(document.digest, member.person, check_code(document.digest, member.person), code)
        ballot = {"sealed": self.ballots.seal(answer)}
        try:
            found = self.service.post(f"/v1/approvals/{document.id}/votes", member.token, ballot)
        except ApiError as error:
            if self._has_ended(document, member.token):
                self.done.add(document.id)
            elif error.status != CONFLICT:
                raise
            return False
        self.votes += 1
        if found["state"] != WAITING:
            self.done.add(document.id)
        return True

    def _has_ended(self, document: Reviewed, token: str) -> bool:
        return bool(self.service.get(f"/v1/approvals/{document.id}", token)["state"] != WAITING)
