"""The end of a drill: figures beside what happened in reality, and which checks held."""

from decimal import Decimal

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from drills.runner.figures import Summary
from drills.scenario_form import Scenario

MINUTE_S = 60
NEVER = "—"
WIDTH_WITHOUT_TERMINAL = 120


def rows(scenario: Scenario, summary: Summary) -> list[tuple[str, str, str]]:
    """Return (what, here, in reality) for the final table."""
    real = scenario.reality
    again = summary.at_rest_after_s
    later = (
        [] if again in (None, summary.contained_after_s) else [("contained again, after later moves", span(again), "")]
    )
    locked = (
        []
        if summary.locked_after_s is None
        else [("first harm to the last Safe locked", span(summary.locked_after_s), "")]
    )
    return [
        ("value at risk", usd(summary.value_at_risk_usd), ""),
        ("lost", usd(summary.value_lost_usd), "" if real.value_lost_usd is None else usd(real.value_lost_usd)),
        ("saved", usd(summary.value_saved_usd), ""),
        ("first harm to detection", span(summary.detected_after_s), span(real.detected_after_s)),
        ("first harm to first hold", span(summary.held_after_s), span(real.first_action_after_s)),
        *locked,
        ("first harm to containment", span(summary.contained_after_s), span(real.contained_after_s)),
        *later,
    ]


def usd(amount: str) -> str:
    """Return dollars as people read them."""
    return f"${Decimal(amount):,.0f}"


def span(seconds: float | None) -> str:
    """Return a duration as people read it."""
    if seconds is None:
        return NEVER
    return f"{seconds / MINUTE_S:,.0f} min" if seconds >= 2 * MINUTE_S else f"{seconds:.1f} s"


def show(console: Console, scenario: Scenario, summary: Summary) -> None:
    """Print the final panel."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("here", justify="right", style="bold green" if summary.succeeded else "bold red")
    table.add_column("in reality", justify="right", style="dim")
    for row in rows(scenario, summary):
        table.add_row(*row)
    title = f"{scenario.title}: {'it happened as it should' if summary.succeeded else 'NOT as it should'}"
    style = "green" if summary.succeeded else "red"
    console.print(Panel(table, title=title, border_style=style, expand=False, padding=(1, 2)))
    for name, held in summary.checks:
        console.print(Text(f"  {'✓' if held else '✗'} {name}", style="green" if held else "bold red"))
    console.print(_footnotes(scenario, summary), highlight=False)


def console() -> Console:
    """Return a console on standard output, wide enough for a pipe to be searched line by line."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


def _footnotes(scenario: Scenario, summary: Summary) -> Text:
    lines = [
        (
            f"Gaps between the attacker's moves were shortened {summary.compression} times, never lengthened; random seed "
            f"{summary.random_seed}; {summary.history_activities:,} activities of history; {summary.votes} votes."
        )
    ]
    if not summary.gate:
        lines.append("The gate was off: the platform was not told to ask it, and signed whatever it was asked to sign.")
    if scenario.reality.not_replayed:
        lines.append(f"Not replayed: {' '.join(scenario.reality.not_replayed.split())}")
    if summary.review_path:
        lines.append(f"Review: {summary.review_path}")
    return Text("\n".join(lines), style="dim")
