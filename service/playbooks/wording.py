"""A step as people read it before they approve it: its action's title, and everything that the plan adds to it."""

from service.domain.plan import Step


def step_sentence(title: str, step: Step) -> str:
    """Return the sentence; destinations, addresses and recipients stand in it in full."""
    text = title.format(target=step.target.value)
    for one in step.params.get("destinations") or ():  # type: ignore[attr-defined]  # our own planner's list
        text += f"; to {one['descriptor']} on {one['chain']}"
    if address := step.params.get("address"):
        text += f"; the address is {address}"
    if successor := step.params.get("successor"):
        text += f"; it is {successor}, of {step.target.account}"
    if recipient := step.params.get("recipient"):
        text += f"; the letter goes to {step.params.get('issuer')}, {recipient}, over {step.params.get('channel')}"
    return text
