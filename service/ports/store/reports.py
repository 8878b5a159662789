"""What people said of activities that the engine let pass, in the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from service.domain.ids import ActivityId, AlertId
from service.domain.incident import Alert


@dataclass(frozen=True, slots=True)
class Vouched:
    """A person's word that nothing was wrong with an activity."""

    by: str
    at: datetime


class ReportStore(Protocol):
    """Reads lock nothing."""

    def alert(self, alert: Alert, title: str) -> None:
        """Insert the alert that a person raises."""
        ...

    def standing(self, activity_id: ActivityId) -> Sequence[AlertId]:
        """Return the alerts on an activity that no closed incident has dealt with, oldest first."""
        ...

    def alerted(self, activity_id: ActivityId) -> bool:
        """Say whether there ever was an alert on it, the engine's or a person's."""
        ...

    def besieged(self, entities: Sequence[str]) -> bool:
        """Say whether an incident that is not closed is about one of these entities."""
        ...

    def vouched_lately(self, activity_id: ActivityId) -> bool:
        """Say whether another activity about the same (`domain.reports.subject_of`) was vouched for within two days."""
        ...

    def vouch(self, activity_id: ActivityId, by: str) -> Vouched:
        """Note that a person vouches for it, once for each activity."""
        ...

    def vouched(self, activity_id: ActivityId) -> Vouched | None:
        """Return who vouched for it and when."""
        ...
