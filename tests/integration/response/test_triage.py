"""Alerts become incidents: one attack is one incident, whatever comes first and in parallel."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, insert, select, update

from service.domain.errors import UnavailableError
from service.domain.ids import AlertId, IncidentId, new_id
from service.domain.incident import Incident, IncidentKind, Severity
from service.domain.secrets import Secret
from service.flow import triage as triage_module
from service.flow.triage import triage
from service.store.database import SqlDatabase, create
from service.store.tables.activity import activities, learning_requests
from service.store.tables.incident import alerts, incidents
from service.store.tables.proof import outbox
from tests.support.authority import MovedClock
from tests.support.incidents import CONNECTION, add_account, add_alert, add_connection
from tests.support.servers import url_of_role


class Room:
    """A database, and two pairs of hands on it."""

    def __init__(self, url: str) -> None:
        self.clock = MovedClock()
        self.superuser = SqlDatabase(create(Secret(url), pool_size=2), self.clock)
        self.db = SqlDatabase(create(Secret(url_of_role(url, "portcullis_containment")), pool_size=8), self.clock)
        with self.superuser.begin() as uow:
            add_connection(uow.connection)

    def alert(self, *entities: str, **columns: object) -> AlertId:
        with self.superuser.begin() as uow:
            found = AlertId(add_alert(uow.connection, None, entities))
            if columns:
                uow.connection.execute(update(alerts).where(alerts.c.id == found).values(**columns))
        return found

    def account(self, ref: str, balance: int | None, wallet: str | None = None) -> None:
        with self.superuser.begin() as uow:
            add_account(uow.connection, ref, holder="vault_key", wallet=wallet)
            if balance is not None:
                uow.connection.execute(insert(activities).values(**an_activity(ref, balance, self.clock)))

    def triage(self, alert: AlertId) -> IncidentId:
        return triage(self.db, alert)

    def incidents(self) -> list[object]:
        with self.superuser.begin() as uow:
            return list(uow.connection.execute(select(incidents).order_by(incidents.c.id)))

    def incident(self, identity: IncidentId) -> Incident:
        with self.superuser.begin() as uow:
            return uow.incidents.incident(identity)

    def events(self) -> list[str]:
        with self.superuser.begin() as uow:
            return list(uow.connection.execute(select(outbox.c.event).order_by(outbox.c.id)).scalars())


def an_activity(ref: str, balance: int, clock: MovedClock) -> dict[str, object]:
    return {
        "id": new_id("act"),
        "connection_id": CONNECTION,
        "event_id": new_id("evt"),
        "body_digest": b"",
        "kind": "withdrawal",
        "status": "scored",
        "occurred_at": clock.now(),
        "received_at": clock.now(),
        "account": ref,
        "balance_usd": Decimal(balance),
        "raw": b"",
    }


@pytest.fixture
def room(fresh_postgres_url: str) -> Iterator[Room]:
    found = Room(fresh_postgres_url)
    yield found
    found.db.engine.dispose()
    found.superuser.engine.dispose()


def test_the_alerts_of_one_attack_in_parallel_are_one_incident(room: Room) -> None:
    shared = "destination:0xthief"
    raised = [room.alert(f"account:{CONNECTION}/hot-{n}", shared) for n in range(8)]
    found: list[IncidentId] = []
    threads = [threading.Thread(target=lambda a=a: found.append(room.triage(a))) for a in raised]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(room.incidents()) == 1
    assert room.events().count("incident_opened") == 1
    assert room.events().count("incident_widened") == 7


def test_a_repeat_changes_nothing(room: Room) -> None:
    alert = room.alert(f"account:{CONNECTION}/hot-1")
    assert room.triage(alert) == room.triage(alert)
    assert room.events() == ["incident_opened"]


def test_an_incident_that_somebody_works_on_keeps_no_other_alert_from_triage(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triage_module, "TURN", timedelta(milliseconds=1))
    one = room.triage(room.alert(f"account:{CONNECTION}/hot-1"))
    joins, stranger = room.alert(f"account:{CONNECTION}/hot-1"), room.alert(f"account:{CONNECTION}/hot-2")
    with room.superuser.begin() as long_plan:
        long_plan.incidents.lock_incident(one)
        with pytest.raises(UnavailableError):
            room.triage(joins)
        assert room.triage(stranger) != one
    assert room.triage(joins) == one, "tried again later"


def test_strangers_and_old_attacks_are_apart(room: Room) -> None:
    one = room.triage(room.alert(f"account:{CONNECTION}/hot-1"))
    assert room.triage(room.alert(f"account:{CONNECTION}/hot-2")) != one
    room.clock.pass_by(timedelta(hours=25))
    later = room.clock.now()
    assert room.triage(room.alert(f"account:{CONNECTION}/hot-1", raised_at=later, last_at=later)) != one


def test_a_closed_incident_takes_no_more(room: Room) -> None:
    one = room.triage(room.alert(f"account:{CONNECTION}/hot-1"))
    with room.superuser.begin() as uow:
        uow.connection.execute(update(incidents).values(state="closed"))
    assert room.triage(room.alert(f"account:{CONNECTION}/hot-1")) != one


def test_accounts_under_one_wallet_are_in_reach_together(room: Room) -> None:
    room.account("hot-1", 400_000, "w")
    room.account("hot-2", 700_000, "w")
    room.account("cold", 9_000_000, "other")
    found = room.incident(room.triage(room.alert(f"account:{CONNECTION}/hot-1", amount_usd=Decimal(5))))
    assert found.value_at_risk_usd == 1_100_000
    assert f"account:{CONNECTION}/hot-2" in found.entities
    assert found.severity is Severity.CRITICAL
    other = room.triage(room.alert(f"account:{CONNECTION}/hot-2"))
    assert other == found.id


def test_what_joins_adds_its_accounts_and_raises_severity_and_never_lowers(room: Room) -> None:
    room.account("hot-1", 600_000)
    room.account("hot-2", 600_000)
    actor = f"actor:{CONNECTION}/mallory"
    first = room.triage(room.alert(f"account:{CONNECTION}/hot-1", actor, amount_usd=Decimal(1)))
    assert room.incident(first).severity is Severity.HIGH
    room.triage(room.alert(f"account:{CONNECTION}/hot-2", actor, amount_usd=Decimal(1)))
    found = room.incident(first)
    assert found.value_at_risk_usd == 1_200_000
    assert found.severity is Severity.CRITICAL
    room.triage(room.alert(actor, decision="alert", amount_usd=Decimal(1)))
    assert room.incident(first).value_at_risk_usd == 1_200_000
    assert room.incident(first).severity is Severity.CRITICAL
    assert room.incident(first).alarm == 2, "once, for the severity"
    assert room.events().count("incident_widened") == 2, "the plan is held against every alert"


def test_an_earlier_alert_that_comes_late_moves_the_first_harm_back(room: Room) -> None:
    now = room.clock.now()
    entity = f"account:{CONNECTION}/hot-1"
    found = room.triage(room.alert(entity, raised_at=now))
    room.triage(room.alert(entity, raised_at=now - timedelta(seconds=30)))
    assert room.incident(found).first_harm_at == now - timedelta(seconds=30)


def test_nothing_known_of_what_is_at_risk_is_not_little(room: Room) -> None:
    known = room.triage(room.alert("actor:a/one", decision="alert", amount_usd=Decimal(10)))
    unknown = room.triage(room.alert("actor:a/two", decision="alert", amount_usd=None))
    assert room.incident(known).severity is Severity.LOW
    assert room.incident(unknown).severity is Severity.MEDIUM


def test_the_learning_sequence_is_asked_to_stop_learning_from_what_is_under_attack(room: Room) -> None:
    room.triage(room.alert(f"account:{CONNECTION}/hot-1"))
    room.triage(room.alert(f"account:{CONNECTION}/hot-1"))
    with room.superuser.begin() as uow:
        count = select(func.count()).select_from(learning_requests).where(learning_requests.c.kind == "incident_opened")
        assert uow.connection.execute(count).scalar_one() == 1


def test_an_incident_about_a_listed_destination_takes_in_its_own_kind_alone(room: Room) -> None:
    account = f"account:{CONNECTION}/hot-1"
    room.account("hot-1", 5_000_000)
    listed = room.triage(room.alert(account, "destination:0xmixer", kind="listed_destination", decision="alert"))
    assert room.triage(room.alert(account, "destination:0xfan", kind="listed_destination")) == listed
    theft = room.triage(room.alert(account, "destination:0xthief", kind="drain"))
    assert theft != listed, "its playbook would leave the account open"
    assert room.incident(theft).kind is IncidentKind.DRAIN
    found = room.incident(listed)
    assert (found.kind, found.severity) == (IncidentKind.LISTED_DESTINATION, Severity.HIGH)


def test_a_listed_destination_joins_the_theft_that_it_is_part_of(room: Room) -> None:
    account = f"account:{CONNECTION}/hot-1"
    theft = room.triage(room.alert(account, "destination:0xthief", kind="drain"))
    assert room.triage(room.alert(account, "destination:0xmixer", kind="listed_destination")) == theft
