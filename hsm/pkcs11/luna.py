"""BIP-32 inside Thales Luna and ProtectToolkit tokens: master from the seed, then a whole path in one call.

Rules held here: C_DeriveKey is given no template of its own; both halves' templates and handles are in the parameter. Levels
are CK_ULONGs with 2^31 for hardened ones. The master pair is a session object and destroyed at once.
"""

import ctypes

import PyKCS11 as P

from hsm.errors import TokenOutcomeUnknownError
from hsm.keypath import DerivationPath
from hsm.pkcs11.keys import SECP256K1_OID
from hsm.pkcs11.nodes import Node
from hsm.pkcs11.session import Handle, TokenSession, handle_of
from hsm.pkcs11.vendor import (
    CHAIN_CODE_BYTES,
    CKA_BIP32_CHAIN_CODE,
    CKK_BIP32,
    CKM_BIP32_CHILD_DERIVE,
    CKM_BIP32_MASTER_DERIVE,
    ChildDeriveParams,
    MasterDeriveParams,
    Template,
    flag,
    ulong,
)


def derive_thales(session: TokenSession, seed: Handle, path: DerivationPath, label: str, kept: bool) -> Node:  # noqa: FBT001  one signature for both makers
    """Derive the node at `path`; its private half has `label` and stays in the token if `kept`."""
    at_master = not path.levels
    public, private = _public(), _private(label if at_master else "", kept=kept and at_master, signs=at_master)
    params = MasterDeriveParams(public.address, public.count, private.address, private.count, 0, 0)
    said = MasterDeriveParams.from_buffer_copy(session.derive(seed, CKM_BIP32_MASTER_DERIVE, bytes(params), [])[1])
    master = _node(session, said.hPrivateKey, said.hPublicKey)
    if at_master:
        return master
    try:
        return _child(session, master, path, label, kept)
    finally:
        session.destroy(master.private)
        session.destroy(master.public)


def _child(session: TokenSession, master: Node, path: DerivationPath, label: str, kept: bool) -> Node:  # noqa: FBT001  as above
    public, private = _public(), _private(label, kept=kept, signs=True)
    levels = (ctypes.c_ulong * len(path.levels))(*(level.wire for level in path.levels))
    params = ChildDeriveParams(
        public.address, public.count, private.address, private.count, ctypes.addressof(levels), len(levels), 0, 0, 0
    )
    answer = session.derive(master.private, CKM_BIP32_CHILD_DERIVE, bytes(params), [])[1]
    said = ChildDeriveParams.from_buffer_copy(answer)
    return _node(session, said.hPrivateKey, said.hPublicKey)


def _node(session: TokenSession, private: int, public: int) -> Node:
    if not (private and public):
        raise TokenOutcomeUnknownError("the token derived a key and named no handle of it")
    held = handle_of(public)
    chain_code = session.read(held, CKA_BIP32_CHAIN_CODE) or b""
    if len(chain_code) != CHAIN_CODE_BYTES:
        raise TokenOutcomeUnknownError("the token derived a key and does not show its chain code")
    return Node(handle_of(private), held, chain_code)


def _public() -> Template:
    return Template(
        [
            (P.CKA_TOKEN, flag(on=False)),
            (P.CKA_KEY_TYPE, ulong(CKK_BIP32)),
            (P.CKA_PRIVATE, flag(on=False)),
            (P.CKA_VERIFY, flag(on=True)),
            (P.CKA_EC_PARAMS, SECP256K1_OID),
        ]
    )


def _private(label: str, *, kept: bool, signs: bool) -> Template:
    return Template(
        [
            (P.CKA_TOKEN, flag(on=kept)),
            (P.CKA_KEY_TYPE, ulong(CKK_BIP32)),
            (P.CKA_PRIVATE, flag(on=True)),
            (P.CKA_SENSITIVE, flag(on=True)),
            (P.CKA_EXTRACTABLE, flag(on=False)),
            (P.CKA_SIGN, flag(on=signs)),
            (P.CKA_DERIVE, flag(on=not kept)),
            (P.CKA_LABEL, label.encode()),
            (P.CKA_EC_PARAMS, SECP256K1_OID),
        ]
    )
