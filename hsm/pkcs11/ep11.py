"""BIP-32 inside IBM EP11 tokens: one level with each call, the chain code handed from call to call.

Rules held here: the chain code goes in and comes back through the parameter's pointer; for the master none goes in. Keys on
the way are session objects and destroyed at once. The public half comes from the parent by its own call (PRV2PUB), the
master's from the private key's CKA_EC_POINT.
"""

import ctypes
from typing import Any

import PyKCS11 as P

from hsm.keypath import DerivationPath
from hsm.pkcs11.keys import SECP256K1_OID, private_template
from hsm.pkcs11.nodes import Node
from hsm.pkcs11.session import Handle, TokenSession
from hsm.pkcs11.vendor import (
    CHAIN_CODE_BYTES,
    CKA_IBM_USE_AS_DATA,
    CKM_IBM_BTC_DERIVE,
    IBM_MASTERK,
    IBM_PRV2PRV,
    IBM_PRV2PUB,
    IBM_VERSION,
    BtcDeriveParams,
    flag,
)


def derive_ep11(session: TokenSession, seed: Handle, path: DerivationPath, label: str, kept: bool) -> Node:  # noqa: FBT001  one signature for both makers
    """Derive the node at `path`; its private half has `label` and stays in the token if `kept`.

    Raises DerivationError for the master itself, which has no parent to give its public half: name an account.
    """
    above = path.parent.levels
    key, chain_code = _derive(session, seed, IBM_MASTERK, 0, b"", _private("", kept=False))
    for level in above:
        child, after = _derive(session, key, IBM_PRV2PRV, level.wire, chain_code, _private("", kept=False))
        session.destroy(key)
        key, chain_code = child, after
    try:
        last = path.levels[-1].wire
        public, _ = _derive(session, key, IBM_PRV2PUB, last, chain_code, _PUBLIC)
        private, after = _derive(session, key, IBM_PRV2PRV, last, chain_code, _private(label, kept=kept))
    finally:
        session.destroy(key)
    return Node(private, public, after)


def _derive(
    session: TokenSession, base: Handle, kind: int, index: int, chain_code: bytes, template: list[tuple[int, Any]]
) -> tuple[Handle, bytes]:
    held = ctypes.create_string_buffer(chain_code, CHAIN_CODE_BYTES)
    params = BtcDeriveParams(kind, index, ctypes.addressof(held), len(chain_code), IBM_VERSION)
    handle, _ = session.derive(base, CKM_IBM_BTC_DERIVE, bytes(params), template)
    return handle, held.raw


def _private(label: str, *, kept: bool) -> list[tuple[int, Any]]:
    return [
        (P.CKA_CLASS, P.CKO_PRIVATE_KEY),
        (P.CKA_KEY_TYPE, P.CKK_EC),
        (P.CKA_EC_PARAMS, SECP256K1_OID),
        (P.CKA_DERIVE, not kept),
        (CKA_IBM_USE_AS_DATA, flag(on=True)),
        *private_template(label, P.CKA_SIGN, kept=kept),
    ]


_PUBLIC: list[tuple[int, Any]] = [
    (P.CKA_CLASS, P.CKO_PUBLIC_KEY),
    (P.CKA_KEY_TYPE, P.CKK_EC),
    (P.CKA_EC_PARAMS, SECP256K1_OID),
    (P.CKA_TOKEN, False),
    (P.CKA_VERIFY, True),
    (CKA_IBM_USE_AS_DATA, flag(on=True)),
]
