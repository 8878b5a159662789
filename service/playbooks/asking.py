"""Asks people for what a plan may not do by itself: one request for as many of its steps as one document can show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from service.actions.base import ContainmentAction
from service.domain.approval import ActionDocument, Draft, step_item
from service.domain.errors import ApprovalError, InputError
from service.domain.incident import Incident
from service.domain.plan import Step
from service.playbooks.wording import only_if, step_sentence
from service.ports.store.unit import UnitOfWork


@dataclass(frozen=True, slots=True)
class Asking:
    """What the requests of one plan have in common."""

    incident: Incident
    plan_digest: str
    because: str
    """What is taken to be lost."""
    requester: str
    balances: Mapping[str, Decimal]
    """Last told balance in USD by account entity."""
    actions: Mapping[str, ContainmentAction]


def asked(
    uow: UnitOfWork, asking: Asking, steps: Sequence[Step]
) -> Iterator[tuple[Sequence[Step], ActionDocument | str]]:
    """Ask for steps together; yield them with their document, or with why there is none.

    One step that no document can show (an attacker chose an id with a direction mark in it) must not stop the others, so
    what cannot be asked for together is asked for by halves, and an action that nobody can approve is left out.
    """
    try:
        yield steps, uow.approvals.propose(_draft(asking, steps))
    except ApprovalError as error:
        why = uow.approvals.unwinnable(_draft(asking, steps)) or {s.action: str(error) for s in steps}
        yield from (((s,), why[s.action]) for s in steps if s.action in why)
        if rest := [s for s in steps if s.action not in why]:
            yield from asked(uow, asking, rest)
    except InputError as error:
        if len(steps) == 1:
            yield steps, str(error)
            return
        half = len(steps) // 2
        yield from asked(uow, asking, steps[:half])
        yield from asked(uow, asking, steps[half:])


def _draft(asking: Asking, steps: Sequence[Step]) -> Draft:
    incident = asking.incident
    sweeps = [s for s in steps if s.action in {"sweep_to_safe", "sweep_multisig"}]
    named = {s.target.value: f"account:{s.target.connection}/{s.target.value}" for s in sweeps}
    balances = {ref: asking.balances.get(entity, 0) for ref, entity in named.items()}
    return Draft(
        what=[step_item(s, step_sentence(asking.actions[s.action].title, s)) for s in steps],
        why=f"{incident.title} ({incident.severity.word}); {asking.because}",
        requester=asking.requester,
        incident=incident.id,
        plan_digest=asking.plan_digest,
        amounts={f"last told balance of {ref} in USD": str(balance) for ref, balance in balances.items()},
        preconditions=only_if(incident.id, steps),
    )
