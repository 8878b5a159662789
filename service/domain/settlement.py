"""Settling by people what no machine can: whether the effect of a step in `unknown` happened (design D5).

Rules: people say only what is so, never what to do about it. What happened is done; what did not has failed, and is asked
for anew where it is still wanted, with votes of its own: nothing is ever repeated on a person's word. The item names the
attempt, so that votes about one lost answer settle no later one. It takes a quorum, because a wrong word blinds: a hold
that is called done without being one would let an incident look contained.
"""

from enum import StrEnum
from typing import Final

from service.domain.approval import Item, one_line, target_fields
from service.domain.errors import ConflictError
from service.domain.plan import Effect, Step, StepState


class Outcome(StrEnum):
    """What people say of a step's effect."""

    HAPPENED = "happened"
    DID_NOT_HAPPEN = "did_not_happen"


_WORDS: Final = {
    Outcome.HAPPENED: "it happened; the step counts as done and nothing asks about it any more",
    Outcome.DID_NOT_HAPPEN: "it did not happen; the step has failed and is not tried again",
}


def require_unknown(step: Step) -> None:
    """Raise ConflictError unless the step is in `unknown`: anything else the machines still settle, or have settled."""
    if step.state is not StepState.UNKNOWN:
        raise ConflictError(f"step {step.id} is {step.state.value}: people settle only what is unknown", field="step")


def settlement_item(step: Step, outcome: Outcome) -> Item:
    """Return the item that asks to settle one step's latest attempt."""
    return Item(
        step="",
        action=f"settle.{outcome.value}",
        effect=Effect.LOOSENS,
        target=target_fields(step.target),
        params={"step": step.id, "action": step.action, "attempt": step.attempt, "incident": step.incident_id},
        sentence=one_line(
            f"Settle {step.action.replace('_', ' ')} on {step.target.value}, whose outcome nobody could tell:"
            f" {_WORDS[outcome]}."
        ),
    )


def settled_by(item: Item) -> tuple[str, Outcome]:
    """Return the step id and the outcome that an item tells. Raises ConflictError for any other item."""
    word = item.action.partition(".")[2]
    if word not in set(Outcome) or not item.params.get("step"):
        raise ConflictError(f"{item.action} settles no step")
    return str(item.params["step"]), Outcome(word)
