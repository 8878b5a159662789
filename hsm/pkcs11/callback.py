"""The gate token's callback keys: several may sign at once, so that one is replaced by another without a gap.

Rules held here:
- The first key is the one that set-up made; it has no name. Further ones have one, which stands in the address that a
  co-signer calls (`/cosigner/{connection}/key/{name}/…`), so that address and key change together, in one step there.
- A retired key stays in the token and signs nothing any more (CKA_SIGN = false, PKCS#11 v2.40 section 4.9); its name is
  never given to another one. The last key that signs cannot be retired.
- RSA-2048, the only size that the platform's co-signer takes; it signs only and cannot leave.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import PyKCS11 as P

from hsm.errors import HsmInputError, KeyNotFoundError
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.keys import generate_rsa, public_pem
from hsm.pkcs11.layout import CALLBACK_KEY, require_layout
from hsm.pkcs11.session import Token, TokenSession
from hsm.power import Power

MAX_KEYS: Final = 32
_BITS: Final = 2048
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_SEPARATOR: Final = ":"


@dataclass(frozen=True, slots=True)
class CallbackKey:
    """One key; the first has the empty name."""

    name: str
    signs: bool
    public_key_pem: bytes


def label_of(name: str) -> str:
    """Return a key's label in the token. Raises HsmInputError for a name that can be none."""
    if not name:
        return CALLBACK_KEY
    if _NAME.fullmatch(name) is None:
        raise HsmInputError("a key's name is 1 to 32 small letters, digits and -, and begins with no -", field="name")
    return f"{CALLBACK_KEY}{_SEPARATOR}{name}"


def list_keys(config: TokenConfig) -> tuple[CallbackKey, ...]:
    """Return every callback key, the first one first."""
    with _opened(config) as token, token.session() as session:
        return _found(session)


def add_key(config: TokenConfig, name: str) -> CallbackKey:
    """Make one more key. Raises HsmInputError for a name in use, or when there are too many keys."""
    label = label_of(name)
    with _opened(config) as token, token.exclusive() as session:
        known = _found(session)
        if any(key.name == name for key in known):
            raise HsmInputError(
                f"a callback key {name!r} is there already, retired or not: take another name", field="name"
            )
        if len(known) >= MAX_KEYS:
            raise HsmInputError(f"the token holds {MAX_KEYS} callback keys, the most that it may", field="name")
        for stale in session.find(label, P.CKO_PUBLIC_KEY):
            session.destroy(stale)
        generate_rsa(session, label, _BITS, P.CKA_SIGN)
        return _key(session, name, label)


def retire_key(config: TokenConfig, name: str) -> CallbackKey:
    """Let a key sign nothing any more, in every process at once. Raises KeyNotFoundError, HsmInputError for the last."""
    label = label_of(name)
    with _opened(config) as token, token.exclusive() as session:
        handle = session.one(label, P.CKO_PRIVATE_KEY)
        if [key.name for key in _found(session) if key.signs] == [name]:
            raise HsmInputError("this is the last callback key that signs: add another one first", field="name")
        session.write(handle, [(P.CKA_SIGN, False)])
        return _key(session, name, label)


def signing_handle(session: TokenSession, name: str) -> object:
    """Return the handle of a key that signs. Raises KeyNotFoundError for one that is not there or retired."""
    handle = session.one(label_of(name), P.CKO_PRIVATE_KEY)
    if not session.flag(handle, P.CKA_SIGN):
        raise KeyNotFoundError(f"the callback key {name or 'of set-up'!r} is retired and signs nothing")
    return handle


@contextmanager
def _opened(config: TokenConfig) -> Iterator[Token]:
    with closing(Token.open(config)) as token:
        with token.session() as session:
            require_layout(session, Power.GATE)
        yield token


def _found(session: TokenSession) -> tuple[CallbackKey, ...]:
    labels = sorted(
        label
        for label in session.labels(P.CKO_PRIVATE_KEY)
        if label == CALLBACK_KEY or label.startswith(CALLBACK_KEY + _SEPARATOR)
    )
    return tuple(_key(session, label.removeprefix(CALLBACK_KEY).removeprefix(_SEPARATOR), label) for label in labels)


def _key(session: TokenSession, name: str, label: str) -> CallbackKey:
    signs = session.flag(session.one(label, P.CKO_PRIVATE_KEY), P.CKA_SIGN)
    return CallbackKey(name, signs, public_pem(session, label))
