"""When a prepared rotation is planned on, and what of an earlier one is not done any more.

Rules: the newest rotation of an account that is prepared is the one that is published, whatever was published before: where
more turned out lost, its addresses are others. What still waits to publish given-up addresses is refused: whoever is paid
there pays the thief.
"""

from collections.abc import Sequence
from typing import Final

from service.domain.plan import FINISHED, Step, StepState
from service.playbooks.planner import newest

PREPARE: Final = "prepare_rotation"
PUBLISH: Final = "publish_address"
GIVEN_UP: Final = "its addresses were given up for those of a deeper rotation, which has a step of its own"
_PLANNED: Final = (PUBLISH, "retire_key")
_NOT_BEGUN: Final = frozenset({StepState.WAITING_STEP, StepState.WAITING_APPROVAL, StepState.READY})


def rotation_is_due(steps: Sequence[Step]) -> bool:
    """Say whether every preparation has ended, and one gave new addresses that no later plan publishes."""
    prepared = [s for s in steps if s.action == PREPARE]
    return all(s.state in FINISHED for s in prepared) and any(
        s.state is StepState.DONE and not _is_planned_on(s, steps) for s in prepared
    )


def given_up(steps: Sequence[Step]) -> Sequence[Step]:
    """Return the steps that wait to publish other addresses than a newer one of the same account."""
    waiting = [s for s in steps if s.action == PUBLISH and s.state in _NOT_BEGUN]
    return [s for s in waiting if (last := newest(PUBLISH, s.target, steps)) is not None and _is_other(s, last)]


def _is_planned_on(prepared: Step, steps: Sequence[Step]) -> bool:
    return any(s.action in _PLANNED and s.target == prepared.target and s.plan_id > prepared.plan_id for s in steps)


def _is_other(step: Step, last: Step) -> bool:
    return step.id != last.id and step.params.get("address") != last.params.get("address")
