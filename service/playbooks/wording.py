"""A step as people read it before they approve it: its action's title, and everything that the plan adds to it."""

from collections.abc import Sequence
from typing import Final

from service.domain import threshold
from service.domain.plan import Effect, Step

MOST_ADDRESSES: Final = 20
"""A sentence names; more would be cut at the end of a document's text, in the middle of an address."""


def step_sentence(title: str, step: Step) -> str:
    """Return the sentence; destinations and recipients stand in it in full, and the first new addresses.

    All of them stand in the step's parameters, which people read below it.
    """
    text = title.format(target=step.target.value)
    for one in step.params.get("destinations") or ():  # type: ignore[attr-defined]  # our own planner's list
        text += f"; to {one['descriptor']} on {one['chain']}"
    if addresses := str(step.params.get("address") or "").split():
        more = len(addresses) - MOST_ADDRESSES
        shown = " ".join(addresses[:MOST_ADDRESSES])
        text += f"; the address is {shown}" if more <= 0 else f"; the addresses are {shown} and {more} more, see below"
    if successor := step.params.get("successor"):
        text += f"; it is {successor}, of {step.target.account}"
    if threshold.SIGNATURES in step.params:
        text += f"; {threshold.asked(step.params).sentence}"
    if step.params.get(threshold.SAFES):
        text += _lowered(step)
    if recipient := step.params.get("recipient"):
        text += f"; the letter goes to {step.params.get('issuer')}, {recipient}, over {step.params.get('channel')}"
    return text


def only_if(incident_id: str, steps: Sequence[Step]) -> list[str]:
    """Return what must still be so when steps of one document begin; what only loosens may follow the closing."""
    unchanged = "the step has not been changed since"
    if all(step.effect is Effect.LOOSENS for step in steps):
        return [unchanged]
    return [f"incident {incident_id} is not closed and {unchanged}"]


def _lowered(step: Step) -> str:
    safes = threshold.lowers(step.params)
    shown = [f"{one.before} instead of {one.signatures} at {at}" for at, one in safes.items()][:MOST_ADDRESSES]
    more = len(safes) - len(shown)
    return f"; that is {', '.join(shown)}" + (f" and at {more} more, see below" if more else "")
