"""Why an activity was judged as it was: what is stored of it, put into sentences; nothing is scored again.

Rules: an explanation is made from the stored assessment and the settings in force at its place in the sequence, never from
the engine's present state; what is not known says so; a detector is named by its id even when its file is gone; the salt
of the settings leaves with nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from rules.signal import Reason
from service.domain.ids import ActivityId, ConnectionId
from service.domain.picture import Picture, Point, drawn, usual_range

LEVELS: Final = ("alert_p", "hold_p", "alert_floor", "hold_floor", "alerts_per_day", "alerts_per_day_by_severity")
"""What of the settings says from where on the score itself decides."""
_ROUND: Final = 100
_AMOUNT: Final = "amount_usd"
_ANOMALOUS: Final = ("alert", "hold")


@dataclass(frozen=True, slots=True)
class Assessed:
    """One activity as it is stored, with its assessment where it has one. Moments are UTC, amounts USD."""

    id: ActivityId
    connection: ConnectionId
    kind: str
    status: str
    occurred_at: datetime
    received_at: datetime
    account: str | None
    actor: str | None
    destination: str | None
    amount_usd: Decimal | None
    score: float | None
    p_value: float | None
    decision: str | None
    history: str | None
    reasons: tuple[Reason, ...]
    detectors: tuple[str, ...]
    levels: Mapping[str, object] | None
    """The settings named in `LEVELS` that were in force; None for what has no place in the sequence."""
    observation: bytes | None = None
    """What the engine read of it, encoded (`rules.observation`); None when it was never scored."""


@dataclass(frozen=True, slots=True)
class DetectorNote:
    """What is known now of a detector that fired. `known` is false when the set in force has none of this id."""

    id: str
    known: bool = False
    title: str = ""
    severity: str = ""
    decision: str = ""
    status: str = ""
    runbook: str = ""


def sentences(assessed: Assessed, detectors: Sequence[DetectorNote]) -> tuple[str, ...]:
    """Return the explanation as a person reads it: outcome first, then what made it, then how sure that is."""
    if assessed.score is None or assessed.p_value is None:
        return (f"It was not scored ({assessed.status}): there is nothing to explain.",)
    told = [_outcome(assessed), _score(assessed.score, assessed.p_value)]
    told += [_reason(one) for one in assessed.reasons if one.detector is None]
    told += [_fired(one) for one in detectors]
    told += _level(assessed)
    told.append(_history(assessed.history))
    return tuple(told)


def picture(assessed: Assessed, past: Sequence[Point], *, complete: bool, name: str = "past") -> str:
    """Return the picture of what went before with the activity marked (`service.domain.picture`)."""
    told = [usual_range(one.usual) for one in assessed.reasons if one.feature == _AMOUNT]
    usual = next((one for one in told if one is not None), None)
    usd = None if assessed.amount_usd is None else float(assessed.amount_usd)
    marked = Point(assessed.occurred_at, usd, assessed.decision in _ANOMALOUS)
    whose = assessed.account or assessed.actor or "nobody that was named"
    return drawn(Picture(whose, marked, past, usual, complete), name)


def _outcome(assessed: Assessed) -> str:
    what = {"allow": "Nothing was held against it", "alert": "It raised an alert", "hold": "It was held"}
    return f"{what.get(assessed.decision or '', 'It was judged')}: {assessed.kind.replace('.', ' ').replace('_', ' ')}."


def _score(score: float, p_value: float) -> str:
    if p_value <= 0.0:
        return f"Score {score:.1f}: odder than anything that the calibration can tell apart."
    rare = 1.0 / p_value
    shown = f"{rare:,.0f}" if rare < 1e6 else f"10^{score:.1f}"  # noqa: PLR2004  a million is where zeros stop being read
    return f"Score {score:.1f}: about one in {shown} activities is as odd as this."


def _reason(reason: Reason) -> str:
    share = "" if reason.share <= 0.0 else f" ({round(reason.share * _ROUND)} % of the score)"
    usual = f"; usually {reason.usual}" if reason.usual else ""
    return f"{reason.feature.replace('_', ' ')}: {reason.observed}{usual}{share}."


def _fired(detector: DetectorNote) -> str:
    if not detector.known:
        return f"The detector {detector.id} fired."
    return f"The detector {detector.id} fired: {detector.title} ({detector.status}, {detector.decision})."


def _level(assessed: Assessed) -> list[str]:
    levels = assessed.levels
    if levels is None:
        return []
    told = []
    budget = levels.get("alerts_per_day")
    if isinstance(budget, int | float):
        told.append(f"The score alone alerts as far as the budget of {budget:g} alerts a day goes.")
    elif isinstance(levels.get("alert_p"), float):
        told.append(f"The score alone alerts from one in {_one_in(levels['alert_p'])}.")
    if isinstance(levels.get("hold_p"), float):
        told.append(f"The score alone holds from one in {_one_in(levels['hold_p'])}.")
    return told


def _one_in(p_value: object) -> str:
    return f"{1.0 / float(str(p_value)):,.0f}"


def _history(history: str | None) -> str:
    if history == "enough":
        return "There is enough history of its own to judge it by."
    return "There is not enough history of its own: it was judged by its group or by everybody."
