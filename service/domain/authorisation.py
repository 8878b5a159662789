"""Whether votes authorise a step: what an executing worker checks itself, trusting no row (design D7).

Rules: every vote's signature is verified against the pinned key before it is read; a vote counts for the digest that is
recomputed from the document's own bytes; the quorum comes from the signed policy in force, never from the document alone;
one person fills one place and the requester none; one denial by a person who could have approved ends it; nothing runs
after `execute_by`; and the step that is about to run must stand in the document with the very same action, target and
parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from service.domain.approval import ActionDocument, Draft, parse, says
from service.domain.canonical import canonical
from service.domain.errors import ApprovalError, InputError
from service.domain.matching import Holders, missing
from service.domain.plan import Step
from service.domain.policy import Policy, policy_in_force
from service.domain.quorum import Role
from service.domain.signed import Signed, opened

VOTE_TAG: Final = "portcullis/vote/v1"
CLOCK_SLACK: Final = timedelta(minutes=5)
MAX_VOTES: Final = 500


class Vote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person's answer to one document, as the authority signs it."""

    tag: str
    approval: str
    digest: str
    person: str
    roles: tuple[Role, ...]
    decision: Literal["approve", "deny"]
    method: Literal["totp"]
    factor: str
    timecode: int
    at: datetime

    @property
    def text(self) -> str:
        """The canonical bytes that are signed."""
        return canonical(msgspec.to_builtins(self)).decode()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is stored about one approval: the document's text, its signed votes, and the signed policy in force."""

    document: str
    votes: Sequence[Signed]
    policy: Signed | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How a document stands. `lacking` names the empty places per action; empty and not denied means authorised."""

    approvals: Mapping[str, frozenset[Role]]
    denied_by: tuple[str, ...]
    lacking: Mapping[str, tuple[Role, ...]]

    @property
    def met(self) -> bool:
        """Every action's quorum is filled and nobody who counts said no."""
        return not self.denied_by and not self.lacking


def check(evidence: Evidence, step: Step, *, public_key_pem: bytes, now: datetime) -> ActionDocument:
    """Return the document if it authorises exactly this step now.

    `step` is what the caller is about to run; `public_key_pem` the authority's vote key from the caller's own pinned
    file. Raises ApprovalError saying which condition fails.
    """
    document = check_document(evidence, public_key_pem=public_key_pem, now=now)
    if not any(item.step == step.id and says(item, step) for item in document.what):
        raise ApprovalError(f"the approved document {document.id} does not list this step as it is about to run")
    return document


def check_document(evidence: Evidence, *, public_key_pem: bytes, now: datetime) -> ActionDocument:
    """Return the document if its votes authorise it now: for changes, messages and mandates, which are no steps.

    Raises ApprovalError saying which condition fails.
    """
    try:
        document = parse(evidence.document)
    except InputError as error:
        raise ApprovalError(f"the approved document cannot be read: {error}") from error
    policy = policy_in_force(evidence.policy, public_key_pem)
    require_admissible(document, policy, now)
    if now > document.execute_by:
        raise ApprovalError(f"document {document.id} could be executed until {document.execute_by.isoformat()}")
    result = tally(document, evidence.votes, policy, public_key_pem)
    if result.denied_by:
        raise ApprovalError(f"document {document.id} was denied by {', '.join(result.denied_by)}")
    for action, roles in result.lacking.items():
        raise ApprovalError(f"document {document.id} lacks {', '.join(roles)} for {action}")
    return document


def require_admissible(document: ActionDocument, policy: Policy, now: datetime) -> None:
    """Raise ApprovalError unless the document stands under this policy: its digest, quorums, and no longer windows."""
    if document.policy.digest != policy.digest or document.policy.version != policy.version:
        raise ApprovalError(f"document {document.id} was made under another policy: request it again")
    for action in document.actions:
        frozen = [(p.count, p.role) for p in document.quorum.get(action, ())]
        if frozen != [(g.count, g.role) for g in policy.quorum(action).groups]:
            raise ApprovalError(f"document {document.id} shows another quorum for {action} than the policy demands")
    if document.created > now + CLOCK_SLACK:
        raise ApprovalError(f"document {document.id} was made in the future: check the clocks")
    if document.approve_by - document.created > timedelta(seconds=policy.approve_within_s):
        raise ApprovalError(f"document {document.id} stands longer than the policy allows")
    if document.execute_by - document.approve_by > timedelta(seconds=policy.execute_within_s):
        raise ApprovalError(f"document {document.id} may run longer than the policy allows")


def tally(document: ActionDocument, votes: Sequence[Signed], policy: Policy, public_key_pem: bytes) -> Tally:
    """Count the votes for this document's digest.

    Raises ApprovalError for a vote whose signature is not the authority's: a forged row is an attack, not an abstention.
    """
    if len(votes) > MAX_VOTES:
        raise ApprovalError(f"a document has at most {MAX_VOTES} votes")
    holders: dict[str, frozenset[Role]] = {}
    denied: list[str] = []
    digest = document.digest
    for signed in votes:
        vote = opened_vote(signed, public_key_pem)
        if vote.digest != digest or vote.approval != document.id:
            raise ApprovalError(f"a vote stored for {document.id} was cast for another document")
        if not may_vote(document, policy, vote.person, frozenset(vote.roles)) or vote.at > document.approve_by:
            continue
        if vote.decision == "deny":
            denied.append(vote.person)
        else:
            holders[vote.person] = frozenset(vote.roles)
    return Tally(holders, tuple(sorted(denied)), _lacking(document, policy, holders))


def may_vote(document: ActionDocument, policy: Policy, person: str, roles: frozenset[Role]) -> bool:
    """Say whether a person counts: not the requester, and holding a role that one of the quorums asks for."""
    asked = {group.role for action in document.actions for group in policy.quorum(action).groups}
    return person != document.requester and bool(roles & asked)


def opened_vote(signed: Signed, public_key_pem: bytes) -> Vote:
    """Return a vote whose signature holds. Raises ApprovalError."""
    fields = opened(signed, VOTE_TAG, public_key_pem)
    try:
        return msgspec.convert(fields, Vote)
    except msgspec.ValidationError as error:
        raise ApprovalError(f"a signed vote is malformed: {error}") from error


def unwinnable(draft: Draft, policy: Policy, eligible: Holders) -> dict[str, str]:
    """Return the actions of a draft whose quorum the people who may vote cannot fill, or that have none, and why."""
    others = {p: r for p, r in eligible.items() if p != draft.requester}
    why: dict[str, str] = {}
    for action in sorted({item.action for item in draft.what}):
        try:
            roles = missing(policy.quorum(action), others)
        except ApprovalError as error:
            why[action] = str(error)
            continue
        if roles:
            why[action] = (
                f"nobody can approve {action} now: besides the requester there are too few active and enrolled people "
                f"(lacking {', '.join(roles)})"
            )
    return why


def _lacking(document: ActionDocument, policy: Policy, holders: Holders) -> dict[str, tuple[Role, ...]]:
    empty = {action: missing(policy.quorum(action), holders) for action in document.actions}
    return {action: roles for action, roles in empty.items() if roles}
