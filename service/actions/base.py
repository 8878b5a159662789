"""What a containment action declares, and what it gets to work with.

One action per file, found by scanning; `service/discovery.py` refuses a declaration that is incomplete, naming the file.
`execute` is idempotent under `ctx.key`; `verify` asks the other side, not our database; `undo` is always a loosening.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from service.discovery import subclasses
from service.domain.account import AccountRef, OwnWallet
from service.domain.approval import Item
from service.domain.errors import (
    ConfigurationError,
    ConflictError,
    InputError,
    MissingCapabilityError,
    PortcullisError,
    RetryKind,
    StaleFenceError,
)
from service.domain.ids import AccountId
from service.domain.plan import Effect, Json, Lane, Receipt, Step, Target, Verdict
from service.domain.quorum import Approval, PreAuthorised
from service.domain.settlement import Outcome, settlement_item, stands_in_for
from service.domain.standing import Standing, marked, marks, named
from service.ports.clock import Clock
from service.ports.custody import Capability, ContainmentCalls
from service.ports.keys import StillMine, VaultKeys
from service.ports.multisig import MultisigControl
from service.ports.notify import Outside
from service.ports.store.unit import UnitOfWork


@dataclass(frozen=True, slots=True)
class OneAccount:
    """The action touches one account at most."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The action touches everything behind the connection."""


BlastRadius = OneAccount | Workspace


def _nobodys(_: UnitOfWork) -> None:
    raise StaleFenceError("nobody works on this step: it may only ask")


@dataclass(frozen=True, slots=True)
class Unmet:
    """One precondition that does not hold: a code and what a person should do about it."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ActionContext:
    """One attempt at one step. Exactly one of `custody` and `vault` is there, by the action's lane."""

    target: Target
    params: Json
    key: str
    """Idempotency key of the step."""
    clock: Clock
    account_id: AccountId | None
    """Our id of the target's account, when it is registered."""
    custody: ContainmentCalls | None = None
    vault: VaultKeys | None = None
    multisig: MultisigControl | None = None
    """Beside the vault, where a guardian is configured."""
    outside: Outside | None = None
    """Beside `custody`: letters to outsiders."""
    receipt: Receipt | None = None
    """What an earlier attempt at the same step was told."""
    still_mine: StillMine = _nobodys
    """Asked where our own records are loosened."""

    @property
    def account(self) -> AccountRef:
        """The custody account the target is or belongs to."""
        ref = self.target.value if self.target.kind == "account" else self.target.account
        if ref is None:
            raise MissingCapabilityError(f"{self.target.kind} {self.target.value} names no account")
        return AccountRef(self.target.connection, ref)

    @property
    def near(self) -> AccountRef | None:
        """The account that a destination or credential was seen with, for platforms that want to know."""
        return None if self.target.account is None else AccountRef(self.target.connection, self.target.account)

    @property
    def registered(self) -> AccountId:
        """Our id of the target's account; raises for one that was never registered."""
        if self.account_id is None:
            raise MissingCapabilityError(
                f"account {self.account.entity} is not registered here: act at its platform by hand, then register it"
            )
        return self.account_id

    @property
    def platform(self) -> ContainmentCalls:
        """The platform's calls; raises where the action runs in the wrong lane."""
        if self.custody is None:
            raise MissingCapabilityError("this worker has no platform connection: the step belongs to the other lane")
        return self.custody

    def confirmed(self, told: Verdict) -> Verdict:
        """Return what the platform told of the effect; where it cannot tell, what it says of our call by its key."""
        return self.platform.settled(self.key) if told is Verdict.CANNOT_TELL else told

    @property
    def keys(self) -> VaultKeys:
        """The vault; raises where the action runs in the wrong lane."""
        if self.vault is None:
            raise MissingCapabilityError("this worker has no vault: the step belongs to the key worker")
        return self.vault

    @property
    def multisigs(self) -> MultisigControl:
        """The multisigs; raises where no guardian is configured."""
        if self.multisig is None:
            raise MissingCapabilityError(
                "no guardian token is configured: set PORTCULLIS_GUARDIAN_URI for the key worker"
            )
        return self.multisig

    @property
    def letters(self) -> Outside:
        """Letters to outsiders; raises where the action runs in the wrong lane."""
        if self.outside is None:
            raise MissingCapabilityError("this worker sends no letters: the step belongs to the other lane")
        return self.outside


class ContainmentAction(ABC):
    """Base of all containment actions. Class attributes are the declaration."""

    name: ClassVar[str]
    title: ClassVar[str]
    """What people read: "Let no transfer leave account {target}"."""
    effect: ClassVar[Effect]
    irreversible_because: ClassVar[str | None] = None
    waits_because: ClassVar[str | None] = None
    """Why an action that tightens takes a quorum before it runs."""
    needs: ClassVar[frozenset[Capability]] = frozenset()
    target_kinds: ClassVar[frozenset[str]]
    approval: ClassVar[Approval]
    blast_radius: ClassVar[BlastRadius]
    deadline: ClassVar[timedelta]
    lane: ClassVar[Lane] = Lane.CONTAINMENT
    undone_by: ClassVar[str | None] = None
    """Name of the action that loosens what this one tightened."""
    no_undo_because: ClassVar[str | None] = None
    """Why a tightening action has none: what people do instead."""
    takes: ClassVar[frozenset[OwnWallet]] = frozenset()
    """Kinds of own wallets on which it is done here and not by a platform's call (`needs`): one of the two it declares."""
    instead: ClassVar[Mapping[OwnWallet, str]] = {}
    """For each other kind of own wallet: what is done there. Shown in the capability matrix."""
    params: ClassVar[Mapping[str, str]] = {}
    """What the plan must tell the action, and so its approvers: name → what to do when the plan has none."""
    repeats: ClassVar[bool] = False
    """Whether a receipt that does not hold means that there is more to do, under the same key."""
    ends_what_is_there: ClassVar[bool] = False
    """Whether it ends what is there when it runs and leaves nothing in force: an alert that comes later needs another."""
    one_call: ClassVar[bool] = False
    """Whether `execute` changes the other side by one call at most: when that was put off (429), nothing was done."""
    lasts: ClassVar[timedelta | None] = None
    """How long the other side keeps it up before it ends by itself; None: until somebody takes it back."""
    on_chain: ClassVar[bool] = False
    """Whether its effect stands in a block, which a reorganisation may drop: `flow/finality.py` looks until it is final."""
    can_be_asked: ClassVar[bool] = True
    """Whether the other side can tell, without a receipt, what became of a call. Where it cannot, `execute` raises errors
    to retry later only if the call surely did nothing: it is then made again, and not asked about."""

    def preconditions(self, ctx: ActionContext) -> tuple[Unmet, ...]:
        """Return every precondition that does not hold, not only the first."""
        unmet = tuple(
            Unmet("missing_parameter", what) for name, what in self.params.items() if not ctx.params.get(name)
        )
        if self.lane is Lane.CONTAINMENT:
            lacking = sorted(self.needs - ctx.platform.capabilities)
            unmet += tuple(Unmet("missing_capability", ctx.platform.lacks(capability)) for capability in lacking)
        return unmet

    @property
    def runs_at_once(self) -> bool:
        """Whether it runs without a person, as far as the hour's blast radius goes (design D4)."""
        return isinstance(self.approval, PreAuthorised)

    def told(self, numbers: Mapping[str, int]) -> Mapping[str, int]:
        """Return the parameters that a person tells when he asks for it, checked. Raises InputError naming the field."""
        if numbers:
            raise InputError(f"{self.name} takes no numbers", field="numbers")
        return {}

    def may_hold_in_part(self, ended: Step) -> bool:  # noqa: ARG002  what an override gets
        """Say whether a step that ended and is not done may have left what is to be undone all the same."""
        return False

    def handed_back(self, done: Sequence[Step]) -> Json:
        """Return what the action that undoes this one is told of the steps of this one that hold at one target."""
        return done[0].params

    @abstractmethod
    def execute(self, ctx: ActionContext) -> Receipt:
        """Do it, once per `ctx.key`; return the other side's reference."""

    @abstractmethod
    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """Ask the other side whether the effect holds. `receipt` is None when the answer to `execute` was lost."""

    def marked(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt | None:  # noqa: ARG002  what an override gets
        """Return the receipt with what `stands` has to know; asked when the step is found to hold.

        Raises at most what goes away by itself: that somebody else cannot tell is no reason to doubt what holds.
        """
        return receipt

    def ends_at(self, receipt: Receipt | None, now: datetime) -> datetime | None:  # noqa: ARG002  what an override gets
        """Return when what holds now ends by itself, at the earliest; None for what somebody has to take back."""
        return None if self.lasts is None else now + self.lasts

    def remark(self, receipt: Receipt | None) -> str:  # noqa: ARG002  what an override gets
        """Return what people are told of a step that holds, behind the sentence that it does; empty for nothing."""
        return ""

    def stands(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """Ask, later, whether what was done is still there: for one whose effect stands in a block."""
        return self.verify(ctx, receipt)

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:  # noqa: ARG002  what an override gets
        """Take the effect back; always a loosening, so only ever called under a quorum."""
        why = self.irreversible_because or self.no_undo_because or "it has no undo"
        raise MissingCapabilityError(f"{self.name} cannot be undone: {why}")


class NonceAction(ContainmentAction):
    """Base of actions that use up nonces on a chain: what came later is not their business, what they did stays."""

    on_chain = True

    @abstractmethod
    def standing(self, ctx: ActionContext, transactions: Collection[str]) -> Standing:
        """Return the nonces that its work used, and which of these transactions are in blocks."""

    def marked(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt | None:
        """See the base; a receipt without marks is one of which `stands` cannot tell."""
        try:
            return marked(receipt, ctx.key, self.standing(ctx, named(receipt)))
        except PortcullisError as error:
            if error.retry is RetryKind.LATER:
                raise
            return receipt

    def stands(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """See the base."""
        stood = marks(receipt)
        return Verdict.CANNOT_TELL if stood is None else stood.still(self.standing(ctx, stood.transactions))


def settlement(actions: Mapping[str, ContainmentAction], step: Step, outcome: Outcome) -> Item:
    """Return the item that asks to settle a step, by what its action declares: the row's word for it counts nothing.

    Raises ConflictError for an action that is not declared here.
    """
    action = actions.get(step.action)
    if action is None:
        raise ConflictError(f"{step.action} is no action of this version: nobody can say who must settle it")
    return settlement_item(step, outcome, stands_in_for(action.name, action.effect, action.undone_by, outcome))


_DECLARED: Final = ("name", "title", "effect", "target_kinds", "approval", "blast_radius", "deadline")
_KINDS: Final = frozenset({"account", "destination", "transaction", "credential", "connection", "key", "asset"})
LONGEST_DEADLINE: Final = timedelta(hours=24)


VAULT_KEYS: Final = frozenset({OwnWallet.EVM, OwnWallet.BITCOIN})
"""`takes` of what is done with a wallet's own keys."""
SAFES: Final = frozenset({OwnWallet.SAFE})
"""`takes` of what owners or a guardian do."""

_BASE: type[ContainmentAction] = ContainmentAction  # type: ignore[type-abstract]  # only ever compared with


def actions_in(package: str) -> dict[str, ContainmentAction]:
    """Return every containment action that the package's files declare, by name.

    Raises ConfigurationError that names the file of a declaration that is incomplete or contradicts itself.
    """
    found = {name: kind() for name, kind in subclasses(package, _BASE).items()}
    for action in found.values():
        for complaint in _complaints(action, found):
            raise ConfigurationError(f"{sys.modules[type(action).__module__].__file__}: {complaint}")
    return found


def _complaints(action: ContainmentAction, known: Mapping[str, ContainmentAction]) -> Iterator[str]:
    lacking = [name for name in _DECLARED if not hasattr(action, name)]
    if lacking:
        yield f"the action does not declare {', '.join(lacking)}"
        return
    if not action.__doc__:
        yield "the action has no docstring"
    if not action.target_kinds or not action.target_kinds <= _KINDS:
        yield f"target_kinds must be among {', '.join(sorted(_KINDS))}"
    if "{target}" not in action.title and "connection" not in action.target_kinds:
        yield "title must say {target}"
    if not timedelta(0) < action.deadline <= LONGEST_DEADLINE:
        yield f"deadline must be positive and at most {LONGEST_DEADLINE}"
    yield from _complaints_of_effect(action)
    if action.undone_by is not None and action.no_undo_because is not None:
        yield "an action names what undoes it or says why nothing does, not both"
    if action.undone_by is not None and action.undone_by not in known:
        yield f"undone_by names an unknown action {action.undone_by!r}"
    if action.lane is Lane.KEYS and action.needs:
        yield "an action of the keys lane needs no platform capability"


def _complaints_of_effect(action: ContainmentAction) -> Iterator[str]:
    if (action.effect is Effect.TIGHTENS and action.waits_because is None) != action.runs_at_once:
        yield "a tightening action is PreAuthorised, or says why it waits; any other needs a Quorum (design D4)"
    if action.waits_because is not None and action.effect is not Effect.TIGHTENS:
        yield "waits_because belongs to an action that tightens, and only to one"
    if action.ends_what_is_there and (action.effect is not Effect.TIGHTENS or action.undone_by is not None):
        yield "ends_what_is_there belongs to an action that tightens and that nothing undoes"
    if (action.effect is Effect.IRREVERSIBLE) != (action.irreversible_because is not None):
        yield "irreversible_because belongs to an irreversible action, and only to one"
    if action.effect is Effect.IRREVERSIBLE and type(action).undo is not ContainmentAction.undo:
        yield "an irreversible action has no undo"
