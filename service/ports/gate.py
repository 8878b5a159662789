"""The gate before signing: how a platform asks, and how our answer is signed."""

from typing import Protocol

from service.domain.gate import GateAnswer, GateCall, GateQuestion, GateReply


class Signer(Protocol):
    """Signs RS256 with a callback key inside the gate token."""

    def __call__(self, message: bytes, key: str = "") -> bytes:
        """Return the signature over `message` by the key of that name; the first key has none.

        May block; raises when the token cannot be used, or has no such key that still signs.
        """
        ...


class GateDoor(Protocol):
    """One connection's way of asking: verify and read the question, write the answer in the platform's form."""

    def question(self, call: GateCall) -> GateQuestion:
        """Verify, then read.

        Raises NotFoundError (a path at which this platform does not ask), UnauthenticatedError, InputError (verified but
        malformed), UnavailableError.
        """
        ...

    def answer(self, call: GateCall, question: GateQuestion, answer: GateAnswer, sign: Signer) -> GateReply:
        """Return the answer to `call`, signed where the platform checks signatures."""
        ...
