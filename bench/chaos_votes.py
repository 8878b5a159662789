"""The people of bench/chaos.py: they vote on what the plans ask of them while the API and the authority are being killed.

Rules: a vote is cast as in a drill, on a document that was recomputed, sealed for the authority, with the code of a phone of
one's own; who got no answer votes again with the next code. Only so many documents are voted on, because a phone shows one
code in half a minute. What was decided is judged from the rows afterwards (`bench/chaos_proofs.py`).
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from drills.runner.approvers import Approvers
from drills.runner.ballots import read_ballot_key
from drills.runner.crew import Member
from drills.runner.errors import ApiError
from drills.runner.service import Service
from drills.runner.story import Story

EVERY_S: Final = 1.0
FAULTS: Final = frozenset({0, 409, 429, 500, 502, 503, 504})
"""No answer, or an answer that says to try again: what people see of a part that was killed."""


class People:
    """Vote in a thread of their own. Use as a context manager."""

    def __init__(self, url: str, crew: Sequence[Member], home: Path, most: int) -> None:
        self._service = Service(url)
        self._approvers = Approvers(self._service, crew, read_ballot_key(home), Story())
        self._crew, self._most = crew, most
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="people", daemon=True)
        self.unanswered = 0
        """Calls that got no answer, or one that says to try again."""
        self.refused: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        self._service.__exit__(None, None, None)

    @property
    def asked(self) -> list[str]:
        """The requests that they vote on."""
        return sorted(self._approvers.reviewed)

    @property
    def waiting(self) -> bool:
        """Whether a request they vote on is not decided yet."""
        return bool(self._approvers.waiting)

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                self._look()
                self._approvers.vote()
            except ApiError as error:
                self.unanswered += 1
                if error.status not in FAULTS:
                    self.refused.append(str(error))

    def _look(self) -> None:
        if len(self._approvers.reviewed) >= self._most:
            return
        token = next(m.token for m in self._crew if "approver" in m.roles)
        found = self._service.get("/v1/approvals", token, state="waiting")["items"]
        for one in found[: self._most - len(self._approvers.reviewed)]:
            self._approvers.heard(str(one["id"]))
