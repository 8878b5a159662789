"""The action document: one approval request is for one document, and votes count for its digest only.

Rules:

- A document is RFC 8785 JSON with the tag `portcullis/approval/v1`; `parse` accepts no other spelling, so the digest that
  was voted on is recomputed from the very bytes that are shown and executed.
- It may list several steps of one plan, or one change of the registry, or a batch of messages, or one mandate; never a
  mixture, because their quorums differ.
- Every text, each name among them, and every sentence made of them is printable and on one line: no line break, direction
  mark or terminal command can rearrange what an approver reads.
- People read sentences made from the stored document alone. What its author wrote stands beside what it exactly does,
  so that a friendly sentence cannot hide another target.
- Check code = the first 8 base32 characters of SHA-256(`portcullis/check/v1` ‖ digest in hex ‖ approver id). It proves
  that the approver had this document before him; it is no secret.
- Two expiries: votes count until `approve_by`, the document may be executed until `execute_by`. All moments are in UTC, as
  they are shown.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.canonical import canonical, digest
from service.domain.errors import InputError
from service.domain.ids import ApprovalId, looks_like_id, new_id
from service.domain.plan import Effect, Step, Target
from service.domain.policy import Place, Policy

TAG: Final = "portcullis/approval/v1"
CHECK_TAG: Final = b"portcullis/check/v1"
CHECK_CODE_LENGTH: Final = 8
MAX_ITEMS: Final = 200
MAX_TEXT: Final = 2_000
MAX_DOCUMENT: Final = 256 * 1024
NONCE_BYTES: Final = 16


class Subject(StrEnum):
    """What a document is about; by the first word of its actions."""

    STEPS = "steps"
    CHANGE = "change"
    MESSAGE = "message"
    MANDATE = "mandate"
    ESCALATION = "escalation"
    BLIND = "blind"
    SETTLE = "settle"


class ApprovalState(StrEnum):
    """`waiting` for votes; `approved`; `executed` once everything was released or applied; the others are final."""

    WAITING = "waiting"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    VOID = "void"
    EXECUTED = "executed"


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is asked for. `step` is empty for what is no step; `params` are JSON with amounts as strings."""

    step: str
    action: str
    effect: Effect
    target: dict[str, str]
    params: dict[str, object]
    sentence: str


class PolicyRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy under which the quorum was frozen."""

    version: int
    digest: str


class ActionDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module; built by `propose`, read back by `parse`."""

    tag: str
    id: ApprovalId
    what: tuple[Item, ...]
    targets: tuple[str, ...]
    amounts: dict[str, str]
    why: str
    incident: str
    plan_digest: str
    policy: PolicyRef
    quorum: dict[str, tuple[Place, ...]]
    preconditions: tuple[str, ...]
    requester: str
    created: datetime
    approve_by: datetime
    execute_by: datetime
    nonce: str

    def __post_init__(self) -> None:
        if self.tag != TAG:
            raise InputError(f"an action document's tag is {TAG}", field="tag")
        if not looks_like_id(self.id, "apr"):
            raise InputError("id is an approval id, apr_…", field="id")
        if not 1 <= len(self.what) <= MAX_ITEMS:
            raise InputError(f"a document asks for 1 to {MAX_ITEMS} things, not {len(self.what)}", field="what")
        for text in self._texts():
            if len(text) > MAX_TEXT or not text.isprintable():
                raise InputError(
                    f"a text in the document is one line of at most {MAX_TEXT} printable characters", field="what"
                )
        if len(self.nonce) != 2 * NONCE_BYTES:
            raise InputError(f"nonce is {NONCE_BYTES} bytes in hex", field="nonce")
        if any(moment.utcoffset() != timedelta(0) for moment in (self.created, self.approve_by, self.execute_by)):
            raise InputError("the moments are in UTC", field="created")
        if not self.created < self.approve_by <= self.execute_by:
            raise InputError("created < approve_by <= execute_by must hold", field="approve_by")
        if len({subject_of(item.action) for item in self.what}) != 1:
            raise InputError(
                "a document is about steps, one change, messages or one mandate: not a mixture", field="what"
            )
        if self.targets != targets_of(self.what):
            raise InputError("targets must list what `what` names", field="targets")
        if not all(line.isprintable() for line in sentences(self)):
            raise InputError("what people read of the document is not printable", field="what")

    def _texts(self) -> list[str]:
        own = [self.why, self.incident, self.plan_digest, self.requester, *self.preconditions, *self.quorum]
        items = (t for i in self.what for t in (i.step, i.action, i.sentence, *i.target, *i.target.values()))
        return [*own, *self.amounts, *self.amounts.values(), *items]

    @property
    def text(self) -> str:
        """The canonical form: what is stored, shown and digested."""
        return canonical(msgspec.to_builtins(self)).decode()

    @property
    def digest(self) -> str:
        """What votes count for."""
        return digest(TAG, msgspec.to_builtins(self))

    @property
    def subject(self) -> Subject:
        """What kind of document this is."""
        return subject_of(self.what[0].action)

    @property
    def actions(self) -> tuple[str, ...]:
        """The distinct actions, sorted: the quorum of each must be met."""
        return tuple(sorted({item.action for item in self.what}))


@dataclass(frozen=True, slots=True)
class Draft:
    """What a requester says; `propose` adds id, nonce, policy, quorum and expiries."""

    what: Sequence[Item]
    why: str
    requester: str
    """Person id, or `portcullis` when no person asked."""
    incident: str = ""
    plan_digest: str = ""
    amounts: Mapping[str, str] = field(default_factory=dict)
    preconditions: Sequence[str] = ()


def propose(draft: Draft, policy: Policy, now: datetime) -> ActionDocument:
    """Freeze a draft under the policy in force.

    Prose is made one printable line, so that a title from outside cannot block a request. Raises InputError for malformed
    input and ApprovalError when the policy has no quorum for one of its actions.
    """
    approve_by = now + timedelta(seconds=policy.approve_within_s)
    frozen = {
        action: tuple(Place(group.count, group.role) for group in policy.quorum(action).groups)
        for action in {item.action for item in draft.what}
    }
    document = ActionDocument(
        tag=TAG,
        id=ApprovalId(new_id("apr")),
        what=tuple(msgspec.structs.replace(item, sentence=one_line(item.sentence)) for item in draft.what),
        targets=targets_of(draft.what),
        amounts=dict(draft.amounts),
        why=one_line(draft.why),
        incident=draft.incident,
        plan_digest=draft.plan_digest,
        policy=PolicyRef(version=policy.version, digest=policy.digest),
        quorum=frozen,
        preconditions=tuple(draft.preconditions),
        requester=draft.requester,
        created=now,
        approve_by=approve_by,
        execute_by=approve_by + timedelta(seconds=policy.execute_within_s),
        nonce=secrets.token_hex(NONCE_BYTES),
    )
    return parse(document.text)


def parse(text: str) -> ActionDocument:
    """Read a stored document. Raises InputError unless it is well formed and spelled canonically."""
    if len(text) > MAX_DOCUMENT:
        raise InputError(f"an action document has at most {MAX_DOCUMENT} characters", field="document")
    try:
        document = msgspec.convert(json.loads(text), ActionDocument)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the action document is malformed: {error}", field="document") from error
    if document.text != text or not text.isprintable():
        raise InputError("the action document is not in canonical form (RFC 8785), or not printable", field="document")
    return document


def step_item(step: Step, sentence: str) -> Item:
    """Return what a document says of a step: the same function builds the document and checks the step against it."""
    return Item(
        step=step.id,
        action=step.action,
        effect=step.effect,
        target=target_fields(step.target),
        params=dict(step.params),
        sentence=sentence,
    )


def target_fields(target: Target) -> dict[str, str]:
    """Return a target as a document spells it; an absent account is an absent key."""
    fields = {"kind": target.kind, "connection": str(target.connection), "value": target.value}
    return fields if target.account is None else {**fields, "account": target.account}


def says(item: Item, step: Step) -> bool:
    """Say whether an item is exactly this step: id, action, effect, target and parameters."""
    return same(item, step_item(step, ""))


def lists(document: ActionDocument, item: Item) -> bool:
    """Say whether a document asks for exactly this item; its sentence does not matter."""
    return any(same(mine, item) for mine in document.what)


def same(one: Item, other: Item) -> bool:
    """Say whether two items ask for exactly the same; how a sentence words it does not matter."""
    return canonical({**msgspec.to_builtins(one), "sentence": ""}) == canonical(
        {**msgspec.to_builtins(other), "sentence": ""}
    )


def subject_of(action: str) -> Subject:
    """Return what a document with this action is about; an action without a known first word is a plan's step."""
    general = action.partition(".")[0]
    return Subject(general) if general in set(Subject) - {Subject.STEPS} else Subject.STEPS


def targets_of(what: Sequence[Item]) -> tuple[str, ...]:
    """Return the distinct targets as people read them, in the order of first mention."""
    return tuple(dict.fromkeys(_target_text(item.target) for item in what if item.target))


def check_code(document_digest: str, approver: str) -> str:
    """Return what this approver types beside his TOTP code: 8 characters of A-Z and 2-7."""
    raw = hashlib.sha256(CHECK_TAG + document_digest.encode("ascii") + approver.encode()).digest()
    return base64.b32encode(raw).decode("ascii")[:CHECK_CODE_LENGTH]


def is_check_code(given: str, document_digest: str, approver: str) -> bool:
    """Compare in constant time; blanks, hyphens and case do not matter to a person who types."""
    typed = given.replace(" ", "").replace("-", "").upper()
    return hmac.compare_digest(typed.encode(), check_code(document_digest, approver).encode())


def sentences(document: ActionDocument) -> tuple[str, ...]:
    """Return the document as plain sentences, from its own fields alone and in full."""
    lines = [f"Requested by {document.requester} at {_moment(document.created)}: {document.why}"]
    if document.incident:
        lines.append(f"It belongs to incident {document.incident}.")
    for number, item in enumerate(document.what, 1):
        lines.append(f"{number}. {item.sentence}")
        lines.append(f"   Exactly: {_exactly(item)}")
    lines += [f"Amount, {name}: {value}." for name, value in sorted(document.amounts.items())]
    lines += [f"Only if: {condition}" for condition in document.preconditions]
    for action in document.actions:
        wanted = " and ".join(f"{p.count} x {p.role.value}" for p in document.quorum.get(action, ()))
        lines.append(f"{action} needs {wanted}, all of them other than the requester.")
    lines.append(f"Votes count until {_moment(document.approve_by)}; it may run until {_moment(document.execute_by)}.")
    return tuple(lines)


def one_line(text: str) -> str:
    """Return text as one printable line that fits a document; what was cut or replaced stands in the parameters."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:MAX_TEXT]


def _exactly(item: Item) -> str:
    target = f" on {_target_text(item.target)}" if item.target else ""
    params = f" with {canonical(msgspec.to_builtins(item.params)).decode()}" if item.params else ""
    return f"{item.action} ({item.effect.value}){target}{params}."


def _target_text(target: Mapping[str, str]) -> str:
    rest = " ".join(f"{name} {value}" for name, value in sorted(target.items()) if name != "kind")
    return f"{target.get('kind', 'target')} {rest}".strip()


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
