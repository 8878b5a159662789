"""Scenes and templates for the tests of planning."""

from collections.abc import Sequence
from dataclasses import replace

from service.actions.base import actions_in
from service.domain.account import Account, AccountRef, Holder
from service.domain.ids import AccountId, ConnectionId, IncidentId, PlanId
from service.domain.incident import Severity
from service.domain.plan import Step, StepState, Target
from service.playbooks.model import Selector, StepTemplate
from service.playbooks.planner import Scene, planned

ACTIONS = actions_in("service.actions")
ONE, TWO = ConnectionId("con-a"), ConnectionId("con-b")
PLAN, LATER = PlanId("pln_1"), PlanId("pln_2")
THIEF = Target("destination", ONE, "eip155:1:0xthief", "hot-1")
CRITICAL = Severity.CRITICAL


def account(ref: str, connection: ConnectionId = ONE, holder: Holder = Holder.PLATFORM) -> Account:
    return Account(AccountId(f"acc-{ref}"), AccountRef(connection, ref), holder, (), "default", None)


def scene(*accounts: Account, **known: object) -> Scene:
    empty = Scene(
        incident_id=IncidentId("inc_1"),
        severity=CRITICAL,
        accounts=accounts,
        exposed=accounts,
        scopes={},
        destinations=(),
        actors=(),
        connections=(),
        behind={},
        balances={},
        safe={},
        addresses={},
        existing=(),
    )
    return replace(empty, **known)  # type: ignore[arg-type]  # each test names fields of a Scene


def template(action: str, targets: Selector, *after: str, severity: str = "high") -> StepTemplate:
    return StepTemplate(action=action, targets=targets, from_severity=severity, after=after)  # type: ignore[arg-type]  # a word


SUSPEND = template("suspend_withdrawals", Selector.ACCOUNTS)
FORBID = template("forbid_one_time_addresses", Selector.CONNECTIONS)
LOCK = template("lock_destination", Selector.DESTINATIONS)
PREPARE = template("prepare_rotation", Selector.EXPOSED_KEYS)
PUBLISH = template("publish_address", Selector.EXPOSED_KEYS)
SWEEP = template("sweep_to_safe", Selector.EXPOSED_KEYS)
RETIRE = template("retire_key", Selector.EXPOSED_KEYS, "sweep_to_safe")


def plan(found: Scene, *templates: StepTemplate, into: PlanId = PLAN) -> tuple[Step, ...]:
    return planned(templates, found, ACTIONS, into)


def ended(steps: Sequence[Step], state: StepState = StepState.DONE) -> tuple[Step, ...]:
    return tuple(replace(step, state=state) for step in steps)


def values(steps: Sequence[Step]) -> list[str]:
    return [step.target.value for step in steps]


# targets
