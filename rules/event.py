"""One observation as a row of numbers: all that the kernel sees of it.

Rules enforced here:
- Ids become 52-bit keyed fingerprints, exact in a float; 0 means "not told". Kinds and countries become small codes.
- Facts and amounts that were not told are NaN.
- The row depends on the observation and the salt alone, so rows may be made in any order, by any process.
"""

import hashlib
import ipaddress
from functools import lru_cache
from math import nan
from typing import Final

from rules.arrays import F8
from rules.lists.countries import COUNTRY_AT
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


@lru_cache(maxsize=65_536)
def fingerprint(text: str, salt: str) -> float:
    """A 52-bit BLAKE2b fingerprint of an id (RFC 7693), keyed by the salt, as an exact float; never 0."""
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


@lru_cache(maxsize=16_384)
def block_of(ip: str) -> str:
    """The network block that an address stands for: /24 of IPv4, /48 of IPv6, else the text itself.

    >>> block_of("203.0.113.7"), block_of("2001:db8:1:2::3"), block_of("somewhere")
    ('203.0.113.0/24', '2001:db8:1::/48', 'somewhere')
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))  # noqa: PLR2004 -- IPv4


@lru_cache(maxsize=65_536)
def look_key(destination: str, salt: str) -> float:
    """The fingerprint of a destination's look; 0 when it has none."""
    look = look_of(destination)
    return fingerprint(look, salt) if look is not None else 0.0


def _key_of(text: str | None, salt: str) -> float:
    return fingerprint(text, salt) if text else 0.0


def _fact(told: bool | None) -> float:  # noqa: FBT001 -- a fact, not a switch
    return nan if told is None else float(told)


def _number(told: float | None) -> float:
    return nan if told is None else told


def write_row(row: F8, told: Observation, salt: str) -> None:
    """Put an observation into a row. ``E_FROZEN`` and ``E_HISTORY`` are the caller's and become 0."""
    row[E_KIND] = kind_code(told.kind)
    row[E_FAMILY] = family_code(told.kind)
    row[E_AT_US] = told.occurred_at_us
    row[E_RECEIVED_US] = told.received_at_us
    row[E_ACCOUNT] = _key_of(told.account, salt)
    row[E_ACTOR] = _key_of(told.actor, salt)
    row[E_DESTINATION] = _key_of(told.destination, salt)
    row[E_LOOK] = look_key(told.destination, salt) if told.destination else 0.0
    row[E_ASSET] = _key_of(told.asset, salt)
    row[E_CHAIN] = _key_of(chain_of(told.asset), salt) if told.asset else 0.0
    row[E_COUNTRY] = _key_of(told.country, salt)
    row[E_COUNTRY_AT] = COUNTRY_AT.get(told.country.upper(), -1) if told.country else -1
    row[E_BLOCK] = fingerprint(block_of(told.ip), salt) if told.ip else 0.0
    row[E_NETWORK] = fingerprint(f"as{told.asn}", salt) if told.asn is not None else row[E_BLOCK]
    row[E_DEVICE] = _key_of(told.device, salt)
    row[E_SESSION] = _key_of(told.session, salt)
    row[E_GROUP] = _key_of(told.peer_group, salt)
    row[E_DESTINATION_KIND] = _DESTINATION_KIND_AT.get(told.destination_kind or "", len(DESTINATION_KINDS) - 1)
    row[E_AMOUNT_USD] = _number(told.amount_usd)
    row[E_AMOUNT_UNITS] = _number(told.amount_units)
    row[E_BALANCE_USD] = _number(told.balance_usd)
    row[E_COUNTS] = float(told.counts)
    row[E_DELEGATECALL] = _fact(told.delegatecall)
    row[E_UNLIMITED] = _fact(told.unlimited_approval)
    row[E_GOVERNANCE_CALL] = _fact(told.governance_call)
    row[E_MISMATCH] = _fact(told.display_mismatch)
    row[E_CONTRACT_AGE_S] = _number(told.contract_age_s)
    row[E_FROZEN] = 0.0
    row[E_HISTORY] = 0.0
