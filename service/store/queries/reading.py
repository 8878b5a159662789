"""What the analyst API lists and shows of alerts, accounts, connections, activities and reviews: never a secret column."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, exists, func, not_, or_, select

from service.domain.errors import NotFoundError
from service.domain.reports import SAMPLED
from service.store.queries.pages import Page, Record, Span, page
from service.store.reports import alike_vouched
from service.store.tables.access import api_tokens
from service.store.tables.activity import activities
from service.store.tables.attention import reviews
from service.store.tables.incident import alerts, vouched
from service.store.tables.keys import accounts, safe_destinations
from service.store.tables.proof import outbox
from service.store.tables.registry import connections, people

_ACTIVITY_COLUMNS: Final = [c for c in activities.c if c.name not in ("raw", "body_digest")]
_CONNECTION_COLUMNS: Final = [c for c in connections.c if c.name != "config"]
_TOKEN_COLUMNS: Final = [c for c in api_tokens.c if c.name != "token_hash"]

_PERSON: Final = re.compile(r"\bper_[0-9A-Z]{26}\b")


def one(connection: Connection, query: Select[Any], what: str) -> Record:
    """Return the one row of a query. Raises NotFoundError that names what was looked for."""
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no {what}")
    return dict(row)


def equal(query: Select[Any], table: Table, filters: Mapping[str, object | None]) -> Select[Any]:
    """Return the query with one condition per filter that is not None."""
    for name, value in filters.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    return query


def alerts_page(connection: Connection, span: Span, filters: Mapping[str, object | None], *, waiting: bool) -> Page:
    """Alerts, newest first. `filters`: incident_id, connection_id, kind; `waiting`: only those without a verdict."""
    query = equal(select(alerts), alerts, filters)
    if waiting:
        query = query.where(alerts.c.verdict.is_(None))
    return page(connection, query, alerts.c.id, span, "alr")


def alert(connection: Connection, alert_id: str) -> Record:
    """One alert. Raises NotFoundError."""
    return one(connection, select(alerts).where(alerts.c.id == alert_id), f"alert {alert_id}")


def accounts_page(
    connection: Connection, span: Span, filters: Mapping[str, object | None], *, live: bool | None
) -> Page:
    """Registered accounts, newest first. `filters`: connection_id, ref; `live`: only those that are or are not."""
    query = equal(select(accounts), accounts, filters)
    if live is not None:
        query = query.where(accounts.c.live_since.is_not(None) if live else accounts.c.live_since.is_(None))
    return page(connection, query, accounts.c.id, span, "acc")


def account(connection: Connection, account_id: str) -> Record:
    """One account with its safe destinations. Raises NotFoundError."""
    found = dict(one(connection, select(accounts).where(accounts.c.id == account_id), f"account {account_id}"))
    rows = connection.execute(
        select(
            safe_destinations.c.chain,
            safe_destinations.c.descriptor,
            safe_destinations.c.active_from,
            safe_destinations.c.signature.is_not(None).label("signed"),
        )
        .where(safe_destinations.c.account_id == account_id)
        .order_by(safe_destinations.c.active_from.desc())
    )
    found["safe_destinations"] = [dict(row) for row in rows.mappings()]
    return found


def connections_page(connection: Connection, span: Span) -> Page:
    """Every connection; its settings and secrets stay inside."""
    return page(connection, select(*_CONNECTION_COLUMNS), connections.c.id, span, "con")


def connection_row(connection: Connection, connection_id: str) -> Record:
    """One connection. Raises NotFoundError."""
    query = select(*_CONNECTION_COLUMNS).where(connections.c.id == connection_id)
    return one(connection, query, f"connection {connection_id}")


def activities_page(
    connection: Connection, span: Span, filters: Mapping[str, str], *, anomalous: bool, sample: bool
) -> Page:
    """Activities with their assessments, newest first; only what equals all filters (by column).

    `sample`: only what people may vouch for (`domain/reports.py`) and nobody spoke of, or lately of its destination, yet.
    """
    query = equal(select(*_ACTIVITY_COLUMNS), activities, filters)
    if anomalous:
        query = query.where(activities.c.decision != "allow")
    if sample:
        query = query.where(
            activities.c.decision == "allow", _drawn(), not_(or_(_spoken_of(), alike_vouched(func.now())))
        )
    return page(connection, query, activities.c.id, span, "act")


def _drawn() -> ColumnElement[bool]:
    """What `domain.reports.is_sampled` says, in SQL."""
    digest = func.sha256(func.convert_to(activities.c.id, "UTF8"))
    return func.get_byte(digest, 0) * 256 + func.get_byte(digest, 1) < SAMPLED


def _spoken_of() -> ColumnElement[bool]:
    alerted = exists().where(alerts.c.activity_id == activities.c.id)
    return or_(alerted, exists().where(vouched.c.activity_id == activities.c.id))


def activity(connection: Connection, activity_id: str, *, with_body: bool) -> Record:
    """One activity; its raw body only where asked for. Raises NotFoundError."""
    columns = [*_ACTIVITY_COLUMNS, activities.c.raw] if with_body else _ACTIVITY_COLUMNS
    return one(connection, select(*columns).where(activities.c.id == activity_id), f"activity {activity_id}")


def review(connection: Connection, incident_id: str) -> Record:
    """One review. Raises NotFoundError."""
    query = select(reviews).where(reviews.c.incident_id == incident_id)
    return one(connection, query, f"review of {incident_id} yet: it is written when the incident is closed")


def review_page(connection: Connection, incident_id: str) -> str:
    """One review's page, which is stored with people's ids, with the names that they have now. Raises NotFoundError.

    Who shares his name with anybody, on the page or not, keeps his id: the page is evidence of who decided.
    """
    html = str(review(connection, incident_id)["html"])
    there = set(_PERSON.findall(html))
    names = select(people.c.name).where(people.c.id.in_(there))
    named = connection.execute(select(people.c.id, people.c.name).where(people.c.name.in_(names))).all()
    often = Counter(row.name for row in named)
    shown = {row.id: escape(row.name) for row in named if often[row.name] == 1}
    return _PERSON.sub(lambda found: shown.get(found.group(), found.group()), html)


def tokens_page(connection: Connection, span: Span, usable_at: datetime | None) -> Page:
    """API tokens without their hashes, newest first; with a moment, only those that were usable then."""
    query = select(*_TOKEN_COLUMNS)
    if usable_at is not None:
        in_time = api_tokens.c.expires_at.is_(None) | (api_tokens.c.expires_at > usable_at)
        query = query.where(api_tokens.c.revoked_at.is_(None), in_time)
    return page(connection, query, api_tokens.c.id, span, "tok")


def token(connection: Connection, token_id: str) -> Record:
    """One token without its hash. Raises NotFoundError."""
    return one(connection, select(*_TOKEN_COLUMNS).where(api_tokens.c.id == token_id), f"token {token_id}")


def events_after(
    connection: Connection, after: int, missing: Sequence[int], limit: int, settled_before: datetime
) -> Sequence[Record]:
    """Events of the outbox above an id, or among ids that were missing before, oldest first: names and ids only.

    `settled` says whether one is older than a moment.
    """
    settled = (outbox.c.created_at < settled_before).label("settled")
    rows = connection.execute(
        select(outbox.c.id, outbox.c.event, outbox.c.payload, settled)
        .where((outbox.c.id > after) | outbox.c.id.in_(missing))
        .order_by(outbox.c.id)
        .limit(limit)
    )
    return [dict(row) for row in rows.mappings()]


def newest_event(connection: Connection) -> int:
    """Return the id of the newest event, 0 when there is none."""
    return connection.execute(select(outbox.c.id).order_by(outbox.c.id.desc()).limit(1)).scalar() or 0
