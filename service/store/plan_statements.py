"""The statements about plans and steps that a hold waits for, each made once: making one takes longer than running it.

A lease that ends further ahead than any lease lasts, and a due time further ahead than any pause, were written while a
clock was wrong: they are over.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.types import BigInteger, DateTime, Text

from service.domain.plan import NEARBY_ACTION, Effect, Lane, StepState, allowed
from service.store.plan_rows import NEW_STEP
from service.store.quick import DIALECT
from service.store.tables.incident import alerts, plans, steps

WORKABLE: Final = tuple(s.value for s in (StepState.READY, StepState.RUNNING, StepState.VERIFYING, StepState.UNKNOWN))
NOT_BEGUN: Final = (StepState.WAITING_APPROVAL, StepState.WAITING_STEP, StepState.READY)
GRACE: Final = timedelta(seconds=5)
"""How long the event that made a step ready has to bring it to a worker before the sweeper does."""
_STRIDE: Final = 1 + func.floor(func.random() * 2**31).cast(BigInteger)
"""How much further each claim's fence is: at random, because a database that crashed may have forgotten a claim, and the
next one must not get the same number (the claim's transaction does not wait for the disk)."""
FURTHEST: Final = timedelta(minutes=30)
"""No step is ever put off for longer: a due time further ahead was written while a clock was wrong, and is over."""
_LONGEST_LEASE: Final = timedelta(minutes=1)
"""The same for leases."""
_NOW: Final = bindparam("now", type_=DateTime(timezone=True))


CONNECTION: Final = literal_column("steps.target ->> 'connection'", type_=Text)
"""A step's connection as `ix_steps_connection` has it: a key that is a parameter is not the index's."""


def among(state: ColumnElement[str], states: Iterable[str]) -> ColumnElement[bool]:
    """Whether a state is one of ours, written out in the statement, so that a plan for any values knows the index."""
    return state.in_([literal_column(f"'{one}'") for one in states])


def is_over(moment: ColumnElement[Any], furthest: timedelta) -> ColumnElement[bool]:
    """Past, or so far ahead that only a clock that was set back can be the reason."""
    return or_(moment <= _NOW, moment > _NOW + furthest)


def _opposed() -> ColumnElement[bool]:
    """Somebody works on a step that loosens where this one tightens, or the other way round.

    Or on another use of the target's keys, where neither tightens: each moves what the other one goes by.
    """
    other = steps.alias("other")
    tightens = Effect.TIGHTENS.value
    here = and_(*(other.c.target[name].astext == steps.c.target[name].astext for name in ("connection", "value")))
    leased = and_(other.c.lease_until > _NOW, other.c.lease_until <= _NOW + _LONGEST_LEASE)
    against = (other.c.effect == tightens) != (steps.c.effect == tightens)
    keys = Lane.KEYS.value
    of_keys = and_(other.c.lane == keys, steps.c.lane == keys, other.c.effect != tightens, steps.c.effect != tightens)
    return select(other.c.id).where(among(other.c.state, WORKABLE), leased, here, or_(against, of_keys)).exists()


PASSED: Final = func.clock_timestamp(type_=DateTime(timezone=True)) - func.transaction_timestamp(
    type_=DateTime(timezone=True)
)
"""How long the transaction has lasted: a lease counts from when it is written, not from before the waits for locks."""
ADD: Final = insert(plans).inline()
_NAMES: Final = ", ".join(f'"{name}"' for name in NEW_STEP)
_TYPED: Final = ", ".join(f'"{name}" {steps.c[name].type.compile(dialect=DIALECT)}' for name in NEW_STEP)
ADD_STEPS: Final = text(
    f"INSERT INTO steps ({_NAMES}) SELECT {_NAMES} FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS one ({_TYPED})"  # noqa: S608  our own columns
)
"""All steps of a plan, each a JSON object."""
FREE: Final = or_(steps.c.lease_until.is_(None), is_over(steps.c.lease_until, _LONGEST_LEASE))
CLAIM: Final = (
    update(steps)
    .where(steps.c.id == bindparam("step"), among(steps.c.state, WORKABLE), FREE, ~_opposed())
    .where(or_(steps.c.due_at.is_(None), is_over(steps.c.due_at, FURTHEST)))
    .values(
        lease_owner=bindparam("lease_owner"),
        lease_until=bindparam("lease_until", type_=DateTime(timezone=True)) + PASSED,
        fence=steps.c.fence + _STRIDE,
        attempt=steps.c.attempt + case((steps.c.lease_owner.is_(None), 0), else_=1),
    )
    .returning(steps)
)
_NAMED: Final = (
    select(alerts.c.id)
    .where(
        alerts.c.incident_id == steps.c.incident_id,
        func.concat("account:", steps.c.target["connection"].astext, "/", steps.c.target["value"].astext)
        == any_(alerts.c.entities),
    )
    .exists()
)
STEP: Final = select(steps).where(steps.c.id == bindparam("step"))
STEPS_OF: Final = (
    select(steps).where(steps.c.incident_id == bindparam("incident")).order_by(steps.c.plan_id, steps.c.position)
)
IS_PLANNED: Final = select(plans.c.id).where(plans.c.incident_id == bindparam("incident")).limit(1)
KNOWN_ALERTS: Final = select(plans.c.id, plans.c.alerts).where(plans.c.incident_id == bindparam("incident"))
TOUCHED: Final = (
    select(
        steps.c.target["kind"].astext.label("kind"),
        steps.c.target["value"].astext.label("value"),
        case((steps.c.action == NEARBY_ACTION, ~_NAMED), else_=False).label("nearby"),
    )
    .distinct()
    .where(
        bindparam("connection") == CONNECTION,
        steps.c.effect == Effect.TIGHTENS.value,
        steps.c.approval_id.is_(None),
        steps.c.state != StepState.REFUSED.value,
        steps.c.created_at >= bindparam("since"),
    )
)


def before(new: StepState) -> list[str]:
    """Return the states from which a step may come to be `new`, or stay so."""
    return [state.value for state in StepState if state is new or allowed(state, new)]


MINE: Final = (
    select(steps.c.id)
    .where(steps.c.id == bindparam("step"), steps.c.fence == bindparam("its_fence"))
    .where(~FREE, steps.c.lease_until > _NOW + PASSED)
    .with_for_update()
)
"""The step, kept from everybody else, while its lease lasts: as late as it is by now, however long locks were waited for."""
INTEND: Final = (
    update(steps)
    .where(steps.c.id == bindparam("step"), steps.c.fence == bindparam("its_fence"))
    .where(among(steps.c.state, before(StepState.RUNNING)))
    .values(
        state=StepState.RUNNING.value,
        intent_at=_NOW,
        attempt=steps.c.attempt + 1,
        deadline_at=func.coalesce(steps.c.deadline_at, bindparam("latest")),
        due_at=None,
    )
    .returning(steps.c.id)
)
WRITE: Final = text("""
    UPDATE steps SET
        state = :state,
        due_at = CAST(:due_at AS timestamptz),
        lease_owner = CASE WHEN CAST(:keep_lease AS boolean) THEN lease_owner END,
        lease_until = CASE WHEN CAST(:keep_lease AS boolean) THEN lease_until END,
        receipt = coalesce(CAST(:receipt AS jsonb), receipt),
        reason = coalesce(CAST(:reason AS text), reason),
        verdict = coalesce(CAST(:verdict AS text), verdict),
        deadline_at = coalesce(CAST(:deadline_at AS timestamptz), deadline_at),
        confirm_by = coalesce(CAST(:confirm_by AS timestamptz), confirm_by),
        intent_at = CASE WHEN NOT CAST(:did_nothing AS boolean) THEN intent_at END,
        attempt = attempt - CAST(:free AS integer),
        finished_at = coalesce(CAST(:finished_at AS timestamptz), finished_at)
    WHERE id = :step AND fence = :its_fence AND state = ANY(CAST(:before AS text[])) RETURNING id
""")
"""One statement for every change of a step that is worked on: what is NULL leaves its column as it is."""
