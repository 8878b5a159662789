"""What memory is asked for while an event is worked on: later rows, their places in the index, their records.

Rules: at a million entities waiting for memory would be most of the cost. Memory takes only some requests at a time, and
a request to a page that was not used lately waits until the processor has found the page. So the first line of a record
is asked for three rows ahead, and the rest of it two rows ahead, in parts of about eight lines spread evenly over an
event's work: what asks for more at once waits until some of it came. Asking changes no result, and interpreted code does
not ask.
"""

from typing import Final

from rules.arrays import F8
from rules.baseline.layout import KNOWN_DESTINATION_SETS, KNOWN_DESTINATIONS, TOUCHED, Kind
from rules.baseline.tables import (
    ACCOUNTS,
    ACTORS,
    DESTINATIONS,
    DEVICES,
    LINE,
    NETWORKS,
    Places,
    expect,
    fetch,
    likely,
    start_of,
)
from rules.binding import ROWS_AHEAD
from rules.compiled import compiled, prefetch
from rules.event import E_ACCOUNT, E_ACTOR, E_DESTINATION, E_DEVICE, E_NETWORK, EVENT_WIDTH
from rules.outcome import O_REASONS, OUT_WIDTH, REASON_WIDTH

_ROWS: Final = 10
_INDEX: Final = 7
_FIRST: Final = 3
_REST: Final = 2
"""How many rows ahead memory is asked for a row itself, for the index, for the first line of records and for the rest."""
_ACCOUNT: Final = TOUCHED[Kind.ACCOUNT]
_ACTOR: Final = TOUCHED[Kind.ACTOR]
_DESTINATION: Final = TOUCHED[Kind.DESTINATION]
_DEVICE: Final = TOUCHED[Kind.DEVICE]
_NETWORK: Final = TOUCHED[Kind.NETWORK]
_PAIR: Final = 2
_TOLD: Final = O_REASONS + REASON_WIDTH + 1
"""What is written of most rows: one reason, and that it is the last."""
_THIRD: Final = _ACCOUNT // (3 * LINE) * LINE


@compiled
def ask_at_first(p: Places, events: F8, at: int) -> None:
    """Ask for a later row, and for where the index will be read."""
    if at + _ROWS < len(events):
        first = (at + _ROWS) * EVENT_WIDTH
        for word in range(first, first + EVENT_WIDTH, LINE):
            prefetch(events, word)
    row = events[min(at + _INDEX, len(events) - 1)]
    expect(p, ACCOUNTS, row[E_ACCOUNT])
    expect(p, DESTINATIONS, row[E_DESTINATION])
    expect(p, ACTORS, row[E_ACTOR])
    expect(p, DEVICES, row[E_DEVICE])
    expect(p, NETWORKS, row[E_NETWORK])


@compiled
def ask_when_bound(p: Places, events: F8, at: int) -> None:
    """Ask for the first lines of records, and for a device's record."""
    later = min(at + _FIRST, len(events) - 1)
    row = events[later]
    account = _begin(p, later, ACCOUNTS, row[E_ACCOUNT])
    prefetch(p.arena, account + _ACCOUNT - LINE)  # it may end in another page
    _begin(p, later, DESTINATIONS, row[E_DESTINATION])
    _begin(p, later, ACTORS, row[E_ACTOR])
    _begin(p, later, DEVICES, row[E_DEVICE])
    _begin(p, later, NETWORKS, row[E_NETWORK])
    fetch(p, _start(p, events, at, DEVICES) + LINE, _DEVICE - LINE)


@compiled
def ask_when_measured(p: Places, events: F8, at: int) -> None:
    """Ask for the record of an actor."""
    fetch(p, _start(p, events, at, ACTORS) + LINE, _ACTOR - LINE)


@compiled
def ask_when_weighed(p: Places, events: F8, at: int) -> None:
    """Ask for the first third of what most payments touch of an account's record, and for its place for the destination."""
    account = _start(p, events, at, ACCOUNTS)
    fetch(p, account + LINE, _THIRD)
    known = int(events[min(at + _REST, len(events) - 1), E_DESTINATION]) % KNOWN_DESTINATION_SETS
    prefetch(p.arena, account + KNOWN_DESTINATIONS + _PAIR * known)


@compiled
def ask_when_told(p: Places, events: F8, at: int) -> None:
    """Ask for the second third."""
    fetch(p, _start(p, events, at, ACCOUNTS) + LINE + _THIRD, _THIRD)


@compiled
def ask_when_counted(p: Places, events: F8, at: int) -> None:
    """Ask for the last third; its last line came with the first ones."""
    fetch(p, _start(p, events, at, ACCOUNTS) + LINE + 2 * _THIRD, _ACCOUNT - 2 * LINE - 2 * _THIRD)


@compiled
def ask_when_remembered(p: Places, events: F8, at: int) -> None:
    """Ask for the records of a destination and a network."""
    fetch(p, _start(p, events, at, DESTINATIONS) + LINE, _DESTINATION - LINE)
    fetch(p, _start(p, events, at, NETWORKS) + LINE, _NETWORK - LINE)


@compiled
def ask_at_last(out: F8, at: int) -> None:
    """Ask for a later row of what is told."""
    if at + _REST < len(out):
        first = (at + _REST) * OUT_WIDTH
        for word in range(first, first + _TOLD, LINE):
            prefetch(out, word)


@compiled
def _begin(p: Places, row: int, pool: int, key: float) -> int:
    """Look up where a record begins, keep its slot for its own row, and ask for its first line."""
    slot = likely(p, pool, key)
    p.ahead[row % ROWS_AHEAD * LINE + pool] = slot
    start = start_of(p, pool, slot)
    prefetch(p.arena, start)
    return start


@compiled
def _start(p: Places, events: F8, at: int, pool: int) -> int:
    """Where the record begins of which the rest is asked for while row ``at`` is worked on."""
    row = min(at + _REST, len(events) - 1)
    return start_of(p, pool, p.ahead[row % ROWS_AHEAD * LINE + pool])
