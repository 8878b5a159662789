"""What a batch must know before it is scored, in one round trip; registered accounts are remembered.

Rules: an account is remembered for as long as `registry_version` stays the same, which every change of accounts counts up
in its own transaction, so what is remembered is never older than what a look would give. Unregistered accounts are looked
up each time. Whether a connection is live is never remembered. Each key is looked up by itself (LATERAL … LIMIT 1), so that
no statistics, which at first are those of empty tables, can make the planner read a table instead. Of almost all events
nothing is known yet: a small question asks for that first, and only another answer costs the look at everything (ADR 0051).
"""

from collections.abc import Sequence
from typing import Any, Final

from service.domain.ids import ActivityId
from service.domain.intake import (
    AccountKey,
    EventKey,
    GateDecision,
    Judged,
    KnownAccount,
    LearningRequest,
    Status,
    StoredDecision,
    StoredEvent,
    TransactionKey,
    TransactionState,
)
from service.ports.store.intake import Asked, Facts

MAX_REQUESTS: Final = 500
MAX_REMEMBERED: Final = 1_000_000
"""Accounts; beyond it all are forgotten at once."""

_STANDS: Final = """(SELECT coalesce(max(seq), 0) FROM learning) AS last,
  coalesce((SELECT sha256(payload) FROM learning ORDER BY seq DESC LIMIT 1), '') AS head,
  (SELECT seq FROM baseline_snapshot) AS saved,
  (SELECT version FROM registry_version) AS version,
  EXISTS (SELECT FROM learning_requests WHERE seq IS NULL) AS requests"""
"""Where the sequence, the snapshot and the registry stand."""
_FACTS: Final = f"""
SELECT {_STANDS},
  ARRAY(SELECT ROW(k.c, k.e, a.id, a.body_digest, a.status, a.decision, a.score, a.p_value, a.history, a.reasons)
    FROM unnest($1::text[], $2::text[]) AS k(c, e) CROSS JOIN LATERAL
    (SELECT * FROM activities WHERE connection_id = k.c AND event_id = k.e LIMIT 1) a) AS events,
  ARRAY(SELECT ROW(k.c, k.r, t.activity_id, t.account, t.asset, t.destination, t.amount_base_units::text, t.amount_usd,
    t.payload_digest, t.state, t.decision) FROM unnest($3::text[], $4::text[]) AS k(c, r) CROSS JOIN LATERAL
    (SELECT * FROM transactions WHERE connection_id = k.c AND ref = k.r LIMIT 1) t) AS transactions,
  ARRAY(SELECT ROW(k.c, k.r, a.peer_group, a.live_since IS NOT NULL) FROM unnest($5::text[], $6::text[]) AS k(c, r)
    CROSS JOIN LATERAL (SELECT * FROM accounts WHERE connection_id = k.c AND ref = k.r LIMIT 1) a) AS accounts,
  ARRAY(SELECT ROW(k.c, k.r, d.id, d.decision) FROM unnest($7::text[], $8::text[]) AS k(c, r)
    CROSS JOIN LATERAL (SELECT * FROM decisions WHERE connection_id = k.c AND request_id = k.r LIMIT 1) d) AS decisions,
  ARRAY(SELECT k.c FROM unnest($9::text[]) AS k(c) CROSS JOIN LATERAL
    (SELECT FROM accounts WHERE connection_id = k.c AND live_since IS NOT NULL LIMIT 1) a) AS live
"""  # noqa: S608  a constant
_REQUESTS: Final = (
    f"SELECT id, kind, subject, payload FROM learning_requests WHERE seq IS NULL ORDER BY id LIMIT {MAX_REQUESTS}"  # noqa: S608  a constant
)

_SCOUT: Final = f"""
SELECT {_STANDS},
  EXISTS (SELECT FROM activities WHERE connection_id = ANY(string_to_array($1, E'\\x1f'))
    AND event_id = ANY(string_to_array($2, E'\\x1f')))
  OR EXISTS (SELECT FROM transactions WHERE connection_id = ANY(string_to_array($1, E'\\x1f'))
    AND ref = ANY(string_to_array($3, E'\\x1f'))) AS known,
  ARRAY(SELECT ROW(k.c, k.r, a.peer_group, a.live_since IS NOT NULL)
    FROM unnest(string_to_array($4, E'\\x1f'), string_to_array($5, E'\\x1f')) AS k(c, r)
    CROSS JOIN LATERAL (SELECT * FROM accounts WHERE connection_id = k.c AND ref = k.r LIMIT 1) a) AS accounts
"""  # noqa: S608  a constant
"""Says too often that something is known, for what one connection has under another one's name, and never too rarely."""
_SEPARATOR: Final = "\x1f"
"""One text for many keys: an array would cost this process twice what all else of the question does."""
_SCOUTED: Final = 4
"""Connections that one question is about: it probes each of them for every key."""


class FactReader:
    """Reads the facts of batches; remembers accounts."""

    def __init__(self) -> None:
        self._version = -1
        self._accounts: dict[str, dict[str, KnownAccount]] = {}
        self._remembered = 0

    async def read(self, connection: Any, asked: Asked) -> Facts:
        """Read the facts of one batch through an asyncpg connection that has the turn."""
        facts, requested = await self.look_up(connection, asked)
        facts.requests = await self.requests(connection) if requested else ()
        return facts

    @staticmethod
    async def requests(connection: Any) -> Sequence[LearningRequest]:
        """Read the waiting requests, through a connection that has the turn: each must be taken once."""
        return [LearningRequest(*told) for told in await connection.fetch(_REQUESTS)]

    async def look_up(self, connection: Any, asked: Asked) -> tuple[Facts, bool]:
        """Read the facts of one batch but for waiting requests; say whether there are any."""
        unknown = [key for key in asked.accounts if self._known(key) is None]
        told = None if asked.history or self._remembered > MAX_REMEMBERED else _scouting(asked, unknown)
        if told is not None:
            row = await connection.fetchrow(_SCOUT, *told)
            if row["version"] == self._version and not row["known"]:
                self._remember(row["accounts"])
                facts = Facts({}, self._accounts, {}, last=row["last"], head=row["head"], saved=row["saved"])
                return facts, row["requests"]
        return await self._look_at_all(connection, asked)

    async def _look_at_all(self, connection: Any, asked: Asked) -> tuple[Facts, bool]:
        unknown = [key for key in asked.accounts if self._known(key) is None or key[0] in asked.history]
        row = await self._fetched(connection, asked, unknown)
        if row["version"] != self._version or self._remembered > MAX_REMEMBERED:
            self._accounts, self._remembered = {}, 0
            self._version = row["version"]
            if len(unknown) < len(asked.accounts):
                row = await self._fetched(connection, asked, list(asked.accounts))
        self._remember(row["accounts"])
        facts = Facts(
            events=dict(_event(told) for told in row["events"]),
            accounts=self._accounts,
            transactions=dict(_transaction(told) for told in row["transactions"]),
            decisions={
                (c, request): StoredDecision(id_, GateDecision(decision))
                for c, request, id_, decision in row["decisions"]
            },
            live=frozenset(row["live"]),
            last=row["last"],
            head=row["head"],
            saved=row["saved"],
        )
        return facts, row["requests"]

    def _remember(self, accounts: Sequence[Sequence[Any]]) -> None:
        for there, ref, group, live in accounts:
            self._accounts.setdefault(there, {})[ref] = KnownAccount(group, live)
        self._remembered += len(accounts)

    def went_live(self, keys: set[AccountKey]) -> None:
        """Note what was just committed of remembered accounts."""
        for key in keys:
            known = self._known(key)
            if known is not None:
                connection, ref = key
                self._accounts[connection][ref] = KnownAccount(known.peer_group, live=True)

    def _known(self, key: AccountKey) -> KnownAccount | None:
        # By connection and reference, not by key: a tuple for each account would have the collector follow them all.
        connection, ref = key
        return self._accounts.get(connection, {}).get(ref)

    @staticmethod
    async def _fetched(connection: Any, asked: Asked, accounts: Sequence[AccountKey]) -> Any:
        return await connection.fetchrow(
            _FACTS,
            *_columns(asked.events),
            *_columns(asked.transactions),
            *_columns(accounts),
            *_columns(asked.questions),
            list(asked.history),
        )


def _scouting(asked: Asked, unknown: Sequence[AccountKey]) -> tuple[str | None, ...] | None:
    """Return what the small question asks for; None when it would not do."""
    names = {connection for connection, _ in asked.events}
    if asked.questions or len(names) > _SCOUTED:
        return None
    events = _joined([event_id for _, event_id in asked.events])
    refs = _joined([ref for _, ref in asked.transactions])
    there, accounts = (_joined(column) for column in _columns(unknown)) if unknown else (None, None)
    if events is None or refs is None or (unknown and accounts is None):
        return None
    return _SEPARATOR.join(names), events, refs, there, accounts


def _joined(keys: Sequence[str]) -> str | None:
    """Return many keys as one text; None when they could not be told apart in it."""
    told = _SEPARATOR.join(keys)
    return None if keys and (told.count(_SEPARATOR) >= len(keys) or not all(keys)) else told


def _columns(keys: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [key[0] for key in keys], [key[1] for key in keys]


def _event(row: Sequence[Any]) -> tuple[EventKey, StoredEvent]:
    connection, event_id, id_, digest, status, decision, *judged = row
    found = None if decision is None else Judged(decision, *judged)
    return (connection, event_id), StoredEvent(ActivityId(id_), digest, Status(status), found)


def _transaction(row: Sequence[Any]) -> tuple[TransactionKey, TransactionState]:
    connection, ref, activity_id, account, asset, destination, units, *rest = row
    state = TransactionState(
        ActivityId(activity_id), account, asset, destination, None if units is None else int(units), *rest
    )
    return (connection, ref), state
