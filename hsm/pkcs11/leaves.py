"""Leaves of wallets as objects of the token: putting them in, finding them, keeping them out for good.

Rules held here:
- A leaf is one private key object, sensitive and not extractable, whose CKA_ID is its public key; those of before also
  have a public key object of the same label, which is read where CKA_ID is not a key.
- secp256k1 leaves are unwrapped (CKM_AES_KEY_WRAP_PAD under a transport key that lives for one batch); SoftHSM 2.6 does
  not unwrap Ed25519 keys, so those are created from their value, which a token in FIPS mode refuses.
- A leaf that must never come back has a tombstone, a data object `destroyed:LABEL`, which is written first.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import PyKCS11 as P
from cryptography.hazmat.primitives.asymmetric import ec

from hsm import ecdsa
from hsm.custodian import Curve, KeyRef
from hsm.errors import KeyNotFoundError, KeyUseRefusedError
from hsm.pkcs11.keys import TransportKey, ec_point, private_template, transport_key, unwrap_private
from hsm.pkcs11.layout import IMPORT_KEY
from hsm.pkcs11.session import Handle, TokenSession

TOMBSTONE: Final = "destroyed:"
PUBLIC_BYTES: Final = {Curve.SECP256K1: 33, Curve.ED25519: 32}
ED25519_OID: Final = bytes.fromhex("06032b6570")
"""DER of 1.3.101.112, id-Ed25519 (RFC 8410)."""
LISTED_FROM: Final = 5
"""A lookup by label walks the whole token; from so many on, one walk that reads all labels is shorter."""


@contextmanager
def passing(session: TokenSession) -> Iterator["Leaves"]:
    """Give a way to put leaves into the token, all of a batch under one transport key."""
    with ExitStack() as stack:
        yield Leaves(session, stack)


class Leaves:
    """Puts leaves into the token, to stay or for a moment. The transport key is shared at the first of them."""

    def __init__(self, session: TokenSession, stack: ExitStack) -> None:
        self._session = session
        self._stack = stack
        self._transport: TransportKey | None = None

    def put(self, ref: KeyRef, secret: bytes, public: bytes) -> None:
        """Put one leaf into the token as a token object."""
        if ref.curve is Curve.ED25519:
            _create_ed25519(self._session, ref.label, secret, public)
        else:
            self._unwrap(secret, _template(ref.label, public, kept=True))

    def sign(self, label: str, secret: bytes, public: bytes, digest: bytes) -> bytes:
        """Let a secp256k1 leaf that is a session object sign a digest, then destroy it; return r ‖ s."""
        handle = self._unwrap(secret, _template(label, public, kept=False))
        try:
            return self._session.sign(handle, P.CKM_ECDSA, digest)
        finally:
            self._session.destroy(handle)

    def _unwrap(self, secret: bytes, template: list[tuple[int, Any]]) -> Handle:
        if self._transport is None:
            self._transport = self._stack.enter_context(transport_key(self._session, IMPORT_KEY))
        key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())
        return unwrap_private(self._session, self._transport, key, template)


def complete(session: TokenSession, handle: Handle, ref: KeyRef, public: bytes) -> bytes:
    """Return the public key of a leaf that is in the token; one that died before it was named gets `public`."""
    try:
        return public_of(session, handle, ref)
    except KeyNotFoundError:
        session.write(handle, [(P.CKA_ID, public)])
        return public


def public_of(session: TokenSession, handle: Handle, ref: KeyRef) -> bytes:
    """Return the public key of a leaf that is in the token. Raises KeyNotFoundError when it has none."""
    held = session.read(handle, P.CKA_ID) or b""
    if len(held) == PUBLIC_BYTES[ref.curve]:
        return held
    return ecdsa.compressed(ec_point(session, ref.label))


def find_all(
    session: TokenSession, refs: Sequence[KeyRef], object_class: int = P.CKO_PRIVATE_KEY
) -> dict[str, list[Handle]]:
    """Return the keys of leaves by label; a label without one has an empty list."""
    return _by_label(session, [ref.label for ref in refs], object_class)


def barred(session: TokenSession, refs: Sequence[KeyRef]) -> frozenset[str]:
    """Return the labels of leaves that must not come back."""
    found = _by_label(session, [TOMBSTONE + ref.label for ref in refs], P.CKO_DATA)
    return frozenset(label.removeprefix(TOMBSTONE) for label, handles in found.items() if handles)


def require_free(session: TokenSession, refs: Sequence[KeyRef]) -> None:
    """Raise KeyUseRefusedError if one of the leaves must not come back."""
    for label in barred(session, refs):
        raise KeyUseRefusedError(f"{label} was destroyed or retired and does not come back: derive another path")


def bar(session: TokenSession, refs: Sequence[KeyRef]) -> None:
    """Leave a tombstone for each leaf. Repeating it changes nothing."""
    there = barred(session, refs)
    for ref in refs:
        if ref.label not in there:
            session.create(
                [
                    (P.CKA_CLASS, P.CKO_DATA),
                    (P.CKA_TOKEN, True),
                    (P.CKA_PRIVATE, True),
                    (P.CKA_LABEL, TOMBSTONE + ref.label),
                    (P.CKA_VALUE, b"1"),
                ]
            )


def _by_label(session: TokenSession, labels: Sequence[str], object_class: int) -> dict[str, list[Handle]]:
    if len(labels) < LISTED_FROM:
        return {label: session.find(label, object_class) for label in labels}
    listed = session.labels(object_class)
    return {label: listed.get(label, []) for label in labels}


def _template(label: str, public: bytes, *, kept: bool) -> list[tuple[int, Any]]:
    return [
        (P.CKA_CLASS, P.CKO_PRIVATE_KEY),
        (P.CKA_KEY_TYPE, P.CKK_EC),
        (P.CKA_ID, public),
        *private_template(label, P.CKA_SIGN, kept=kept),
    ]


def _create_ed25519(session: TokenSession, label: str, secret: bytes, public: bytes) -> Handle:
    return session.create(
        [
            (P.CKA_CLASS, P.CKO_PRIVATE_KEY),
            (P.CKA_KEY_TYPE, P.CKK_EC_EDWARDS),
            (P.CKA_EC_PARAMS, ED25519_OID),
            (P.CKA_VALUE, secret),
            (P.CKA_ID, public),
            *private_template(label, P.CKA_SIGN, kept=True),
        ]
    )
