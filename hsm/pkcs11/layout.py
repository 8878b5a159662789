"""Which keys each power's token holds, and the mark that says which version of this table set it up (design D7).

Rules held here:
- One power, one token, one table entry. A process that opens a token states the power it expects; a token of another
  power or of another layout version is refused with what to do, before any key is used.
- The mark is a data object labelled `portcullis-layout`, written last, so an interrupted set-up is recognised as
  unfinished.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import PyKCS11 as P

from hsm.errors import TokenLayoutError
from hsm.pkcs11.keys import P256_OID, SECP256K1_OID, generate_aes, generate_ec, generate_rsa
from hsm.pkcs11.session import TokenSession
from hsm.power import Power

LAYOUT_VERSION: Final = 2
"""2: the authority's token opens sealed ballots."""
LAYOUT_LABEL: Final = "portcullis-layout"
MAX_MARK_BYTES: Final = 256

CALLBACK_KEY: Final = "callback-response"
UNSEAL_KEY: Final = "secrets-unseal"
FORMER_UNSEAL_KEY: Final = "secrets-unseal-former"
"""The ballot key before the present one, while it is kept (`renewal.py`)."""
VOTE_KEY: Final = "vote-signing"
CHECKPOINT_KEY: Final = "audit-checkpoint"
IMPORT_KEY: Final = "key-import"
SEED_KEY: Final = "seed-seal"
STATEMENT_KEY: Final = "statement"
GUARDIAN_KEY: Final = "guardian"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key that a power's token must hold, and how it is generated there."""

    label: str
    object_class: int
    generate: Callable[[TokenSession, str], None]


def _rsa(label: str, bits: int, use: int) -> KeySpec:
    return KeySpec(label, P.CKO_PRIVATE_KEY, partial(generate_rsa, bits=bits, use=use))


def _ec(label: str, curve: bytes) -> KeySpec:
    return KeySpec(label, P.CKO_PRIVATE_KEY, partial(generate_ec, curve=curve))


KEYS: Final[dict[Power, tuple[KeySpec, ...]]] = {
    Power.GATE: (_rsa(CALLBACK_KEY, 2048, P.CKA_SIGN), _rsa(UNSEAL_KEY, 3072, P.CKA_DECRYPT)),
    Power.AUTHORITY: (
        _ec(VOTE_KEY, P256_OID),
        _ec(CHECKPOINT_KEY, P256_OID),
        _rsa(UNSEAL_KEY, 3072, P.CKA_DECRYPT),
    ),
    Power.PLATFORM: (_rsa(UNSEAL_KEY, 3072, P.CKA_DECRYPT), _rsa(IMPORT_KEY, 3072, P.CKA_UNWRAP)),
    Power.VAULT: (
        KeySpec(SEED_KEY, P.CKO_SECRET_KEY, generate_aes),
        _rsa(IMPORT_KEY, 3072, P.CKA_UNWRAP),
        _ec(STATEMENT_KEY, P256_OID),
    ),
    Power.GUARDIAN: (_ec(GUARDIAN_KEY, SECP256K1_OID),),
}


def read_mark(session: TokenSession) -> tuple[int, str] | None:
    """Return (layout version, power) of the token's mark, or None when it has none.

    Raises TokenLayoutError if unreadable.
    """
    found = session.find(LAYOUT_LABEL, P.CKO_DATA)
    if not found:
        return None
    try:
        raw = session.read(found[0], P.CKA_VALUE) or b""
        mark = json.loads(raw[:MAX_MARK_BYTES])
        version, power = mark["version"], mark["power"]
    except (ValueError, KeyError, TypeError):
        version = power = None
    if len(found) != 1 or not isinstance(version, int) or not isinstance(power, str):
        raise TokenLayoutError("the token's layout mark cannot be read: restore the token folder from its backup")
    return version, power


def write_mark(session: TokenSession, power: Power) -> None:
    """Mark the token as set up, completely, by this version."""
    body = json.dumps({"version": LAYOUT_VERSION, "power": power.value}).encode()
    session.create(
        [
            (P.CKA_CLASS, P.CKO_DATA),
            (P.CKA_TOKEN, True),
            (P.CKA_PRIVATE, False),
            (P.CKA_LABEL, LAYOUT_LABEL),
            (P.CKA_VALUE, body),
        ]
    )


def require_layout(session: TokenSession, power: Power) -> None:
    """Raise TokenLayoutError unless the token was set up for this power by this layout version."""
    mark = read_mark(session)
    if mark is None:
        raise TokenLayoutError(f"the token's set-up is unfinished: run `portcullis hsm init --power {power}` again")
    version, found = mark
    if found != power:
        raise TokenLayoutError(f"the token belongs to the power {found!r}, not {power.value!r}: check the PKCS#11 URI")
    if version < LAYOUT_VERSION:
        raise TokenLayoutError(
            f"the token has layout version {version}, older than {LAYOUT_VERSION}: back its folder up, then run "
            f"`portcullis hsm init --power {power} --upgrade`"
        )
    if version > LAYOUT_VERSION:
        raise TokenLayoutError(
            f"the token has layout version {version}, newer than {LAYOUT_VERSION}: upgrade Portcullis"
        )
