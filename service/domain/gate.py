"""Questions asked before something is signed, and our answers.

Rule: on our own fault, and when time runs out, the answer is hold: never approve.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.domain.activity import Activity
from service.domain.intake import GateDecision, Judged

HOLD_RETRY_S: Final = 30.0
"""When a held question is worth asking again."""


class QuestionKind(StrEnum):
    """What is asked about."""

    SIGNING = "signing"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class GateQuestion:
    """One verified question. The same `request_id` again must tell the same facts."""

    request_id: str
    activity: Activity
    facts: bytes
    """The canonical bytes of what was asked, redacted: kept, and what `request_id` is held against."""
    payload_digest: bytes | None = None
    doubt: str | None = None
    """Why what is shown could not be held against the bytes: the question is held until people clear it."""


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """One answer."""

    decision: GateDecision
    reason: str
    """One sentence for the platform's log; names no person and no rule's inner values."""
    decision_id: str | None = None
    judged: Judged | None = None
