"""How a drill is shown: a live timeline on a terminal, plain lines anywhere else, JSON lines on request.

Rules: results go to standard output; the terminal view redraws a few times a second and keeps every line that scrolled by.
"""

import json
import sys
import time
from contextlib import AbstractContextManager
from typing import Protocol, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.text import Text

from drills.runner.story import ICONS, Line, Story, Tone

STYLES: dict[Tone, str] = {
    "quiet": "dim",
    "harm": "bold red",
    "detect": "bold yellow",
    "act": "cyan",
    "vote": "magenta",
    "good": "bold green",
    "bad": "yellow",
    "people": "blue",
}
REFRESH_PER_S = 8
MAX_SENTENCE = 220


class Screen(AbstractContextManager["Screen"], Protocol):
    """Shows one drill. Every method may be called from any thread."""

    def heading(self, text: str) -> None:
        """Say what the next part is."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far one thing is."""
        ...

    def line(self, line: Line) -> None:
        """Show a line of the story."""
        ...


def open_screen(story: Story, *, as_json: bool, out: TextIO | None = None) -> "Screen":
    """Return the screen that fits where the output goes."""
    stream = sys.stdout if out is None else out
    if as_json:
        return JsonScreen(story, stream)
    return LiveScreen(story, Console(file=stream)) if stream.isatty() else PlainScreen(story, stream)


def clock(story: Story, line: Line) -> str:
    """Return what stands before a line: seconds since the first harm, blank before it is known."""
    since = story.since_harm(line.at_s)
    return " " * 8 if since is None else f"{since:+7.1f}s"


class PlainScreen:
    """One line at a time, for files and pipes."""

    def __init__(self, story: Story, out: TextIO) -> None:
        self._story = story
        self._out = out
        self._shown: dict[str, int] = {}

    def heading(self, text: str) -> None:
        self._say(f"== {text}")

    def progress(self, what: str, done: int, total: int) -> None:
        """Show each tenth only."""
        tenth = 10 * done // max(total, 1)
        if tenth > self._shown.get(what, -1):
            self._shown[what] = tenth
            self._say(f"{what}: {done}/{total}")

    def line(self, line: Line) -> None:
        self._say(f"{clock(self._story, line)} {ICONS[line.tone]} {line.sentence}")

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""


class JsonScreen:
    """One JSON object a line; the last one, by the caller, is the summary."""

    def __init__(self, story: Story, out: TextIO) -> None:
        self._story = story
        self._out = out

    def heading(self, text: str) -> None:
        self._say({"heading": text})

    def progress(self, what: str, done: int, total: int) -> None:
        if done in {0, total}:
            self._say({"progress": what, "done": done, "total": total})

    def line(self, line: Line) -> None:
        since = self._story.since_harm(line.at_s)
        told = {"at": round(line.at_s, 3), "tone": line.tone, "sentence": line.sentence}
        self._say(told | {"since_first_harm_s": None if since is None else round(since, 3)})

    def _say(self, fields: dict[str, object]) -> None:
        self._out.write(json.dumps(fields, ensure_ascii=False) + "\n")
        self._out.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""


class LiveScreen:
    """Lines scroll upwards and stay; a clock and the bars of what is under way stay below."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._console = console
        self._heading = ""
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("  {task.description:<28}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._live = Live(
            console=console, refresh_per_second=REFRESH_PER_S, get_renderable=self._render, transient=True
        )

    def heading(self, text: str) -> None:
        self._heading = text
        self._console.print(Rule(text, align="left", style="bold"))

    def progress(self, what: str, done: int, total: int) -> None:
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._bars[what], completed=done, total=total)
        if done >= total:
            self._progress.update(self._bars[what], visible=False)
            self._console.print(Text(f"         · {what}: {done}", style="dim"))

    def line(self, line: Line) -> None:
        style = STYLES[line.tone]
        text = Text(f"{clock(self._story, line)} ", style="bold" if line.tone != "quiet" else "dim")
        sentence = line.sentence if len(line.sentence) <= MAX_SENTENCE else line.sentence[: MAX_SENTENCE - 1] + "…"
        text.append(f"{ICONS[line.tone]} ", style=style)
        text.append(sentence, style=style)
        self._console.print(text)

    def _render(self) -> Group:
        since = self._story.since_harm(time.time())
        status = f"  {self._heading}" if since is None else f"  {since:5.1f} s since the first harm was told"
        return Group(self._progress, Text(status, style="bold"))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
