"""A laundering path that is known, on real blocks: split, peel chain, merge with clean money, a mixer, a circle, a token."""

import json
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import update

from service.chain.evm_tracing import EvmTracing
from service.domain.errors import ConflictError, UnavailableError
from service.domain.forensics import walk as walking
from service.domain.forensics.labels import LabelKind, read_list
from service.domain.ids import IncidentId
from service.flow import forensics
from service.ports.store.forensics import Found
from service.store.tables.incident import alerts
from tests.integration.forensics.conftest import LONG_S, Records
from tests.support.anvil import CHAIN, ETHER
from tests.support.traced_chain import COIN, TracedChain

pytestmark = pytest.mark.servers


def person(number: int) -> str:
    return "0x" + f"{number:02x}" * 20


VICTIM, A, B, C, D1, D2, P1, P2, E, MIXER, CLEAN, AFTER = (person(0x20 + n) for n in range(12))
EXCHANGE = person(0x60)
LISTED = {"source": "own notes", "listed_on": "2026-11-01", "imported_by": "per_ada"}


Reads = Callable[..., EvmTracing]


@pytest.fixture
def reads() -> Iterator[Reads]:
    """Open a source, of a kind that the test may make worse."""
    opened: list[EvmTracing] = []

    def open_one(url: str, kind: type[EvmTracing] = EvmTracing) -> EvmTracing:
        opened.append(kind(url, CHAIN))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def laundered(anvil: TracedChain) -> str:
    """100 coins are stolen; returns the token whose 1,000 units are stolen, too."""
    anvil.have(VICTIM, 200 * ETHER)
    anvil.have(CLEAN, 60 * ETHER)
    anvil.have(C, 10 * ETHER)
    token = anvil.token()
    anvil.pay(VICTIM, A, 100 * ETHER)
    anvil.pay(A, B, 60 * ETHER)  # split
    anvil.pay(A, C, 40 * ETHER)
    anvil.pay(CLEAN, C, 60 * ETHER)  # clean money comes in between
    anvil.pay(C, E, 50 * ETHER)
    anvil.pay(B, P1, 5 * ETHER)  # peel chain
    anvil.pay(B, D1, 55 * ETHER)
    anvil.pay(D1, P2, 5 * ETHER)
    anvil.pay(D1, D2, 50 * ETHER)
    anvil.pay(P1, B, 1 * ETHER)  # a circle
    anvil.pay(D2, MIXER, 50 * ETHER)
    anvil.pay(MIXER, AFTER, 30 * ETHER)  # a service mixes the money of many
    anvil.transfer(token, VICTIM, A, 1_000)
    anvil.transfer(token, A, EXCHANGE, 600)
    anvil.transfer(token, A, person(0x61), 0)  # address poisoning
    return token


def listed(records: Records, text: str, **told: Any) -> None:
    found = read_list(text.encode(), "unnamed", LabelKind.SANCTIONED)
    with records.api.begin() as uow:
        uow.forensics.add_list(found, told.get("source", "own notes"), date(2026, 11, 1), "per_ada")


def evidence(records: Records, incident: IncidentId) -> tuple[dict[str, Any], str]:
    with records.api.begin() as uow:
        found = uow.forensics.trace(incident)
    assert found is not None
    assert found.state == "complete"
    return json.loads(found.report or ""), found.drawing or ""


def arrived(report: dict[str, Any], address: str, method: str, asset: str = COIN) -> int:
    one = next(a for a in report["chains"][0]["addresses"] if a["address"] == address)
    return int(one["received"][asset][method])


def traced(records: Records, anvil: TracedChain, incident: IncidentId, reads: Reads) -> tuple[dict[str, Any], str]:
    forensics.gather(records.tracer(accounts={CHAIN: reads(anvil.url)}), incident)
    return evidence(records, incident)


def test_the_known_path_is_found_with_every_share(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads
) -> None:
    listed(records, f"address,name,kind\n{MIXER},Blender,mixer\n{EXCHANGE},Big Exchange,exchange\n")
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    report, drawing = traced(records, anvil, incident, reads)
    (chain,) = report["chains"]
    assert chain["complete"]
    assert [m["theft"] for m in chain["movements"]].count(True) == 2
    assert arrived(report, A, "fifo") == arrived(report, A, "poison") == 100 * ETHER
    assert arrived(report, E, "poison") == 50 * ETHER
    assert arrived(report, E, "haircut") == 40 * 50 * ETHER // 110, "40 stolen of 110, 10 were there, 60 came clean"
    assert arrived(report, E, "fifo") == 40 * ETHER, "the 10 that were there first go first"
    assert arrived(report, MIXER, "fifo") == 50 * ETHER
    token = f"{CHAIN}/erc20:{laundered.lower()}"
    assert arrived(report, EXCHANGE, "haircut", token) == 600
    known = {one["address"]: one for one in chain["addresses"]}
    assert known[MIXER]["label"] == {"name": "Blender", "kind": "mixer", **LISTED}
    assert known[MIXER]["stopped"] == known[EXCHANGE]["stopped"] == "labelled"
    assert AFTER not in known, "what a service pays out is not the thief's"
    assert person(0x61) not in known, "a transfer of nothing is no movement"
    assert CLEAN not in known
    assert [known[a]["hop"] for a in (A, B, D1, D2)] == [1, 2, 3, 4]
    assert report["lists"] == [LISTED | {"entries": 2}]
    (said,) = [note for note in report["notes"] if MIXER in note]
    assert said.startswith(f"{CHAIN}: the trace ends at {MIXER} (Blender), of kind mixer, because the list 'own notes'")
    assert said.endswith("of 2026-11-01, imported by per_ada, says so; ask again past labels to follow it there")
    picture = ET.fromstring(drawing)  # noqa: S314  our own
    words = " ".join(text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text"))
    assert "Blender (mixer)" in words
    assert "victim" in words


@pytest.mark.parametrize("kind", ["own", "scam", "sanctioned"])
def test_a_label_of_one_person_ends_no_trace_where_no_money_is_mixed(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads, kind: str
) -> None:
    listed(records, f"address,name,kind\n{A},Nothing to see here,{kind}\n")
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    report, _ = traced(records, anvil, incident, reads)
    assert arrived(report, E, "fifo") == 40 * ETHER
    (named,) = [one for one in report["chains"][0]["addresses"] if one["address"] == A]
    assert (named["label"]["kind"], named["label"]["imported_by"], named["stopped"]) == (kind, "per_ada", None)


def test_people_may_ask_to_go_past_labels_but_those_of_services(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(records, f"address,name,kind\n{B},Harmless exchange,exchange\n{C},A shop,service\n")
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    before, _ = traced(records, anvil, incident, reads)
    assert "ask again past labels" in next(note for note in before["notes"] if "Harmless exchange" in note)
    monkeypatch.setattr(forensics, "SLICE_S", 0.0)
    tracer = records.tracer(accounts={CHAIN: reads(anvil.url)})
    forensics.gather(tracer, incident, anew=True, past_labels=True)
    monkeypatch.setattr(forensics, "SLICE_S", LONG_S)
    forensics.gather(tracer, incident)  # a later slice keeps what the first was asked
    after, _ = evidence(records, incident)
    assert arrived(after, D2, "fifo") > 0, "past the exchange"
    reached = {one["address"]: one["stopped"] for one in after["chains"][0]["addresses"]}
    assert (reached[B], reached[C]) == (None, "labelled")
    (said,) = [note for note in after["notes"] if "A shop" in note]
    assert "ask again" not in said, "a service's customers are not followed"


def test_stolen_money_is_neither_made_nor_lost(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads
) -> None:
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    report, _ = traced(records, anvil, incident, reads)
    for method in ("haircut", "fifo"):
        rests = sum(
            int(taint[method])
            for one in report["chains"][0]["addresses"]
            for asset, taint in one["resting"].items()
            if asset == COIN
        )
        assert rests == 100 * ETHER, method


def test_a_failed_payment_moved_nothing(records: Records, anvil: TracedChain, reads: Reads) -> None:
    anvil.have(VICTIM, 10 * ETHER)
    refusing = anvil.refusing()
    anvil.pay(VICTIM, refusing, ETHER)
    anvil.pay(VICTIM, A, ETHER)
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    report, _ = traced(records, anvil, incident, reads)
    assert [one["address"] for one in report["chains"][0]["addresses"]] == [A]


def test_a_slice_that_ends_early_hands_on_and_the_next_goes_on(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    tracer = records.tracer(accounts={CHAIN: reads(anvil.url)})
    monkeypatch.setattr(forensics, "SLICE_S", 0.0)
    forensics.gather(tracer, incident)
    assert records.waiting() == ["evidence_pending"]
    monkeypatch.setattr(forensics, "SLICE_S", LONG_S)
    with records.worker.begin() as uow:
        uow.forensics.begin_trace(incident, forensics.LEASE)
    with pytest.raises(UnavailableError, match="another worker traces"):
        forensics.gather(tracer, incident)
    with records.worker.begin() as uow:
        uow.forensics.save_trace(incident, Found({}))
    forensics.gather(tracer, incident)
    report, _ = evidence(records, incident)
    assert arrived(report, A, "fifo") == 100 * ETHER
    forensics.gather(tracer, incident)
    assert records.waiting() == ["evidence_pending"], "what is complete stays as it is"
    anvil.pay(A, person(0x70), 0)
    anvil.pay(E, person(0x71), ETHER)
    forensics.gather(tracer, incident, anew=True)
    report, _ = evidence(records, incident)
    assert arrived(report, person(0x71), "poison") == ETHER


def test_an_endpoint_that_dies_loses_no_progress(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads
) -> None:
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    source = reads(anvil.url)

    class Dying(EvmTracing):
        def block(self, number: int, of: Collection[str] = ()) -> Any:
            if number >= 5:
                raise UnavailableError("gone")
            return super().block(number, of)

    with pytest.raises(UnavailableError, match="gone"):
        forensics.gather(records.tracer(accounts={CHAIN: reads(anvil.url, Dying)}), incident)
    with records.worker.begin() as uow:
        kept = uow.forensics.trace(incident)
    assert kept is not None
    stored: Any = kept.walks[CHAIN]
    assert stored["next_block"] == 5
    forensics.gather(records.tracer(accounts={CHAIN: source}), incident)
    report, _ = evidence(records, incident)
    assert arrived(report, MIXER, "fifo") == 50 * ETHER


def test_a_chain_that_fails_keeps_no_other_from_being_followed(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads
) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    incident = records.incident(f"eip155:1:{VICTIM}", f"{CHAIN}:{VICTIM}", since=since)
    sources = {"eip155:1": reads("http://127.0.0.1:1"), CHAIN: reads(anvil.url)}
    with pytest.raises(UnavailableError, match="did not answer"):
        forensics.gather(records.tracer(accounts=dict(sources)), incident)
    with records.worker.begin() as uow:
        kept = uow.forensics.trace(incident)
    assert kept is not None
    assert set(kept.walks) == {CHAIN}


def test_a_chain_that_was_rewritten_is_read_again(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads
) -> None:
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))

    class Rewritten(EvmTracing):
        asked = 0

        def block(self, number: int, of: Collection[str] = ()) -> Any:
            found = super().block(number, of)
            self.asked += number == 4
            return (
                type(found)("0x" + "ee" * 32, found.parent, found.movements)
                if self.asked == 1 and number == 4
                else found
            )

    forensics.gather(records.tracer(accounts={CHAIN: reads(anvil.url, Rewritten)}), incident)
    report, _ = evidence(records, incident)
    thefts = [m for m in report["chains"][0]["movements"] if m["theft"]]
    assert len(thefts) == 2, "nothing is counted twice"


def test_limits_are_said_in_the_evidence(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forensics, "LIMITS", walking.Limits(blocks=5))
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    report, _ = traced(records, anvil, incident, reads)
    assert not report["chains"][0]["complete"]
    assert report["chains"][0]["cut"] == ["only 5 blocks are read, up to 4"]


def test_who_had_been_there_stands_beside_the_money(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads, yesterday: datetime
) -> None:
    incident = records.incident(f"{CHAIN}:{VICTIM}", since=datetime.now(UTC) - timedelta(hours=1))
    theft = records.activity(
        1, "withdrawal.requested", datetime.now(UTC), account="hot-1", actor="ada", session="con-a/s1", ip="203.0.113.9",
        transaction="tx-1",
    )  # fmt: skip
    records.alert_about(incident, theft)
    records.activity(
        2, "access.login_succeeded", yesterday, actor="ada", session="con-a/s1", ip="203.0.113.9", country="XX"
    )
    records.activity(3, "access.login_succeeded", yesterday, actor="bob", session="con-a/s2", ip="198.51.100.7")
    records.activity(4, "governance.policy_changed", yesterday, actor="eve", ip="203.0.113.9")
    records.activity(
        5,
        "withdrawal.approved",
        datetime.now(UTC),
        account="hot-1",
        actor="mallory",
        transaction="tx-1",
        ip="192.0.2.1",
    )
    records.activity(6, "withdrawal.approved", datetime.now(UTC), account="hot-1", actor="carol", transaction="tx-2")
    report, _ = traced(records, anvil, incident, reads)
    assert report["more_access"] == 0
    lines = {(line["actor"], line["kind"]): line for line in report["access"]}
    assert set(lines) == {
        ("ada", "withdrawal.requested"),
        ("ada", "access.login_succeeded"),
        ("eve", "governance.policy_changed"),
        ("mallory", "withdrawal.approved"),
    }
    approved = lines["mallory", "withdrawal.approved"]
    assert (approved["shares"], approved["ip"]) == (["account", "actor", "ip", "transaction"], "192.0.2.1")
    assert lines["ada", "access.login_succeeded"]["shares"] == ["actor", "session", "ip"]
    assert lines["ada", "access.login_succeeded"]["country"] == "XX"
    assert lines["eve", "governance.policy_changed"]["shares"] == ["ip"]


def test_a_chain_without_an_endpoint_and_an_account_without_an_address_are_said(records: Records) -> None:
    incident = records.incident("eip155:1:" + VICTIM, since=datetime.now(UTC))
    forensics.gather(records.tracer(), incident)
    report, drawing = evidence(records, incident)
    assert report["notes"] == ["eip155:1 was not traced: set its endpoint in PORTCULLIS_CHAINS, then ask again"]
    assert "Nothing was traced" in drawing


def test_events_that_were_not_looked_through_are_said(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    incident = records.incident(since=datetime.now(UTC))
    records.alert_about(incident, records.activity(1, "withdrawal.requested", datetime.now(UTC), account="hot-1"))
    monkeypatch.setattr(forensics, "MOST_EVENTS", 1)
    forensics.gather(records.tracer(), incident)
    report, _ = evidence(records, incident)
    assert "who had been there: only the newest 1 events were looked through" in report["notes"]


def test_where_the_platform_holds_the_keys_the_told_destination_is_followed(
    records: Records, anvil: TracedChain, laundered: str, reads: Reads
) -> None:
    incident = records.incident(since=datetime.now(UTC) - timedelta(hours=1))
    with records.superuser.begin() as uow:
        named = update(alerts).where(alerts.c.incident_id == incident)
        uow.connection.execute(named.values(entities=["account:con-a/hot-1", f"destination:{CHAIN}:{A}"]))
    report, _ = traced(records, anvil, incident, reads)
    assert arrived(report, A, "fifo") == 100 * ETHER
    assert arrived(report, E, "fifo") == 40 * ETHER


def test_the_same_list_is_imported_once(records: Records) -> None:
    listed(records, f"{A}\n")
    with pytest.raises(ConflictError, match="is in force as lst_"):
        listed(records, f"{A}\n", source="again")


def test_an_endpoint_that_contradicts_itself_is_not_believed(anvil: TracedChain, reads: Reads) -> None:
    anvil.have(VICTIM, ETHER)
    anvil.pay(VICTIM, A, 1)

    class Short(EvmTracing):
        def _ask(self, method: str, params: list[object], kind: Any) -> Any:
            found = super()._ask(method, params, kind)
            return [] if method == "eth_getBlockReceipts" else found

    with pytest.raises(UnavailableError, match="other receipts than transactions"):
        reads(anvil.url, Short).block(1)
    with pytest.raises(UnavailableError, match="did not answer"):
        reads("http://127.0.0.1:1/secret-key").height()
    with pytest.raises(UnavailableError) as caught:
        reads("http://127.0.0.1:1/secret-key").height()
    assert "secret-key" not in str(caught.value)
