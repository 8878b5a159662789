"""What was done on a chain is looked at again until its block is final, and done again where a reorganisation dropped it.

Rules: a step on a chain is done once its effect is in a block, because containment cannot wait for finality; from then on a
timer asks the chain again, at growing intervals. It is final when the newest final block shows the effect, too: of a lock or
an owner what is so, of what uses up nonces that those are used, by ours (`domain/standing.py`). When the newest block no
longer shows it and nobody takes it back on purpose, the step runs again under its own key, with the votes that it needs;
where those have run out it is refused, which people are told. The timeline says so. "Cannot tell" changes nothing. What is
not final after a day is said, and pages people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from service.actions.base import ActionContext, ContainmentAction
from service.domain.account import AccountRef
from service.domain.errors import PortcullisError
from service.domain.events import StepNotFinal, StepReady
from service.domain.ids import AccountId, StepId
from service.domain.looks import GIVEN_UP, next_look, not_final_note
from service.domain.plan import Step, StepState, Verdict
from service.domain.timeline import Entry
from service.ports.clock import Clock
from service.ports.keys import VaultKeys
from service.ports.multisig import MultisigControl
from service.ports.store.unit import Database, UnitOfWork

_LET_GO: Final = frozenset({StepState.READY, StepState.RUNNING, StepState.VERIFYING, StepState.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Looking:
    """What the looks are made with."""

    db: Database
    clock: Clock
    actions: Mapping[str, ContainmentAction]
    multisig: MultisigControl | None
    vault: VaultKeys | None = None


def look(looking: Looking, timer_id: str) -> None:
    """Look once; the next look is set before the chain is asked, so that a worker who dies loses none."""
    with looking.db.begin() as uow:
        fired = uow.attention.claim_look(timer_id)
        if fired is None:
            return
        done = uow.plans.step(StepId(fired.subject))
        fence, since = int(fired.payload["fence"]), timedelta(seconds=int(fired.payload["since_s"]))
        if done.state is not StepState.DONE or done.fence != fence or uow.noted(_final_note(done)):
            return
        if since >= GIVEN_UP:
            if uow.once(not_final_note(done)):
                entry = _entry(uow, done, "step.not_final", "Not final after a day, look at the chain")
                uow.record(entry, StepNotFinal(done.id, done.incident_id))
            return
        uow.attention.set_timer(*next_look(done, uow.now, since))
        account = _account(uow, done)
    now, at_last = _asked(looking, done, account)
    with looking.db.begin() as uow:
        if now is Verdict.DOES_NOT_HOLD:
            _do_again(looking, uow, done)
        elif now is Verdict.HOLDS and at_last is Verdict.HOLDS and uow.once(_final_note(done)):
            uow.record(_entry(uow, done, "step.final", "Final on its chain"))


def _asked(looking: Looking, done: Step, account: AccountId | None) -> tuple[Verdict, Verdict]:
    """Return whether it holds in the newest block, and whether in the newest final one."""
    return _answer(looking, done, account, final=False), _answer(looking, done, account, final=True)


def _answer(looking: Looking, done: Step, account: AccountId | None, *, final: bool) -> Verdict:
    try:
        ctx = _context(looking, done, account, final=final)
        return looking.actions[done.action].stands(ctx, done.receipt)
    except PortcullisError:
        return Verdict.CANNOT_TELL


def _context(looking: Looking, done: Step, account: AccountId | None, *, final: bool) -> ActionContext:
    vault, multisig = looking.vault, looking.multisig
    if final:
        vault, multisig = vault and vault.final(), multisig and multisig.final()
    return ActionContext(
        target=done.target,
        params=done.params,
        key=done.idempotency_key,
        clock=looking.clock,
        account_id=account,
        vault=vault,
        multisig=multisig,
    )


def _do_again(looking: Looking, uow: UnitOfWork, seen: Step) -> None:
    incident = uow.incidents.lock_incident(seen.incident_id)
    done = uow.plans.step(seen.id)
    if done.state is not StepState.DONE or done.fence != seen.fence or _is_taken_back(looking, uow, done):
        return
    uow.plans.do_again(done.id)
    uow.incidents.reopen(incident.id)
    sentence = "No longer on its chain: its block was dropped, or somebody took it back. It is done again"
    uow.record(_entry(uow, done, "step.vanished", sentence), StepReady(done.id, done.lane.value))


def _is_taken_back(looking: Looking, uow: UnitOfWork, done: Step) -> bool:
    """Say whether a step that undoes it was let go, of this incident or of another, or was done since."""
    back = looking.actions[done.action].undone_by
    if back is None:
        return False
    own = [s for s in uow.plans.steps_of(done.incident_id) if s.action == back and s.target == done.target]
    return (
        any(s.state in _LET_GO for s in own)
        or bool(uow.plans.also_needed_by(done, [back]))
        or uow.plans.done_since(done, back)
    )


def _final_note(done: Step) -> str:
    return f"step.final:{done.id}:{done.fence}"


def _account(uow: UnitOfWork, done: Step) -> AccountId | None:
    ref = done.target.value if done.target.kind == "account" else done.target.account
    found = None if ref is None else uow.registry.account_at(AccountRef(done.target.connection, ref))
    return None if found is None else found.id


def _entry(uow: UnitOfWork, done: Step, kind: str, what: str) -> Entry:
    facts = {"action": done.action, "target": done.target.value, "connection": done.target.connection}
    sentence = f"{what}: {done.action} on {done.target.value}"
    return Entry(kind=kind, at=uow.now, subject=done.id, sentence=sentence, incident_id=done.incident_id, facts=facts)
