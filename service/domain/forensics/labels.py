"""Lists of addresses that somebody published, and labels of one's own: read strictly, normalised, never guessed.

Rules: two forms. A plain list has one address a line, as sanctions lists are published, and one name and kind for all of
it; a table is CSV with the columns address, name, kind. `#` begins a comment, empty lines count for nothing. An EVM address
is 0x and 40 hexadecimal digits, in mixed case only with a right checksum (EIP-55); a Bitcoin address is of the main network
or a test one (BIP-173, BIP-350, base58check). Anything else is an error that names its line: an address that was mistyped
would leave a service unnamed, and nobody would see it. Where two lists name one address, a sanctioned one comes first.
One person imports a list, so no label ends a trace unseen, and only one that says that many people's money is mixed there
ends it at all: of what is sanctioned, a thief's, a scam or said to be our own, the trace goes on and names it.
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from eth_hash.auto import keccak

from service.domain.bitcoin.network import NETWORK_OF, script_of
from service.domain.errors import InputError

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_ENTRIES: Final = 100_000
MAX_NAME: Final = 120
_EVM: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_COLUMNS: Final = ["address", "name", "kind"]
_UPPER: Final = frozenset("89abcdef")


class LabelKind(StrEnum):
    """What an address is, as whoever labelled it says."""

    SANCTIONED = "sanctioned"
    THIEF = "thief"
    EXCHANGE = "exchange"
    MIXER = "mixer"
    BRIDGE = "bridge"
    SERVICE = "service"
    SCAM = "scam"
    OWN = "own"


MIXES: Final = frozenset({LabelKind.EXCHANGE, LabelKind.MIXER, LabelKind.BRIDGE, LabelKind.SERVICE})
"""Kinds that mix the money of many: what such an address pays out is not the thief's."""
_RANK: Final = {kind: place for place, kind in enumerate(LabelKind)}


@dataclass(frozen=True, slots=True)
class Origin:
    """Which list names an address."""

    source: str
    listed_on: str
    """The list's own date, YYYY-MM-DD."""
    imported_by: str


@dataclass(frozen=True, slots=True)
class Label:
    """One address's name."""

    address: str
    """0x in lower case, or a Bitcoin address as it is written."""
    name: str
    kind: LabelKind
    origin: Origin | None = None
    """None while its list is being read."""

    def ends_a_trace(self, *, past_labels: bool) -> bool:
        """Whether money is not followed beyond it; `past_labels`: people asked to go past all kinds but `service`."""
        return self.kind is LabelKind.SERVICE or (self.kind in MIXES and not past_labels)


@dataclass(frozen=True, slots=True)
class AddressList:
    """One list as it was imported."""

    labels: tuple[Label, ...]
    digest: str
    """SHA-256 of the file, hexadecimal: the same file is imported once."""


def read_list(body: bytes, name: str, kind: LabelKind) -> AddressList:
    """Read a list; `name` and `kind` are what a plain one's addresses are called. Raises InputError naming the line."""
    if not 0 < len(body) <= MAX_BYTES:
        raise InputError(f"a list has 1 to {MAX_BYTES} bytes", field="list")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("a list is UTF-8 text", field="list") from None
    found: dict[str, Label] = {}
    for number, label in _lines(text, name, kind):
        if len(found) >= MAX_ENTRIES:
            raise InputError(f"line {number}: a list has at most {MAX_ENTRIES} addresses: split it", field="list")
        if label.address in found and found[label.address] != label:
            raise InputError(f"line {number}: {label.address} stands there twice, named differently", field="list")
        found[label.address] = label
    if not found:
        raise InputError("the list holds no address", field="list")
    return AddressList(tuple(found.values()), hashlib.sha256(body).hexdigest())


def normalised(address: str) -> str:
    """Return an address as it is compared. Raises InputError for an unknown kind of address."""
    if _EVM.fullmatch(address):
        if not _is_checksummed(address):
            raise InputError(f"{address} is mistyped: its checksum is wrong (EIP-55)", field="address")
        return address.lower()
    for network in NETWORK_OF.values():
        try:
            script_of(address, network)
        except InputError:
            continue
        return address.lower() if address.lower().startswith(f"{network.parameters['bech32']}1") else address
    raise InputError(
        f"{address[:100]!r} is of no kind that is known: an EVM address (0x…) or a Bitcoin address", field="address"
    )


def foremost(labels: Iterable[Label]) -> dict[str, Label]:
    """Return one label for each address: the gravest kind, then the first by name."""
    found: dict[str, Label] = {}
    for label in sorted(labels, key=lambda one: (_RANK[one.kind], one.name)):
        found.setdefault(label.address, label)
    return found


def _lines(text: str, name: str, kind: LabelKind) -> Iterator[tuple[int, Label]]:
    rows = [(number, line) for number, line in enumerate(text.splitlines(), 1) if _is_entry(line)]
    if rows and [c.strip().lower() for c in rows[0][1].split(",")] == _COLUMNS:
        for number, line in rows[1:]:
            cells = next(csv.reader([line], strict=True), [])
            if len(cells) != len(_COLUMNS):
                raise InputError(f"line {number}: has {len(cells)} columns, not address, name, kind", field="list")
            yield number, _label(number, cells[0], cells[1], cells[2])
        return
    for number, line in rows:
        yield number, _label(number, line.partition("#")[0], name, kind.value)


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _label(number: int, address: str, name: str, kind: str) -> Label:
    shown = name.strip()
    if not 0 < len(shown) <= MAX_NAME or not shown.isprintable():
        raise InputError(f"line {number}: a name is 1 to {MAX_NAME} printable characters", field="list")
    try:
        return Label(normalised(address.strip()), shown, LabelKind(kind.strip().lower()))
    except InputError as error:
        raise InputError(f"line {number}: {error}", field="list") from error
    except ValueError:
        raise InputError(f"line {number}: kind is one of {', '.join(LabelKind)}", field="list") from None


def _is_checksummed(address: str) -> bool:
    digits = address[2:]
    if digits in (digits.lower(), digits.upper()):
        return True
    mask = keccak(digits.lower().encode()).hex()
    return all(not c.isalpha() or c.isupper() == (m in _UPPER) for c, m in zip(digits, mask, strict=False))
