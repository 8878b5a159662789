"""The review's numbers, and its page: whole, self-contained, and harmless whatever names came from outside."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from service.domain.ids import ActivityId, AlertId, ConnectionId, IncidentId
from service.domain.incident import Alert, CaseVerdict, Incident, IncidentKind, IncidentState, Severity
from service.domain.picture import Picture, Point
from service.domain.picture import drawn as picture_of
from service.domain.review import Decision, Facts, Found, StepLine, build
from service.flow.review import _duration, _page

BEGAN = datetime(2026, 3, 1, 23, 59, 30, tzinfo=UTC)
EVIL = "<script>alert('gate')</script>\" onmouseover=\"x"


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


INCIDENT = Incident(
    id=IncidentId("inc_1"),
    kind=IncidentKind.DRAIN,
    severity=Severity.CRITICAL,
    state=IncidentState.CLOSED,
    title="Funds are being drained",
    opened_at=after(0.25),
    first_harm_at=BEGAN,
    detected_at=after(0.25),
    value_at_risk_usd=Decimal(150_000_000),
    entities=(EVIL,),
    held_at=after(0.5),
    contained_at=after(95),
    recovered_at=after(7_322),
    closed_at=after(10_800),
    acknowledged_at=after(60),
    acknowledged_by="per_ada",
    verdict=CaseVerdict.TRUE_POSITIVE,
)
ALERT = Alert(
    id=AlertId("alr_1"),
    connection=ConnectionId("main"),
    activity_id=ActivityId("act_1"),
    dedup_key="k",
    kind=IncidentKind.DRAIN,
    severity=Severity.CRITICAL,
    decision="hold",
    score=9.1,
    p_value=1e-9,
    entities=(),
    amount_usd=None,
    raised_at=BEGAN,
    verdict=CaseVerdict.TRUE_POSITIVE,
)
FACTS = Facts(
    incident=INCIDENT,
    alerts=[ALERT, replace(ALERT, amount_usd=Decimal("401346.77"), verdict=None)],
    steps=[
        StepLine("suspend_withdrawals", "hot-eth-1", "done", "tightens", 1, None),
        StepLine("lock_destination", EVIL, "failed", "tightens", 3, f"the platform said no: {EVIL}"),
        StepLine("sweep_to_safe", "hot-eth-1", "done", "irreversible", 1, None),
    ],
    decisions=[Decision("apr_1", EVIL, "approve", after(40), (f"Move everything that account {EVIL} holds.",))],
    timeline=[
        {"at": after(0), "kind": "alert.raised", "sentence": EVIL, "by": "portcullis"},
        {
            "at": after(0.5),
            "kind": "step.verified",
            "sentence": "Holds: Let no transfer leave hot-eth-1",
            "by": "containment",
        },
        {
            "at": after(95),
            "kind": "incident.contained",
            "sentence": "Contained: everything that tightens holds",
            "by": EVIL,
        },
    ],
    lost_usd=Decimal(4_000_000),
)


class Tags(HTMLParser):
    """Which tags and attributes a page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)


def page_of(facts: Facts) -> str:
    return _page().render(review=build(facts, after(10_801)), pictures={})


def test_times_and_values() -> None:
    review = build(FACTS, after(10_801))
    assert review["times_s"] == {
        "detect": 0.25, "open": 0.25, "first_hold": 0.5, "contain": 95.0, "recover": 7322.0, "acknowledge": 60.0,
        "close": 10_800.0,
    }  # fmt: skip
    values = review["value_usd"]
    assert isinstance(values, dict)
    assert (values["at_risk"], values["lost"], values["saved"]) == ("150000000", "4000000", "146000000")


def test_a_false_alarm_lost_nothing_and_more_lost_than_known_saved_nothing() -> None:
    wrong = replace(FACTS, incident=replace(INCIDENT, verdict=CaseVerdict.FALSE_POSITIVE))
    assert build(wrong, BEGAN)["value_usd"]["lost"] == "0"  # type: ignore[index]  # a mapping
    worse = replace(FACTS, lost_usd=Decimal(200_000_000))
    assert build(worse, BEGAN)["value_usd"]["saved"] == "0"  # type: ignore[index]  # a mapping


def test_names_from_outside_stay_text() -> None:
    page = page_of(FACTS)
    found = Tags(page)
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert page.count("&lt;script&gt;alert(&#39;gate&#39;)&lt;/script&gt;") == 6


def test_the_page_loads_nothing() -> None:
    found = Tags(page_of(FACTS))
    assert not {"script", "link", "img", "iframe", "form"} & set(found.tags)
    assert not {"src", "href", "action"} & {name for name, _ in found.attributes}
    assert "url(" not in page_of(FACTS)


def test_the_page_says_what_a_reader_looks_for() -> None:
    page = page_of(FACTS)
    for words in (
        "150,000,000 USD", "4,000,000 USD", "146,000,000 USD", "0.5 s", "1 min 35 s", "2 h 2 min", "23:59:30.000",
        "2026-03-01, UTC", "2026-03-02, UTC", "00:01:05.000", "taken by per_ada after 1 min 0 s", "unknown", "401,347 USD",
    ):  # fmt: skip
        assert words in page, words


def test_an_incident_of_which_little_is_known_still_has_a_page() -> None:
    bare = replace(
        INCIDENT, held_at=None, contained_at=None, recovered_at=None, closed_at=None, acknowledged_at=None,
        acknowledged_by=None, verdict=None, detected_at=BEGAN,
    )  # fmt: skip
    page = page_of(Facts(bare, [], [], [], [], Decimal(0)))
    assert "Nothing was written down." in page
    assert "Nothing needed a vote." in page


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "—"), (0, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (3_600, "1 h 0 min")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert _duration(seconds) == text


def test_an_alert_is_shown_with_its_picture_and_reasons_as_text() -> None:
    drawn = picture_of(Picture(EVIL, Point(BEGAN, 18_342.5), [Point(BEGAN - timedelta(days=3), 50.0)]), "past-0")
    facts = replace(FACTS, alerts=[ALERT], found={ALERT.id: Found([f"It was held: {EVIL}"], drawn)})
    review = build(facts, after(10_801))
    page = _page().render(review=review, pictures={ALERT.id: Markup(drawn)})  # noqa: S704  our own, escaped
    assert "script" not in Tags(page).tags
    assert not [value for name, value in Tags(page).attributes if name.startswith("on")]
    assert page.count('class="past"') == 1
    assert review["alerts"] == [{**as_before(review), "because": [f"It was held: {EVIL}"]}]


def as_before(review: dict[str, object]) -> dict[str, object]:
    alerts = review["alerts"]
    assert isinstance(alerts, list)
    return {name: value for name, value in alerts[0].items() if name != "because"}


def told(seconds: float, sentence: str = "Message to approvers over mail delivered", **other: str) -> dict[str, object]:
    return {"at": after(seconds), "kind": "message.sent", "sentence": sentence, "by": "portcullis", **other}


def test_messages_of_the_same_words_are_one_line_with_a_count() -> None:
    lines = [told(n / 10) for n in range(9)]
    between = told(0.35, "The quorum is complete", kind="approval.completed")
    facts = replace(FACTS, timeline=[*lines[:4], between, *lines[4:]])
    shown = build(facts, BEGAN)["timeline"]
    assert isinstance(shown, list)
    assert [(one["times"], one["sentence"]) for one in shown] == [
        (9, "Message to approvers over mail delivered"),
        (1, "The quorum is complete"),
    ]
    assert (shown[0]["at"], shown[0]["until"]) == (after(0).isoformat(), after(0.8).isoformat())
    page = page_of(facts)
    assert page.count("Message to approvers over mail delivered") == 1
    assert "(9 times, to " in page
    assert "(1 times" not in page


@pytest.mark.parametrize(
    "other",
    [
        told(1, "Message to users over mail delivered"),
        told(61),
        told(1, kind="message.failed"),
        told(1, by="containment"),
    ],
    ids=["other words", "over a minute later", "another kind", "of somebody else"],
)
def test_what_differs_is_a_line_of_its_own(other: dict[str, object]) -> None:
    shown = build(replace(FACTS, timeline=[told(0), other]), BEGAN)["timeline"]
    assert isinstance(shown, list)
    assert [one["times"] for one in shown] == [1, 1]


def test_what_is_done_twice_is_told_twice() -> None:
    twice = [told(n, "Begun: Let no transfer leave hot-eth-1", kind="step.started") for n in range(2)]
    assert len(build(replace(FACTS, timeline=twice), BEGAN)["timeline"]) == 2  # type: ignore[arg-type]  # a list
