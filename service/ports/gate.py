"""The gate before signing: how a platform asks, and how our answer is signed."""

from typing import Protocol

from service.domain.gate import GateAnswer, GateQuestion, QuestionKind


class Signer(Protocol):
    """Signs RS256 with the callback key inside the gate token."""

    def __call__(self, message: bytes) -> bytes:
        """Return the signature over `message`. May block; raises when the token cannot be used."""
        ...


class GateDoor(Protocol):
    """One connection's way of asking: verify and read the question, write the answer in the platform's form."""

    def question(self, kind: QuestionKind, body: bytes, *, now_s: float) -> GateQuestion:
        """Verify, then read.

        Raises UnauthenticatedError, InputError (verified but malformed), UnavailableError.
        """
        ...

    def answer(self, request_id: str, answer: GateAnswer, sign: Signer) -> bytes:
        """Return the signed body of the answer."""
        ...
