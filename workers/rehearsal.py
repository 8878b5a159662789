"""Goes the way from an alert to its hold once at start, without effect, so that the first real one does not pay for firsts.

Rules: it is the real code against the real database with the worker's own rights, in one transaction that is rolled back,
on a made-up alert; no platform is called, nothing is left, told, published or paged. Its locks have names of their own, so
no real hold ever waits for it. What a first hold would pay for is building some forty statements, loading what is imported
when it is needed, and opening a connection. A rehearsal that fails is logged and stops nobody.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Final, NoReturn

import structlog
from sqlalchemy import Connection

from service.custody.base import LackingCalls
from service.domain.account import Account, AccountRef, Holder
from service.domain.errors import NotFoundError, UnknownOutcomeError
from service.domain.ids import AccountId, ActivityId, AlertId, ConnectionId, IncidentId
from service.domain.incident import Alert, IncidentKind, Severity
from service.domain.pace import Limit
from service.domain.plan import Receipt, StepState, Verdict
from service.flow import contain, respond, triage
from service.flow.contain import Hands
from service.flow.respond import Desk
from service.ports.custody import Capability, ConnectionConfig, PendingTransfer
from service.store.database import SqlDatabase
from service.store.incidents import IncidentRepository
from service.store.registry import RegistryRepository
from service.store.unit_of_work import SqlUnitOfWork

NAME: Final = "rehearsal"
ACTION: Final = "suspend_withdrawals"

log = structlog.get_logger(__name__)


class _EndedError(Exception):
    """Rolls back what was rehearsed."""


def rehearse(db: SqlDatabase, desk: Desk, hands: Hands) -> bool:
    """Rehearse; say whether all of it went. Never raises."""
    try:
        with suppress(_EndedError), db.begin(on_disk=False) as uow:
            _play(_Scene(uow, hands), desk, hands)
    except Exception as error:
        log.exception("rehearsal.failed", error=type(error).__name__)
        return False
    return True


def _play(scene: "_Scene", desk: Desk, hands: Hands) -> NoReturn:
    incident = triage.triage(scene, scene.alert.id)
    respond.plan(replace(desk, db=scene), incident)
    dry = replace(hands, db=scene, keep=lambda _step, _fence: nullcontext(), platform=_nowhere)
    (hold,) = (step.id for step in scene.uow.plans.steps_of(incident) if step.action == ACTION)
    contain.step(dry, hold)
    if scene.uow.plans.step(hold).state is not StepState.DONE:
        raise UnknownOutcomeError("the step that was rehearsed is not done")
    scene.uow.pace.turn(scene.at.connection, Limit(1), urgent=True)
    scene.uow.pace.busy()
    scene.uow.handed_over(0, NAME)
    scene.uow.once(f"{NAME}:{os.getpid()}")
    raise _EndedError


class _Scene:
    """Stands for the database: every transaction is the one that is rolled back."""

    def __init__(self, uow: SqlUnitOfWork, hands: Hands) -> None:
        self.at = AccountRef(ConnectionId(f"{NAME}-{os.getpid()}"), NAME)
        self.alert = Alert(
            id=AlertId(NAME),
            connection=self.at.connection,
            activity_id=ActivityId(NAME),
            dedup_key=NAME,
            kind=IncidentKind.SIGNING_TAMPERING,
            severity=Severity.CRITICAL,
            decision="hold",
            score=1.0,
            p_value=1.0,
            entities=(f"account:{self.at.entity}", f"actor:{self.at.entity}", f"destination:eip155:1:{NAME}"),
            amount_usd=Decimal(1),
            raised_at=hands.clock.now(),
        )
        self.uow = _Uow(uow, self)

    @contextmanager
    def begin(self, *, on_disk: bool = True) -> Iterator[SqlUnitOfWork]:  # noqa: ARG002  nothing gets there
        """Lend the transaction."""
        yield self.uow


class _Uow(SqlUnitOfWork):
    def __init__(self, real: SqlUnitOfWork, scene: _Scene) -> None:
        super().__init__(real.connection, real.now)
        self._scene = scene

    @cached_property
    def incidents(self) -> IncidentRepository:
        return _Incidents(self.connection, self.now, self._scene.alert)

    @cached_property
    def registry(self) -> RegistryRepository:
        return _Registry(self.connection, self.now, self._scene.at)

    def lock(self, name: str, *, at_once: bool = True, with_api: bool = False) -> None:
        super().lock(f"{NAME}:{os.getpid()}:{name}", at_once=at_once, with_api=with_api)


class _Incidents(IncidentRepository):
    """Knows one alert more than the table; asks all the same."""

    def __init__(self, connection: Connection, now: datetime, alert: Alert) -> None:
        super().__init__(connection, now)
        self._alert = alert

    def alert(self, alert_id: AlertId) -> Alert:
        with suppress(NotFoundError):
            super().alert(alert_id)
        return self._alert

    def alerts_of(self, incident_id: IncidentId) -> Sequence[Alert]:
        return [*super().alerts_of(incident_id), self._alert]


class _Registry(RegistryRepository):
    """Knows one account more than the table; asks all the same."""

    def __init__(self, connection: Connection, now: datetime, at: AccountRef) -> None:
        super().__init__(connection, now)
        self._account = Account(AccountId(NAME), at, Holder.PLATFORM, (), NAME, None)

    def account_at(self, at: AccountRef) -> Account | None:
        super().account_at(at)
        return self._account

    def accounts_at(self, at: Sequence[AccountRef]) -> Sequence[Account]:
        return [*super().accounts_at(at), self._account]


class _Nowhere(LackingCalls):
    """A platform that says yes and does not exist."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.HOLD_OUTGOING})

    def _out_of_reach(self, capability: Capability) -> str:
        return f"a {NAME} has no {capability.value}"

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:  # noqa: ARG002  there is none
        return iter(())

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt:  # noqa: ARG002  there is none
        return Receipt(key, {})

    def outgoing_held(self, account: AccountRef) -> Verdict:  # noqa: ARG002  there is none
        return Verdict.HOLDS


def _nowhere(at: ConnectionId) -> _Nowhere:
    return _Nowhere(ConnectionConfig(at, NAME, {}, _no_secret, ()), {})


def _no_secret(name: str) -> bytes:
    raise NotFoundError(f"a {NAME} has no secret {name!r}")
