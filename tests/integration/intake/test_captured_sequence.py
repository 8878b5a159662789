"""With the API's database role in an attacker's hands, the learning sequence takes nothing that people did not decide.

The attacker writes rows as `portcullis_api`, past our own code. What he must not get: a row that suppresses, loosens,
clears, judges or ends an incident, which every process would follow; nor a critical incident called false.
"""

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from rules.engine import ENGINE_VERSION
from rules.learning import RecordKind
from rules.settings import EngineSettings
from service.domain.blinding import DIRECTIONS, warranted
from service.domain.listed import ListChange
from service.store.grants import API, CONTAINMENT
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers
LEARNING = (
    "INSERT INTO learning (seq, kind, payload, engine_version, settings_digest, at) VALUES (%s, %s, %s, %s, '', now())"
)
ASK = "INSERT INTO learning_requests (kind, subject, payload, created_at) VALUES (%s, 's', %s, now()) RETURNING id"
PLACE = "UPDATE learning_requests SET seq = %s WHERE id = %s"
FIRST = EngineSettings(salt="t")
ENTITIES = ["account:std/hot-1"]
SUPPRESSION = b'{"id":"sup_1","entity":"account:std/hot-1","until_us":4000000000000000,"owner":"o","reason":"r"}'
ASKED = {
    RecordKind.INCIDENT_OPENED: (json.dumps({"incident": "i", "entities": ENTITIES}), {"entities": ENTITIES}),
    RecordKind.INCIDENT_CLOSED: (json.dumps({"incident": "i", "entities": ENTITIES}), {"entities": ENTITIES}),
    RecordKind.VERDICT: ('{"verdict": "false_positive"}', {"verdict": "false_positive"}),
    RecordKind.CLEARANCE: ('{"event_id": "e"}', {"event_id": "e"}),
    RecordKind.PEER_GROUP: ('{"account": "a", "peer_group": null}', {"account": "a", "peer_group": None}),
    RecordKind.SUPPRESSION: (warranted(SUPPRESSION, "apr_1").decode(), json.loads(SUPPRESSION)),
}


class Roles:
    """The attacker's connection, and the worker's, on one database whose sequence began."""

    def __init__(self, url: str) -> None:
        self.api = psycopg.connect(url_of_role(url, API), autocommit=True)
        self.worker = psycopg.connect(url_of_role(url, CONTAINMENT), autocommit=True)
        self.seq = 0
        self.adds(RecordKind.SETTINGS, FIRST.encode())

    def adds(self, kind: str, payload: bytes, seq: int | None = None) -> None:
        """Add a row as the attacker, at the end unless told."""
        seq = self.seq + 1 if seq is None else seq
        self.api.execute(LEARNING, (seq, kind, payload, ENGINE_VERSION))
        self.seq = max(self.seq, seq)

    def denied(self, kind: str, payload: bytes, seq: int | None = None) -> None:
        with pytest.raises(errors.InsufficientPrivilege):
            self.adds(kind, payload, seq)

    def asks(self, by: "psycopg.Connection[tuple[object, ...]]", kind: str, payload: str | bytes) -> int:
        told = payload.encode() if isinstance(payload, str) else payload
        row = by.execute(ASK, (kind, told)).fetchone()
        assert row is not None
        return int(str(row[0]))

    def takes_once(self, kind: str, told: str, row: bytes) -> None:
        """Try a row without its request, before it has a place, in another's place, changed, and a second time."""
        self.denied(kind, row)
        with pytest.raises(errors.InsufficientPrivilege):
            self.asks(self.api, kind, told)
        request = self.asks(self.worker, kind, told)
        self.denied(kind, row)
        seq = self.seq + 1
        assert self.placed(request, seq) == 1
        self.denied(kind, row.replace(b"hot-1", b"hot-2").replace(b"false_", b"true_").replace(b"e", b"f"), seq)
        self.denied(kind, row, seq + 1)
        self.adds(kind, row, seq)
        assert self.placed(request, seq + 1) == 0, "a request has one place for ever"
        self.denied(kind, row)

    def placed(self, request: int, seq: int) -> int:
        return self.api.execute(PLACE, (seq, request)).rowcount


@pytest.fixture
def roles(fresh_postgres_url: str) -> Iterator[Roles]:
    found = Roles(fresh_postgres_url)
    yield found
    found.api.close()
    found.worker.close()


def test_activities_and_the_name_of_a_rule_set_need_nobody(roles: Roles) -> None:
    roles.adds(RecordKind.ACTIVITY, b"{}")
    roles.adds(RecordKind.RULES, b'{"digest":"d"}')


def test_what_people_decide_gets_a_place_only_as_it_was_asked_for_and_once(roles: Roles) -> None:
    for kind, (told, row) in ASKED.items():
        roles.takes_once(kind, told, json.dumps(row).encode())


def test_lifting_a_suppression_needs_nobody(roles: Roles) -> None:
    seq = roles.seq + 1
    assert roles.placed(roles.asks(roles.api, RecordKind.SUPPRESSION_LIFTED, '{"id":"sup_1"}'), seq) == 1
    roles.denied(RecordKind.SUPPRESSION_LIFTED, b'{"id":"sup_2"}', seq)
    roles.adds(RecordKind.SUPPRESSION_LIFTED, b'{"id":"sup_1"}', seq)


def test_a_list_comes_into_force_without_anybody_and_leaves_with_votes_alone(roles: Roles) -> None:
    def asked(by: "psycopg.Connection[tuple[object, ...]]", told: ListChange, approval: str | None = None) -> int:
        seq = roles.seq + 1
        assert roles.placed(roles.asks(by, RecordKind.LISTS, warranted(told.row(), approval)), seq) == 1
        return seq

    def named(*names: str) -> bytes:
        return json.dumps({"lists": names}).encode()

    roles.denied(RecordKind.LISTS, named("a"))
    seq = asked(roles.api, ListChange(add="a"))
    for other in (named(), named("b"), named("a", "b"), b"{}"):
        roles.denied(RecordKind.LISTS, other, seq)
    roles.adds(RecordKind.LISTS, named("a"), seq)
    seq = asked(roles.api, ListChange(add="b"))
    roles.denied(RecordKind.LISTS, named("b"), seq)
    roles.adds(RecordKind.LISTS, named("a", "b"), seq)
    with pytest.raises(errors.InsufficientPrivilege):
        asked(roles.api, ListChange(remove="a"), "apr_1")
    for told in (ListChange(remove="a"), ListChange(), ListChange(add="c", remove="a")):
        seq = asked(roles.api, told)
        roles.denied(RecordKind.LISTS, named("b"), seq)
        roles.denied(RecordKind.LISTS, named("b", "c"), seq)
        roles.seq = seq
    seq = asked(roles.worker, ListChange(remove="a"), "apr_1")
    roles.denied(RecordKind.LISTS, named(), seq)
    roles.denied(RecordKind.LISTS, named("a"), seq)
    roles.denied(RecordKind.LISTS, named("b"), seq)
    roles.adds(RecordKind.LISTS, named("c", "b"), seq)


def changed(**changes: object) -> bytes:
    return json.dumps(json.loads(FIRST.encode()) | changes).encode()


LOOSER = {
    "hold_p": 1e-9, "hold_floor": 20.0, "alert_p": 1e-9, "alert_floor": 0.5, "alerts_per_day": 5.0,
    "alerts_per_day_by_severity": {"high": 1.0}, "memory_days": 1.0, "salt": "", "max_accounts": 7,
}  # fmt: skip


def test_every_setting_has_a_case() -> None:
    assert DIRECTIONS.keys() <= LOOSER.keys()


def test_settings_that_do_not_tighten_take_a_quorum(roles: Roles) -> None:
    for name, value in LOOSER.items():
        looser, seq = changed(**{name: value}), roles.seq + 1
        with pytest.raises(errors.InsufficientPrivilege):
            roles.asks(roles.api, RecordKind.SETTINGS, warranted(looser, "apr_1"))
        assert roles.placed(roles.asks(roles.api, RecordKind.SETTINGS, warranted(looser)), seq) == 1
        roles.denied(RecordKind.SETTINGS, looser, seq)
        for at, approved in enumerate((looser, FIRST.encode()), seq + 1):
            assert roles.placed(roles.asks(roles.worker, RecordKind.SETTINGS, warranted(approved, "apr_1")), at) == 1
            roles.adds(RecordKind.SETTINGS, approved, at)


def test_settings_that_tighten_need_nobody_and_are_measured_by_what_is_in_force_then(roles: Roles) -> None:
    tight, tighter = changed(hold_p=1e-4, hold_floor=7.0), changed(hold_p=1e-3, hold_floor=6.0)
    late = roles.asks(roles.api, RecordKind.SETTINGS, warranted(tight))
    for seq in (2, 3):
        assert roles.placed(roles.asks(roles.api, RecordKind.SETTINGS, warranted(tighter)), seq) == 1
        roles.adds(RecordKind.SETTINGS, tighter, seq)
    assert roles.placed(late, 4) == 1
    roles.denied(RecordKind.SETTINGS, tight, 4)
    fewer = {name: value for name, value in json.loads(tighter).items() if name != "salt"}
    assert roles.placed(roles.asks(roles.api, RecordKind.SETTINGS, warranted(json.dumps(fewer).encode())), 5) == 1
    roles.denied(RecordKind.SETTINGS, json.dumps(fewer).encode(), 5)


INCIDENT = (
    "INSERT INTO incidents (id, kind, severity, state, title, entities, value_at_risk_usd, opened_at, first_harm_at,"
    " detected_at) VALUES ('inc_1', 'drain', %s, 'open', '', '{}', 0, now(), now(), now())"
)
ALERT = (
    "INSERT INTO alerts (id, connection_id, activity_id, dedup_key, kind, severity, decision, score, p_value, title,"
    " entities, raised_at, last_at%s) VALUES ('alr_1', 'c', 'a', 'k', 'drain', 3, 'hold', 1, 1, '', '{}', now(), now()%s)"
)
FALSE_INCIDENT = "UPDATE incidents SET state = 'closed', verdict = 'false_positive', closed_at = now()"
FALSE_ALERT = "UPDATE alerts SET verdict = 'false_positive', verdict_at = now()"


def test_a_critical_incident_is_not_called_false_nor_an_alert_of_one(roles: Roles) -> None:
    roles.worker.execute(INCIDENT, (4,))
    roles.api.execute((ALERT % ("", "")).encode())
    roles.worker.execute("UPDATE alerts SET incident_id = 'inc_1'")
    for statement in (FALSE_INCIDENT, FALSE_ALERT):
        with pytest.raises(errors.InsufficientPrivilege, match="takes a quorum"):
            roles.api.execute(statement.encode())
    roles.worker.execute(FALSE_ALERT.encode())
    roles.api.execute("UPDATE alerts SET count = count + 1")
    roles.worker.execute(FALSE_INCIDENT.encode())
    roles.api.execute("UPDATE incidents SET assignee = 'per_1'")


def test_one_person_calls_a_lesser_one_false(roles: Roles) -> None:
    roles.worker.execute(INCIDENT, (3,))
    roles.api.execute((ALERT % ("", "")).encode())
    roles.worker.execute("UPDATE alerts SET incident_id = 'inc_1'")
    roles.api.execute(FALSE_ALERT.encode())
    roles.api.execute(FALSE_INCIDENT.encode())


@pytest.mark.parametrize(("column", "value"), [("incident_id", "inc_1"), ("verdict", "false_positive")])
def test_an_alert_is_born_neither_joined_nor_judged(roles: Roles, column: str, value: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        roles.api.execute((ALERT % (f", {column}", f", '{value}'")).encode())
