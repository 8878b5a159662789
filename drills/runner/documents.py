"""The approver's own look at an action document: digest and check code recomputed from its bytes, never believed.

Rules: a document is RFC 8785 JSON with the tag `portcullis/approval/v1`, and any other spelling is refused; its digest is
SHA-256(tag ‖ 0x00 ‖ bytes); the check code is the first 8 base32 characters of SHA-256(`portcullis/check/v1` ‖ digest in
hex ‖ approver id). Written from the specification, apart from the service's own code, so that one checks the other.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from drills.runner.errors import DrillError

TAG = "portcullis/approval/v1"
CHECK_TAG = b"portcullis/check/v1"
CODE_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A document whose digest was recomputed. `quorum` maps each action to its (count, role) pairs."""

    id: str
    digest: str
    incident: str
    requester: str
    actions: tuple[str, ...]
    quorum: Mapping[str, tuple[tuple[int, str], ...]]
    sentences: tuple[str, ...]

    def is_about(self, action: str) -> bool:
        """Tell whether the document asks for an action."""
        return action in self.actions


def review(text: str, told_digest: str) -> Reviewed:
    """Read a document and compare its digest with what was told; DrillError when anything differs."""
    try:
        fields: dict[str, Any] = json.loads(text)
        canonical = rfc8785.dumps(fields)
    except (ValueError, rfc8785.CanonicalizationError) as error:
        raise DrillError(f"an action document is not JSON ({error}); do not vote on it, report it") from None
    if canonical != text.encode() or fields.get("tag") != TAG:
        raise DrillError("an action document is not in its canonical form; do not vote on it, report it")
    digest = hashlib.sha256(TAG.encode() + b"\x00" + canonical).hexdigest()
    if not hmac.compare_digest(digest.encode(), told_digest.encode()):
        raise DrillError("the digest that was told is not the document's; do not vote on it, report it")
    what = fields["what"]
    quorum = {a: tuple((int(n), str(role)) for n, role in places) for a, places in fields["quorum"].items()}
    return Reviewed(
        id=str(fields["id"]),
        digest=digest,
        incident=str(fields["incident"]),
        requester=str(fields["requester"]),
        actions=tuple(sorted({str(item["action"]) for item in what})),
        quorum=quorum,
        sentences=tuple(str(item["sentence"]) for item in what),
    )


def check_code(digest: str, approver: str) -> str:
    """Return what this approver types beside his code: 8 characters of A-Z and 2-7."""
    raw = hashlib.sha256(CHECK_TAG + digest.encode() + approver.encode()).digest()
    return base64.b32encode(raw).decode()[:CODE_LENGTH]
