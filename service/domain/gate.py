"""Questions asked before something is signed, and our answers.

Rule: on our own fault, and when time runs out, the answer is hold: never approve.
"""

from collections.abc import Mapping
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
class GateCall:
    """One request as it came in. `path` is what follows the connection's id; header names are lower case."""

    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    now_s: float


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


@dataclass(frozen=True, slots=True)
class GateReply:
    """An answer in the platform's form. `refuses`: by the status of the answer, where the platform goes by that."""

    body: bytes
    content_type: bytes
    refuses: bool = False
