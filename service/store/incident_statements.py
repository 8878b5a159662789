"""The statements about alerts and incidents that a hold waits for, each made once: that takes longer than running one."""

from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.types import Text

from service.domain.incident import IncidentState
from service.store.tables.activity import activities, learning_requests
from service.store.tables.incident import alerts, incidents
from service.store.tables.keys import accounts

ALERT: Final = select(alerts).where(alerts.c.id == bindparam("alert"))
ALERTS_OF: Final = select(alerts).where(alerts.c.incident_id == bindparam("incident")).order_by(alerts.c.id)
_OTHERS: Final = alerts.alias("others")
JOIN_ALERT: Final = (
    update(alerts)
    .where(alerts.c.id == bindparam("alert"))
    .values(
        incident_id=bindparam("incident"),
        place=select(func.coalesce(func.max(_OTHERS.c.place), 0) + 1)
        .where(_OTHERS.c.incident_id == bindparam("incident"))
        .scalar_subquery(),
    )
)
INCIDENT: Final = select(incidents).where(incidents.c.id == bindparam("incident"))
INCIDENT_LOCKED: Final = INCIDENT.with_for_update()
ADD: Final = insert(incidents).inline()
ASK_LEARNING: Final = insert(learning_requests).inline()
OPEN_SHARING: Final = (
    select(incidents)
    .where(
        incidents.c.state != IncidentState.CLOSED.value,
        incidents.c.entities.op("&&")(bindparam("entities", type_=ARRAY(Text))),
        or_(
            select(alerts.c.id)
            .where(alerts.c.incident_id == incidents.c.id, alerts.c.last_at >= bindparam("since"))
            .exists(),
            incidents.c.opened_at >= bindparam("since"),
        ),
    )
    .order_by(incidents.c.opened_at, incidents.c.id)
    .with_for_update()
)
_NAMED: Final = (
    func.unnest(*(bindparam(name, type_=ARRAY(Text)) for name in ("connections", "refs")))
    .table_valued("connection", "ref")
    .render_derived()
)
SHARING: Final = select(accounts.c.connection_id, accounts.c.ref).where(
    accounts.c.wallet_id.in_(
        select(accounts.c.wallet_id)
        .join(_NAMED, and_(accounts.c.connection_id == _NAMED.c.connection, accounts.c.ref == _NAMED.c.ref))
        .where(accounts.c.wallet_id.is_not(None))
    )
)
_RECENT: Final = 5_000
"""How far back an account's balances are looked for: its newest activities that told one."""


def _balances() -> Select[Any]:
    """Return the sum of each account's newest told balances, one for each asset."""
    columns = (bindparam(name, type_=ARRAY(Text)) for name in ("connections", "refs"))
    wanted = func.unnest(*columns).table_valued("connection", "ref").render_derived()
    recent = (
        select(activities.c.asset, activities.c.balance_usd, activities.c.id)
        .where(
            activities.c.connection_id == wanted.c.connection,
            activities.c.account == wanted.c.ref,
            activities.c.balance_usd.is_not(None),
        )
        .order_by(activities.c.id.desc())
        .limit(_RECENT)
        .correlate(wanted)
        .lateral("recent")
    )
    newest = (
        select(recent.c.balance_usd)
        .ext(distinct_on(recent.c.asset))
        .order_by(recent.c.asset, recent.c.id.desc())
        .lateral("newest")
    )
    told = select(func.sum(newest.c.balance_usd).label("balance_usd")).lateral("told")
    known = wanted.join(told, told.c.balance_usd.is_not(None))
    return select(wanted.c.connection, wanted.c.ref, told.c.balance_usd).select_from(known)


BALANCES: Final = _balances()
