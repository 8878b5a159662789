"""The rotation of an account to new keys, as a pure state machine.

proposed → generated → verified → swept → retired → destroyed, or failed before `verified`, or overtaken before `retired`.

Rules held here:
- Pure: no token, no clock, no storage. `apply` takes a rotation and an event and returns the next rotation or raises.
- Up to `verified` nothing outside has changed: these steps tighten, run without a person and are undone by destroying
  the new keys. From then on every transition needs a quorum (design D4), named by the approved step that did it.
- Nothing is skipped. Old keys are retired only after the sweep is final, destroyed only after they were retired.
- Telling payers the new addresses is no state here: it is done where their address book is, by who can reach that, beside
  the sweep, and writes its own record; a plan has it before destroying (docs/adr/0056). A key is told to nobody before it
  signed a challenge that was checked.
- Repeating the event that led to the present state changes nothing, so a worker that died after acting may act again;
  the same event with other facts is an error.
- From `verified` on there is no way back, only on: its addresses may have been told, the old keys count as compromised.
- Where more turns out lost than it answers, it is overtaken: its own new keys are old ones of the rotation that follows.
- How far the new keys must be from the old ones follows from what was lost (`Loss`): see `new_account`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from hsm.errors import RotationError
from hsm.keypath import DerivationPath


class State(StrEnum):
    """How far a rotation is."""

    PROPOSED = "proposed"
    GENERATED = "generated"
    VERIFIED = "verified"
    SWEPT = "swept"
    RETIRED = "retired"
    DESTROYED = "destroyed"
    FAILED = "failed"
    OVERTAKEN = "overtaken"


class Loss(StrEnum):
    """What the attacker holds."""

    LEAF = "leaf"
    """One private leaf key: with the account's xpub its non-hardened siblings are lost too (BIP-32 "Implications")."""
    ACCOUNT_KEY = "account_key"
    SEED = "seed"


@dataclass(frozen=True, slots=True)
class Generate:
    """The new account's keys are in the token; `xpub` is its public side."""

    xpub: str


@dataclass(frozen=True, slots=True)
class Verify:
    """A new leaf signed a challenge and the signature was checked against `xpub`."""

    xpub: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """The old addresses are empty; `receipt` names the final transactions, `approval` the steps that sent them."""

    approval: str
    receipt: str


@dataclass(frozen=True, slots=True)
class Retire:
    """The old keys may sign nothing more (CKA_SIGN = false)."""

    approval: str


@dataclass(frozen=True, slots=True)
class Destroy:
    """The old keys are gone."""

    approval: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The rotation is given up before its keys could be told to anybody; the new keys are to be destroyed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Overtake:
    """More is lost than this rotation answers, its new keys included; `by` names the rotation that follows."""

    by: str


Event = Generate | Verify | Sweep | Retire | Destroy | Fail | Overtake


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation: from which account to which, what was lost, how far it is, and every event that led there."""

    old: DerivationPath
    new: DerivationPath
    loss: Loss
    new_seed: bool
    state: State = State.PROPOSED
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Transition:
    """One arrow: what it needs and how it is undone, for the plan that people read."""

    event: type[Event]
    start: State
    end: State
    quorum: bool
    does: str
    undo: str


TRANSITIONS: Final = (
    Transition(
        Generate, State.PROPOSED, State.GENERATED, quorum=False,
        does="derive the new account and put its leaves into the vault token",
        undo="destroy the new leaves",
    ),
    Transition(
        Verify, State.GENERATED, State.VERIFIED, quorum=False,
        does="sign a challenge with a new leaf and check it against the new xpub",
        undo="destroy the new leaves",
    ),
    Transition(
        Sweep, State.VERIFIED, State.SWEPT, quorum=True,
        does="move everything from the old addresses to a verified safe destination and wait until it is final",
        undo="none: a final transaction stays",
    ),
    Transition(
        Retire, State.SWEPT, State.RETIRED, quorum=True,
        does="set CKA_SIGN to false on the old keys; the new addresses are the account's",
        undo="none: what is still paid to the old addresses cannot be moved",
    ),
    Transition(
        Destroy, State.RETIRED, State.DESTROYED, quorum=True,
        does="destroy the old keys in the token, once the new addresses were published where somebody keeps them",
        undo="none",
    ),
)  # fmt: skip
BESIDE: Final = (
    "beside the sweep: tell payers the new addresses, where a platform keeps them (quorum; cannot be undone)"
)
"""What is done by who can reach the payers' address book, and by no token."""
_BY_EVENT: Final = {transition.event: transition for transition in TRANSITIONS}
FAILABLE: Final = frozenset({State.PROPOSED, State.GENERATED})
OVERTAKABLE: Final = frozenset({State.PROPOSED, State.GENERATED, State.VERIFIED, State.SWEPT})


def propose(old: DerivationPath, loss: Loss) -> Rotation:
    """Return a new rotation of the account at `old`. Raises DerivationError if it is not a hardened account path."""
    new, new_seed = new_account(old, loss)
    return Rotation(old, new, loss, new_seed)


def new_account(old: DerivationPath, loss: Loss) -> tuple[DerivationPath, bool]:
    """Return where the new keys live and whether they need a new seed.

    A lost leaf takes its account with it, not the seed: the next hardened account is safe. A lost account key or seed
    is answered with a new seed, for every account under the old one.
    """
    if loss is Loss.LEAF:
        return old.next_account(), False
    old.next_account()
    return old, True


def apply(rotation: Rotation, event: Event) -> Rotation:
    """Return the rotation after `event`.

    Repeating the last event returns the rotation unchanged. Raises RotationError when the event is not allowed here or
    lacks what it needs; the message lists what is allowed.
    """
    if rotation.events and rotation.events[-1] == event:
        return rotation
    if isinstance(event, Fail):
        return _failed(rotation, event)
    if isinstance(event, Overtake):
        return _overtaken(rotation, event)
    transition = _BY_EVENT[type(event)]
    if rotation.state is not transition.start:
        allowed = ", ".join(sorted(kind.__name__ for kind in allowed_events(rotation))) or "nothing: it is over"
        raise RotationError(f"{type(event).__name__} is not possible in state {rotation.state}; possible: {allowed}")
    _require_facts(rotation, event)
    return replace(rotation, state=transition.end, events=(*rotation.events, event))


def allowed_events(rotation: Rotation) -> frozenset[type[Event]]:
    """Return the kinds of event that may come next."""
    kinds: set[type[Event]] = {item.event for item in TRANSITIONS if item.start is rotation.state}
    if rotation.state in FAILABLE:
        kinds.add(Fail)
    if rotation.state in OVERTAKABLE:
        kinds.add(Overtake)
    return frozenset(kinds)


def remaining(rotation: Rotation) -> tuple[Transition, ...]:
    """Return the transitions that are still ahead, in order: what a worker resumes with after any crash."""
    if rotation.state in (State.FAILED, State.OVERTAKEN):
        return ()
    order = [State.PROPOSED, *(item.end for item in TRANSITIONS)]
    return TRANSITIONS[order.index(rotation.state) :]


def replay(start: Rotation, events: tuple[Event, ...]) -> Rotation:
    """Return the rotation after all events in order. Raises RotationError at the first that is not allowed."""
    for event in events:
        start = apply(start, event)
    return start


def _failed(rotation: Rotation, event: Fail) -> Rotation:
    if rotation.state not in FAILABLE:
        raise RotationError(f"a rotation in state {rotation.state} cannot be given up: the old keys count as lost")
    if not event.reason:
        raise RotationError("say why the rotation is given up", field="reason")
    return replace(rotation, state=State.FAILED, events=(*rotation.events, event))


def _overtaken(rotation: Rotation, event: Overtake) -> Rotation:
    if rotation.state not in OVERTAKABLE:
        raise RotationError(f"a rotation in state {rotation.state} is over: begin another")
    if not event.by:
        raise RotationError("say which rotation follows", field="by")
    return replace(rotation, state=State.OVERTAKEN, events=(*rotation.events, event))


def _require_facts(rotation: Rotation, event: Event) -> None:
    if isinstance(event, Sweep | Retire | Destroy) and not event.approval:
        raise RotationError(f"{type(event).__name__} needs the approval of a quorum", field="approval")
    if isinstance(event, Sweep) and not event.receipt:
        raise RotationError("Sweep needs the receipt of its final transactions", field="receipt")
    if isinstance(event, Generate | Verify) and not event.xpub:
        raise RotationError(f"{type(event).__name__} needs the new account's xpub", field="xpub")
    generated = [past.xpub for past in rotation.events if isinstance(past, Generate)]
    if isinstance(event, Verify) and event.xpub not in generated:
        raise RotationError("the verified xpub is not the one that was generated: stop and look", field="xpub")
