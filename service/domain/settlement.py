"""Settling by people what no machine can: whether the effect of a step in `unknown` happened (design D5).

Rules: people say only what is so, never what to do about it. What happened is done; what did not has failed, and is asked
for anew where it is still wanted, with votes of its own: nothing is ever repeated on a person's word. The item names the
attempt, so that votes about one lost answer settle no later one. It takes a quorum, because a wrong word does harm; how
many people depends on which word, and on what it stands in for:

- "It did not happen" of what tightens ends the tightening: nobody keeps it from being loosened any more. It takes no fewer
  people than the action that loosens it, or, where there is none, than `RESUME`.
- "It happened" of what tightens ends the asking. Wrong, a hold is believed that is none, until the next alert; the gate and
  whoever asks for the step again need nobody's leave. It may be quick: a quorum of its own, one approver unless told.
- Either word of what loosens or cannot be undone takes no fewer people than the step itself did. "It happened" lets go on
  what waits for it (a key is retired once its funds are swept) and takes the tightening as lifted; "it did not" calls
  tight what may be loose, and has the step asked for a second time.

The item names the action that sets the number, and the policy does the counting, so that the authority and the executing
worker both know it.
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


RESUME: Final = "resume_withdrawals"
"""The plainest loosening: an account pays again."""
_WORDS: Final = {
    Outcome.HAPPENED: "it happened; the step counts as done and nothing asks about it any more",
    Outcome.DID_NOT_HAPPEN: "it did not happen; the step has failed and is not tried again",
}


def require_unknown(step: Step) -> None:
    """Raise ConflictError unless the step is in `unknown`: anything else the machines still settle, or have settled."""
    if step.state is not StepState.UNKNOWN:
        raise ConflictError(f"step {step.id} is {step.state.value}: people settle only what is unknown", field="step")


def stands_in_for(action: str, effect: Effect, undone_by: str | None, outcome: Outcome) -> str | None:
    """Return the action whose quorum settling an action's step may not undercut, as the action was declared."""
    if effect is not Effect.TIGHTENS:
        return action
    return None if outcome is Outcome.HAPPENED else undone_by or RESUME


def settlement_item(step: Step, outcome: Outcome, like: str | None) -> Item:
    """Return the item that asks to settle one step's latest attempt under no smaller quorum than that of `like`."""
    return Item(
        step="",
        action=f"settle.{outcome.value}" + (f".{like}" if like else ""),
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
    _, word, _ = f"{item.action}..".split(".", 2)
    if word not in set(Outcome) or not item.params.get("step"):
        raise ConflictError(f"{item.action} settles no step")
    return str(item.params["step"]), Outcome(word)
