"""The stream of events, the story and how it is shown."""

import io
import json
import time

from drills.runner.events import Told, parse
from drills.runner.report import span, usd
from drills.runner.screen import LiveScreen, PlainScreen, open_screen
from drills.runner.story import Line, Story, tone_of


def test_events_are_read_and_comments_passed_over() -> None:
    stream = [
        "retry: 2000",
        "",
        ": still here",
        "",
        "id: 7",
        "event: incident_opened",
        'data: {"event": "incident_opened", "ids": {"incident_id": "inc_1"}}',
        "",
        "id: 8",
        "event: half",
    ]

    assert list(parse(stream)) == [Told("7", "incident_opened", {"incident_id": "inc_1"})]


def test_a_line_of_the_service_is_told_once() -> None:
    heard: list[Line] = []
    story = Story(listen=heard.append)
    for _ in range(2):
        story.tell_once("tl_1", "act", "Held", 5.0)
    story.show()

    assert [line.sentence for line in heard] == ["Held"]


def test_lines_are_shown_in_the_order_of_their_times() -> None:
    heard: list[Line] = []
    story = Story(listen=heard.append)
    story.tell("harm", "second", 20.0)
    story.tell("act", "third", 30.0)
    story.tell("act", "first", 10.0)
    story.show(25.0)
    assert [line.sentence for line in heard] == ["first", "second"]
    story.show(25.0)
    story.tell("act", "as old as the third", 30.0)
    story.show()
    assert [line.sentence for line in heard] == ["first", "second", "third", "as old as the third"]
    assert [line.sentence for line in story.lines][:3] == ["second", "third", "first"], "as they were told"


def test_what_is_older_than_what_was_shown_is_not_lost() -> None:
    heard: list[Line] = []
    story = Story(listen=heard.append)
    story.tell("act", "shown", 20.0)
    story.show(20.0)
    story.tell("act", "very late", 10.0)
    story.show(20.0)
    assert [line.sentence for line in heard] == ["shown", "very late"]


def test_a_clock_that_is_ahead_keeps_nothing_back() -> None:
    heard: list[Line] = []
    story = Story(listen=heard.append)
    ahead_s = time.time() + 3600
    story.tell("act", "of a clock that is ahead", ahead_s)
    story.show(time.time())
    assert [line.at_s for line in heard] == [ahead_s]


def test_times_count_from_the_first_harm() -> None:
    story = Story()
    assert story.since_harm(5.0) is None
    story.first_harm_s = 3.0
    assert story.since_harm(5.0) == 2.0


def test_plain_lines_go_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    story = Story(first_harm_s=10.0)
    with open_screen(story, as_json=False, out=out) as screen:
        screen.heading("Start")
        for done in range(101):
            screen.progress("history", done, 100)
        screen.line(Line(11.5, "harm", "a thief moves ETH"))

    lines = out.getvalue().splitlines()
    assert isinstance(screen, PlainScreen)
    assert lines[0] == "== Start"
    assert lines[-1] == "   +1.5s ✗ a thief moves ETH"
    assert len(lines) == 1 + 11 + 1


def test_json_lines_can_be_parsed() -> None:
    out = io.StringIO()
    with open_screen(Story(first_harm_s=10.0), as_json=True, out=out) as screen:
        screen.heading("Start")
        screen.line(Line(11.5, "good", "Contained"))

    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert told[0] == {"heading": "Start"}
    assert told[1]["since_first_harm_s"] == 1.5


def test_a_terminal_gets_the_live_view() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with open_screen(Story(), as_json=False, out=out) as screen:
        screen.progress("keys", 3, 3)
        screen.line(Line(1.0, "detect", "[red] is text, not markup"))

    assert isinstance(screen, LiveScreen)
    assert "[red] is text, not markup" in out.getvalue()


def test_kinds_have_tones() -> None:
    assert tone_of("incident.contained") == "good"
    assert tone_of("step.refused") == "bad"
    assert tone_of("something.else") == "quiet"


def test_spans_and_dollars_as_people_read_them() -> None:
    assert [span(None), span(0.4), span(1740), usd("1234567.89")] == ["—", "0.4 s", "29 min", "$1,234,568"]
