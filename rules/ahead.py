"""What memory is asked for while an event is worked on: later rows, their places in the index, their records.

Rules: at a million entities waiting for memory would be most of the cost. Memory takes only some requests at a time, and
a request to a page that was not used lately waits until the processor has found the page. So the first line of a record
is asked for three rows ahead, and the rest of it two rows ahead, in parts spread over an event's work. Asking changes no
result, and interpreted code does not ask.
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


@compiled
def ask_at_first(p: Places, events: F8, at: int) -> None:
    """Ask for a later row, for where the index will be read, for first lines of records, and for a network's record."""
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
    later = min(at + _FIRST, len(events) - 1)
    row = events[later]
    account = _begin(p, later, ACCOUNTS, row[E_ACCOUNT])
    prefetch(p.arena, account + _ACCOUNT - LINE)  # it may end in another page
    _begin(p, later, DESTINATIONS, row[E_DESTINATION])
    _begin(p, later, ACTORS, row[E_ACTOR])
    _begin(p, later, DEVICES, row[E_DEVICE])
    _begin(p, later, NETWORKS, row[E_NETWORK])
    fetch(p, _start(p, events, at, NETWORKS), _NETWORK)


@compiled
def ask_when_measured(p: Places, events: F8, at: int) -> None:
    """Ask for the first half of an account's record."""
    fetch(p, _start(p, events, at, ACCOUNTS), _ACCOUNT // 2)


@compiled
def ask_when_told(p: Places, events: F8, at: int) -> None:
    """Ask for the rest of it that most payments touch, and for its place for the destination."""
    account = _start(p, events, at, ACCOUNTS)
    fetch(p, account + _ACCOUNT // 2, _ACCOUNT - _ACCOUNT // 2)
    known = int(events[min(at + _REST, len(events) - 1), E_DESTINATION]) % KNOWN_DESTINATION_SETS
    prefetch(p.arena, account + KNOWN_DESTINATIONS + _PAIR * known)


@compiled
def ask_at_last(p: Places, events: F8, at: int) -> None:
    """Ask for the records of an actor, a destination and a device."""
    fetch(p, _start(p, events, at, ACTORS), _ACTOR)
    fetch(p, _start(p, events, at, DESTINATIONS), _DESTINATION)
    fetch(p, _start(p, events, at, DEVICES), _DEVICE)


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
