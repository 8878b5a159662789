"""Outages of connections as rows, so that every worker knows of one and a restart forgets none."""

from datetime import datetime
from typing import Protocol

from service.domain.ids import ConnectionId, StepId
from service.domain.line import Line


class LineStore(Protocol):
    """Connections whose platform does not answer."""

    def admit(self, connection: ConnectionId, step_id: StepId, known: Line | None, most: int) -> datetime | None:
        """Say whether a step may call the connection's platform now: None, or when to ask again.

        `known` is what `line` just said, `most` how many steps may be worked on at once, with this one.
        Of a troubled line whose pause is over the first who asks gets None, and the others wait for what he finds.
        """
        ...

    def make_room(self, connection: ConnectionId) -> StepId | None:
        """Make the first of the steps that found the connection's line full due now; None when there is none.

        What tightens goes first, the first steps of plans before the rest of any, the most severe incident's before others'.
        """
        ...

    def line(self, connection: ConnectionId) -> Line | None:
        """Return the connection's outage, None when there is none."""
        ...

    def fail(self, connection: ConnectionId) -> Line:
        """Note a call that got no answer; return the line as it is now."""
        ...

    def give_turn(self, connection: ConnectionId) -> None:
        """Let the next step try a troubled line: whoever had it to himself made no call."""
        ...

    def note_told(self, connection: ConnectionId) -> bool:
        """Note that people are paged about this outage; True for the first who says so."""
        ...

    def mend(self, connection: ConnectionId) -> Line | None:
        """Note that the platform answers: its steps are due now. Return the outage that ended, None when there was none."""
        ...
