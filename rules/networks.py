"""How a network is named where people name one: ``asN``, or the address block that the engine keeps.

Rules enforced here:
- An activity's network is its AS where that is told, else the block of its address (``rules.event``). A block is named as
  the engine makes it: /24 of IPv4, /48 of IPv6 (RFC 4632, RFC 5952), no other length and no host bits, so that nobody
  names half of the internet. It means every address in it, whether or not the AS is told with it.
- An AS number is plain decimal of 32 bits (RFC 5396, RFC 6793), without leading zeros, after a lower-case ``as``.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final

NAMED: Final = "asN, or a block: /24 of IPv4 or /48 of IPv6"
"""What a network's name is, for messages."""

_IPV4_LENGTH: Final = 24
_IPV6_LENGTH: Final = 48
_IPV4: Final = 4
_SYSTEM: Final = re.compile(r"as(0|[1-9][0-9]{0,9})", re.ASCII)
_LARGEST_SYSTEM: Final = 2**32 - 1
_LONGEST: Final = 43
"""Characters of the longest block in its one spelling, with room to spare."""


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
    length = _IPV4_LENGTH if address.version == _IPV4 else _IPV6_LENGTH
    return str(ipaddress.ip_network((address, length), strict=False))


def is_system(name: str) -> bool:
    """Whether a name is that of an AS.

    >>> is_system("as64500"), is_system("AS64500"), is_system("as064500"), is_system("as4294967296")
    (True, False, False, False)
    """
    found = _SYSTEM.fullmatch(name)
    return found is not None and int(found.group(1)) <= _LARGEST_SYSTEM


def is_block(name: str) -> bool:
    """Whether a name is that of a block, spelt as the engine spells it.

    >>> is_block("203.0.113.0/24"), is_block("2001:db8:1::/48"), is_block("203.0.113.7/24"), is_block("10.0.0.0/8")
    (True, True, False, False)
    """
    if len(name) > _LONGEST:
        return False
    try:
        block = ipaddress.ip_network(name)
    except ValueError:
        return False
    return str(block) == name and block.prefixlen == (_IPV4_LENGTH if block.version == _IPV4 else _IPV6_LENGTH)


def is_network(name: str) -> bool:
    """Whether a name is that of a network at all."""
    return is_system(name) or is_block(name)


def names_of(asn: int | None, ip: str | None) -> tuple[str, ...]:
    """The names by which the network of an activity may be named: its AS, its block, whichever were told.

    >>> names_of(64500, "203.0.113.7"), names_of(None, None)
    (('as64500', '203.0.113.0/24'), ())
    """
    system = () if asn is None else (f"as{asn}",)
    return (*system, block_of(ip)) if ip else system
