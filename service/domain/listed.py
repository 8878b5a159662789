"""Which imported lists name a destination, and how gravely: what intake tells of it, and how a list is withdrawn.

Rules: of several labels on one address the gravest counts, then that of the newest list. A newer list never undoes what an
older one says, not even one of the same source: whoever wants that withdraws the older one, which takes a quorum (design
D4). A list never changes, so a set of lists is known by its names. "Not listed" is said only of what lists could name, an
EVM or Bitcoin address (CAIP-10 or bare), and only while a list is in force; of all else nothing is known.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from rules.learning import ListsInForce
from rules.observation import LISTINGS
from service.domain.approval import Item, one_line
from service.domain.errors import InputError
from service.domain.forensics.labels import LabelKind
from service.domain.plan import Effect

UNLIST: Final = "blind.address_list"
MAX_LISTS: Final = 100
"""Lists in force at once."""
MAX_WATCHED: Final = 200_000
"""Labels of `WATCHED` kinds in all lists in force: some 65 MB in each process that scores, if each has a name of its own."""
NOT_LISTED: Final = 0
_LEVELS: Final = {LabelKind(words): level for level, words in enumerate(LISTINGS) if level != NOT_LISTED}
WATCHED: Final = frozenset(_LEVELS)
"""Kinds of labels that detectors look at; the others only name addresses for people."""
_EVM_LENGTH: Final = 42
_EVM: Final = ("eip155:", "0x")
_BITCOIN: Final = re.compile(
    r"(?:bip122:[0-9a-f]{32}:)?(?:(?:bc|tb|bcrt)1[0-9a-z]{8,87}|[123mn][0-9a-z]{25,34})", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ListKept:
    """One imported list as it stands."""

    id: str
    source: str
    listed_on: str
    """The list's own date, YYYY-MM-DD."""
    entries: int
    imported_by: str
    digest: str
    """SHA-256 of the file."""
    in_force: bool
    """False once it was withdrawn."""


class Listing(NamedTuple):
    """What one list says of an address; one object for all addresses that a list names alike."""

    level: int
    """Place in `rules.observation.LISTINGS`."""
    listed_on: str
    source: str
    name: str

    @property
    def words(self) -> str:
        """Say it as a person reads it."""
        return f"{LISTINGS[self.level]} by {self.source}, list of {self.listed_on}, as {self.name}"


class Labelled(NamedTuple):
    """One row of a list: an address in the form in which lists keep it, and what it is."""

    address: str
    kind: LabelKind
    listed_on: str
    source: str
    name: str


class Listings:
    """All that the lists in force say, by address. Grows list by list; a withdrawn one needs a new object."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        """The lists that it holds."""
        self._found: dict[str, Listing] = {}
        self._alike: dict[Listing, Listing] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, rows: Iterable[Labelled]) -> None:
        """Take in rows of a list; those of kinds that nobody looks at are left out."""
        for row in rows:
            if row.kind not in WATCHED:
                continue
            told = Listing(_LEVELS[row.kind], row.listed_on, row.source, row.name)
            told = self._alike.setdefault(told, told)
            before = self._found.get(row.address)
            if before is None or told > before:
                self._found[row.address] = told

    def of(self, destination: str | None) -> Listing | None:
        """Return what is said of a destination, None where nothing is."""
        if destination is None:
            return None
        return self._named(destination[destination.rfind(":") + 1 :])

    def worst(self, places: Iterable[str]) -> tuple[str, Listing] | None:
        """Return the place of which the gravest is said, and what; None where nothing is said of any."""
        named = [(found, place) for place in places if (found := self.of(place)) is not None]
        return None if not named else max(named, key=itemgetter(0))[::-1]

    def level(self, destination: str | None) -> int | None:
        """Return its place in `LISTINGS`; None where lists could say nothing of it."""
        if destination is None:
            return None
        address = destination[destination.rfind(":") + 1 :]
        found = self._named(address)
        if found is not None:
            return found.level
        if len(address) == _EVM_LENGTH and destination.startswith(_EVM):  # by far the most: no pattern is tried
            return NOT_LISTED
        return NOT_LISTED if _BITCOIN.fullmatch(destination) else None

    def _named(self, address: str) -> Listing | None:
        found = self._found.get(address)
        return self._found.get(address.lower()) if found is None and not address.islower() else found


class ListChange(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A request to the learning sequence: one list comes into force, or one is withdrawn."""

    add: str | None = None
    remove: str | None = None

    def after(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return which lists are in force after it. Raises InputError unless it is one of the two."""
        if (self.add is None) == (self.remove is None):
            raise InputError("a change of the lists adds one or removes one", field="add")
        if self.add is not None:
            return tuple(names) if self.add in names else (*names, self.add)
        return tuple(name for name in names if name != self.remove)

    def row(self) -> bytes:
        """Return the request's row."""
        return msgspec.json.encode(self)


def in_force(payload: bytes | None) -> tuple[str, ...]:
    """Return the lists that a row of the sequence names; none before the first row. Raises InputError."""
    if payload is None:
        return ()
    try:
        return msgspec.json.decode(payload, type=ListsInForce).lists
    except msgspec.MsgspecError as error:
        raise InputError(f"the lists in force are malformed: {error}", field="lists") from error


def unlist_item(kept: ListKept) -> Item:
    """Return what a document asks for that withdraws a list."""
    return Item(
        step="",
        action=UNLIST,
        effect=Effect.LOOSENS,
        target={"kind": "address_list", "value": kept.id},
        params={
            "source": kept.source,
            "listed_on": kept.listed_on,
            "entries": kept.entries,
            "imported_by": kept.imported_by,
            "digest": kept.digest,
        },
        sentence=one_line(
            f"Withdraw the list of {kept.entries} labelled addresses of {kept.source}, dated {kept.listed_on}: payments to "
            "them are held and alerted on no more, unless another list names them."
        ),
    )


def unlisted(item: Item) -> str:
    """Return which list an approved item withdraws. Raises InputError when it is about something else."""
    if item.action != UNLIST or item.target.get("kind") != "address_list":
        raise InputError("the document withdraws no address list", field="what")
    return item.target["value"]
