"""One observation as a row of numbers: all that the kernel sees of it.

Rules enforced here:
- Ids become 52-bit keyed fingerprints, exact in a float; 0 means "not told". Kinds and countries become small codes.
- Facts and amounts that were not told are NaN.
- The row depends on the observation and the salt alone, so rows may be made in any order, by any process.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import nan
from typing import Final, NamedTuple, TypeVar

import numpy as np

from rules.arrays import F8
from rules.lists.countries import COUNTRY_AT
from rules.networks import block_of
from rules.observation import Observation

E_KIND: Final = 0
E_FAMILY: Final = 1
E_AT_US: Final = 2
E_RECEIVED_US: Final = 3
E_ACCOUNT: Final = 4
E_ACTOR: Final = 5
E_DESTINATION: Final = 6
E_LOOK: Final = 7
E_ASSET: Final = 8
E_CHAIN: Final = 9
E_COUNTRY: Final = 10
E_COUNTRY_AT: Final = 11
E_NETWORK: Final = 12
E_BLOCK: Final = 13
E_DEVICE: Final = 14
E_SESSION: Final = 15
E_GROUP: Final = 16
E_DESTINATION_KIND: Final = 17
E_AMOUNT_USD: Final = 18
E_AMOUNT_UNITS: Final = 19
E_BALANCE_USD: Final = 20
E_COUNTS: Final = 21
E_DELEGATECALL: Final = 22
E_UNLIMITED: Final = 23
E_GOVERNANCE_CALL: Final = 24
E_MISMATCH: Final = 25
E_CONTRACT_AGE_S: Final = 26
E_FROZEN: Final = 27
E_HISTORY: Final = 28
E_LISTED: Final = 29
EVENT_WIDTH: Final = 32
"""Words of a row. Times are epoch microseconds, amounts USD or whole units."""

KINDS: Final = (
    "withdrawal.requested",
    "withdrawal.approved",
    "withdrawal.signed",
    "withdrawal.broadcast",
    "withdrawal.confirmed",
    "withdrawal.failed",
    "withdrawal.cancelled",
    "deposit.confirmed",
    "signing.requested",
    "access.login_succeeded",
    "access.login_failed",
    "access.api_key_used",
    "access.session_started",
    "access.device_enrolled",
    "access.mfa_reset",
    "access.mfa_enrolled",
    "access.password_changed",
    "access.api_key_created",
    "access.api_key_revoked",
    "governance.destination_whitelisted",
    "governance.policy_changed",
    "governance.role_changed",
    "governance.user_added",
    "governance.quorum_changed",
    "withdrawal.other",
    "signing.other",
    "access.other",
    "governance.other",
    "other",
)
"""Kinds of activity by code. The last five stand for kinds that are not in the list, by their first word."""

KIND_AT: Final = {kind: code for code, kind in enumerate(KINDS)}

MONEY: Final = 0
SIGNING: Final = 1
ACCESS: Final = 2
GOVERNANCE: Final = 3
OTHER: Final = 4
"""Codes of families (E_FAMILY)."""

DESTINATION_KINDS: Final = ("", "whitelisted", "one_time", "internal", "contract", "other")
"""Kinds of destination by code (E_DESTINATION_KIND); 0 is "not told", the last stands for kinds not in the list."""

_DESTINATION_KIND_AT: Final = {kind: code for code, kind in enumerate(DESTINATION_KINDS)}
_HEADS: Final = {"withdrawal": MONEY, "signing": SIGNING, "access": ACCESS, "governance": GOVERNANCE}
_NOT_LEAVING: Final = frozenset({"withdrawal.failed", "withdrawal.cancelled"})
_MOST_IDS: Final = 65_536
_MOST_ASSETS: Final = 4096
_MOST_COUNTRIES: Final = 1024
_MOST_KINDS: Final = 256
"""Texts of which is remembered what was worked out; countries are whatever a platform calls so."""
_T = TypeVar("_T")
_LOOK_CHARACTERS: Final = 4
_SHORTEST_ADDRESS: Final = 24
_SHARED_PREFIXES: Final = ("0x", "bc1q", "bc1p", "tb1q", "tb1p", "ltc1q")


@lru_cache(maxsize=256)
def family_code(kind: str) -> int:
    """The family of a kind; ``OTHER`` for what is not weighed at all.

    >>> family_code("withdrawal.requested") == MONEY, family_code("withdrawal.failed") == OTHER
    (True, True)
    """
    return OTHER if kind in _NOT_LEAVING else _HEADS.get(kind.partition(".")[0], OTHER)


@lru_cache(maxsize=256)
def kind_code(kind: str) -> int:
    """The code of a kind in ``KINDS``.

    >>> KINDS[kind_code("withdrawal.settled")], KINDS[kind_code("gossip")]
    ('withdrawal.other', 'other')
    """
    known = KIND_AT.get(kind)
    return known if known is not None else KIND_AT.get(kind.partition(".")[0] + ".other", KIND_AT["other"])


@lru_cache(maxsize=16)
def _key(salt: str) -> bytes:
    return hashlib.blake2b(salt.encode(), digest_size=16).digest()


class _Remembered(dict[str, _T]):
    """What was worked out of texts, by text; when it is of more than ``most``, all of it is forgotten.

    Not ``lru_cache``, which keeps an order: every look-up would touch several times as much memory.
    """

    def __init__(self, most: int, work_out: Callable[[str], _T]) -> None:
        super().__init__()
        self._most = most
        self._work_out = work_out

    def __missing__(self, text: str) -> _T:
        if len(self) >= self._most:
            self.clear()
        found = self[text] = self._work_out(text)
        return found


class _Keys(NamedTuple):
    """Fingerprints under one salt: of destinations with those of their looks, of assets with those of their chains.

    A country comes with its place in the list.
    """

    ids: _Remembered[float]
    destinations: _Remembered[tuple[float, float]]
    blocks: _Remembered[float]
    assets: _Remembered[tuple[float, float]]
    countries: _Remembered[tuple[float, float]]


@lru_cache(maxsize=16)
def _keys(salt: str) -> _Keys:
    ids = _Remembered(_MOST_IDS, lambda text: _fingerprint(text, salt))
    return _Keys(
        ids,
        # Not among the ids: what is told of one text lies in one place.
        _Remembered(_MOST_IDS, lambda destination: (_fingerprint(destination, salt), _look_key(destination, ids))),
        _Remembered(_MOST_IDS, lambda ip: ids[block_of(ip)]),
        _Remembered(_MOST_ASSETS, lambda asset: _asset_keys(asset, ids)),
        _Remembered(_MOST_COUNTRIES, lambda country: (ids[country], float(COUNTRY_AT.get(country.upper(), -1)))),
    )


def fingerprint(text: str, salt: str) -> float:
    """A 52-bit BLAKE2b fingerprint of an id (RFC 7693), keyed by the salt, as an exact float; never 0."""
    return _keys(salt).ids[text]


def _fingerprint(text: str, salt: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=_key(salt), person=b"portcullis-fp-v1").digest()
    return float((int.from_bytes(digest, "little") >> 12) or 1)


def look_of(destination: str) -> str | None:
    """The first and last four characters that a person compares, or ``None`` for ids too short to be an address.

    Prefixes that all addresses of a chain share (BIP-173, BIP-350, EIP-55) do not count as characters compared.

    >>> look_of("eip155:1:0xabcd000000000000000000000000000000009876")
    'abcd 9876'
    >>> look_of("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    'w508 f3t4'
    >>> look_of("main/warm-1") is None
    True
    """
    address = destination[destination.rfind(":") + 1 :].lower()
    for prefix in _SHARED_PREFIXES:
        address = address.removeprefix(prefix)
    if len(address) < _SHORTEST_ADDRESS:
        return None
    return address[:_LOOK_CHARACTERS] + " " + address[-_LOOK_CHARACTERS:]


def chain_of(asset: str) -> str | None:
    """The chain of a CAIP-19 asset, or ``None`` when the id names none.

    >>> chain_of("eip155:1/slip44:60"), chain_of("usdc")
    ('eip155:1', None)
    """
    chain, slash, _ = asset.partition("/")
    return chain if slash and ":" in chain else None


def look_key(destination: str, salt: str) -> float:
    """The fingerprint of a destination's look; 0 when it has none."""
    return _keys(salt).destinations[destination][1]


def _look_key(destination: str, ids: _Remembered[float]) -> float:
    look = look_of(destination)
    return ids[look] if look is not None else 0.0


def _asset_keys(asset: str, ids: _Remembered[float]) -> tuple[float, float]:
    chain = chain_of(asset)
    return ids[asset], ids[chain] if chain else 0.0


_KIND_CODES: Final = _Remembered(_MOST_KINDS, lambda kind: (kind_code(kind), family_code(kind)))
_NO_KEYS: Final = (0.0, 0.0)
_NO_COUNTRY: Final = (0.0, -1.0)
_FACTS: Final = {None: nan, False: 0.0, True: 1.0}


def _row_of(told: Observation, keys: _Keys) -> list[float]:
    """The words of an observation's row. ``E_FROZEN`` and ``E_HISTORY`` are the caller's and are 0.

    One display in the order of the words: a store into an array costs several times as much as a place in a list.
    """
    account, actor, destination, device = told.account, told.actor, told.destination, told.device
    session, group, ip, asn, listed = told.session, told.peer_group, told.ip, told.asn, told.destination_listed
    ids, destinations, blocks, assets, countries = keys
    kind, family = _KIND_CODES[told.kind]
    place, look = destinations[destination] if destination else _NO_KEYS
    asset, chain = assets[told.asset] if told.asset else _NO_KEYS
    country, country_at = countries[told.country] if told.country else _NO_COUNTRY
    block = blocks[ip] if ip else 0.0
    usd, units, balance, age_s = told.amount_usd, told.amount_units, told.balance_usd, told.contract_age_s
    return [
        kind,
        family,
        told.occurred_at_us,
        told.received_at_us,
        ids[account] if account else 0.0,
        ids[actor] if actor else 0.0,
        place,
        look,
        asset,
        chain,
        country,
        country_at,
        block if asn is None else ids[f"as{asn}"],
        block,
        ids[device] if device else 0.0,
        ids[session] if session else 0.0,
        ids[group] if group else 0.0,
        _DESTINATION_KIND_AT.get(told.destination_kind or "", len(DESTINATION_KINDS) - 1),
        nan if usd is None else usd,
        nan if units is None else units,
        nan if balance is None else balance,
        told.counts,
        _FACTS[told.delegatecall],
        _FACTS[told.unlimited_approval],
        _FACTS[told.governance_call],
        _FACTS[told.display_mismatch],
        nan if age_s is None else age_s,
        0.0,
        0.0,
        nan if listed is None else listed,
        *_REST,
    ]


_REST: Final = (0.0,) * (EVENT_WIDTH - E_LISTED - 1)
_PACKED: Final = struct.Struct(f"{EVENT_WIDTH}d")


def write_row(row: F8, told: Observation, salt: str) -> None:
    """Put an observation into a row; see ``_row_of``."""
    row[:] = _row_of(told, _keys(salt))


def rows_of(told: Sequence[Observation], salt: str) -> F8:
    """The rows of many observations; see ``_row_of``."""
    keys, pack_into = _keys(salt), _PACKED.pack_into
    rows = np.empty((len(told), EVENT_WIDTH), np.float64)
    data = rows.data
    for at, one in enumerate(told):
        pack_into(data, at * _PACKED.size, *_row_of(one, keys))
    return rows
