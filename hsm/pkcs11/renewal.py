"""Renewing the key that ballots are sealed for, with an overlap: what was sealed for the former key still opens.

Rules held here:
- The former key is kept under a name of its own and only opens; what is published and sealed for is the new one.
- One former key at a time: while one is kept, the next renewal is refused, or ballots of two generations ago would be lost
  without a word.
- A run that died half-way is finished by the next one (or by `hsm init`), and no key is destroyed by a renewal.
- The authority's token alone: ballots are opened within the hour, so an overlap of days loses none. What the other tokens
  seal stays sealed for years and is not renewed this way.
"""

import PyKCS11 as P

from hsm.errors import TokenLayoutError
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.layout import FORMER_UNSEAL_KEY, KEYS, UNSEAL_KEY, require_layout
from hsm.pkcs11.session import Token, TokenSession
from hsm.power import Power

_CLASSES = (P.CKO_PUBLIC_KEY, P.CKO_PRIVATE_KEY)
"""The public half is renamed first: what is left of a broken-off run is a private key of its old name, which still opens."""


def renew_ballot_key(config: TokenConfig) -> None:
    """Put a new ballot key in force in the authority's token and keep the present one for opening.

    Raises as `Token.open`, and TokenLayoutError for another power's token and while a former key is kept already.
    """
    token = Token.open(config)
    try:
        with token.exclusive() as session:
            require_layout(session, Power.AUTHORITY)
            _renew(session)
    finally:
        token.close()


def retire_former_key(config: TokenConfig) -> bool:
    """Destroy the former ballot key for good; False when none was kept. Raises as `renew_ballot_key`."""
    token = Token.open(config)
    try:
        with token.exclusive() as session:
            require_layout(session, Power.AUTHORITY)
            found = [handle for sort in _CLASSES for handle in session.find(FORMER_UNSEAL_KEY, sort)]
            for handle in found:
                session.destroy(handle)
            return bool(found)
    finally:
        token.close()


def _renew(session: TokenSession) -> None:
    present = session.find(UNSEAL_KEY, P.CKO_PRIVATE_KEY)
    if present and session.find(FORMER_UNSEAL_KEY, P.CKO_PRIVATE_KEY):
        raise TokenLayoutError(
            "a former ballot key is kept still: once every voter has the newest authority-ballots.pem, run "
            "`portcullis hsm ballots-retire`, then renew again"
        )
    if present:
        for sort in _CLASSES:
            for handle in session.find(UNSEAL_KEY, sort):
                session.write(handle, [(P.CKA_LABEL, FORMER_UNSEAL_KEY)])
    (spec,) = (one for one in KEYS[Power.AUTHORITY] if one.label == UNSEAL_KEY)
    spec.generate(session, UNSEAL_KEY)
