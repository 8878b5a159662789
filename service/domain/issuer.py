"""Issuers of tokens who can freeze an address, as the policy in force names them.

Rules: an issuer is named for one token (CAIP-19, an ERC-20 by its contract); where a letter to it goes stands beside it and
is part of what the authority signed, so that no row redirects a letter.
"""

import re
from typing import Final

import msgspec

from service.domain.errors import InputError

MOST_ISSUERS: Final = 100
MAX_NAME: Final = 120
_ASSET: Final = re.compile(r"eip155:[0-9]{1,20}/erc20:0x[0-9a-f]{40}", re.ASCII)
_CONTACT: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_CHANNEL: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who can freeze one token, and how he is reached. Raises InputError naming the field."""

    asset: str
    """CAIP-19, in lower case."""
    name: str
    contact: str
    """A mail address."""
    channel: str
    """Id of a mail channel."""

    def __post_init__(self) -> None:
        if _ASSET.fullmatch(self.asset) is None:
            raise InputError("asset is a token such as eip155:1/erc20:0x…, in lower case", field="issuers.asset")
        if not 0 < len(self.name) <= MAX_NAME or not self.name.isprintable():
            raise InputError(f"name is one line of 1 to {MAX_NAME} printable characters", field="issuers.name")
        if _CONTACT.fullmatch(self.contact) is None or not self.contact.isprintable():
            raise InputError("contact is an address like freeze@example.org", field="issuers.contact")
        if _CHANNEL.fullmatch(self.channel) is None:
            raise InputError("channel is the id of a mail channel", field="issuers.channel")


def require_distinct(issuers: tuple[Issuer, ...]) -> None:
    """Raise InputError for too many, or for two of one token."""
    if len(issuers) > MOST_ISSUERS:
        raise InputError(f"at most {MOST_ISSUERS} issuers", field="issuers")
    if len({one.asset for one in issuers}) != len(issuers):
        raise InputError("each token has one issuer", field="issuers")
