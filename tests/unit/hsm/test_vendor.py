"""Vendors' BIP-32: layouts byte by byte, the choice by capability, and the BIP-32 vectors through their calls."""

import ctypes
import os
from typing import cast

import PyKCS11
import pytest

from hsm import ecdsa
from hsm.custodian import Curve, KeyRef, SealedSeed
from hsm.errors import HsmInputError, SealError, TokenOutcomeUnknownError
from hsm.keypath import DerivationPath
from hsm.pkcs11 import trees, vendor
from hsm.pkcs11.session import TokenSession
from hsm.pkcs11.vendor import Dialect
from tests.support.vendor import VendorSession
from tests.unit.hsm.bip32_vectors import VALID, Chain

WORD = 8
"""sizeof(CK_ULONG) and of a pointer on LP64."""


@pytest.mark.parametrize(
    ("structure", "offsets", "size"),
    [
        (vendor.Attribute, {"type": 0, "pValue": 8, "ulValueLen": 16}, 24),
        (
            vendor.MasterDeriveParams,
            {
                "pPublicKeyTemplate": 0,
                "ulPublicKeyAttributeCount": 8,
                "pPrivateKeyTemplate": 16,
                "ulPrivateKeyAttributeCount": 24,
                "hPublicKey": 32,
                "hPrivateKey": 40,
            },
            48,
        ),
        (
            vendor.ChildDeriveParams,
            {
                "pPublicKeyTemplate": 0,
                "ulPublicKeyAttributeCount": 8,
                "pPrivateKeyTemplate": 16,
                "ulPrivateKeyAttributeCount": 24,
                "pulPath": 32,
                "ulPathLen": 40,
                "hPublicKey": 48,
                "hPrivateKey": 56,
                "ulPathErrorIndex": 64,
            },
            72,
        ),
        (
            vendor.BtcDeriveParams,
            {"type": 0, "childKeyIndex": 8, "pChainCode": 16, "ulChainCodeLen": 24, "version": 32},
            40,
        ),
    ],
)
def test_layouts_are_those_of_the_public_headers(
    structure: type[ctypes.Structure], offsets: dict[str, int], size: int
) -> None:
    assert {name: getattr(structure, name).offset for name in offsets} == offsets
    assert all(getattr(structure, name).size == WORD for name in offsets)
    assert ctypes.sizeof(structure) == size
    assert [field[0] for field in structure._fields_] == list(offsets)


def test_numbers_are_those_of_the_public_headers() -> None:
    assert (vendor.CKM_BIP32_MASTER_DERIVE, vendor.CKM_BIP32_CHILD_DERIVE) == (0x80000E00, 0x80000E01)
    assert (vendor.CKK_BIP32, vendor.CKA_BIP32_CHAIN_CODE) == (0x80000014, 0x80001100)
    assert (vendor.CKM_IBM_BTC_DERIVE, vendor.CKA_IBM_USE_AS_DATA) == (0x80070001, 0x80010008)
    assert (vendor.IBM_PRV2PRV, vendor.IBM_PRV2PUB, vendor.IBM_MASTERK, vendor.IBM_VERSION) == (1, 2, 4, 1)


def test_bytes_of_a_parameter_and_a_template() -> None:
    params = vendor.BtcDeriveParams(vendor.IBM_PRV2PRV, 0x8000002C, 0x1122334455667788, 32, 1)
    assert bytes(params).hex() == "01000000000000002c0000800000000088776655443322112000000000000000" + "01" + "00" * 7
    template = vendor.Template([(PyKCS11.CKA_TOKEN, vendor.flag(on=False)), (PyKCS11.CKA_LABEL, b"leaf")])
    words = (ctypes.c_ulong * 6).from_address(template.address)
    assert (words[0], words[2], words[3], words[5]) == (PyKCS11.CKA_TOKEN, 1, PyKCS11.CKA_LABEL, 4)
    assert (ctypes.string_at(words[1], 1), ctypes.string_at(words[4], 4)) == (b"\x00", b"leaf")
    assert vendor.ulong(vendor.CKK_BIP32) == bytes.fromhex("1400008000000000")


def test_what_a_token_writes_into_a_parameter_is_read_back() -> None:
    """`TokenSession.derive` rests on PyKCS11 handing the module the very memory that it keeps."""
    prepared = PyKCS11.Mechanism(vendor.CKM_BIP32_MASTER_DERIVE, bytes(48))
    native = (ctypes.c_ulong * 3).from_address(int(prepared.to_native().this))
    assert (native[0], native[2]) == (vendor.CKM_BIP32_MASTER_DERIVE, 48)
    ctypes.memmove(native[1] + 40, vendor.ulong(77), 8)
    assert vendor.MasterDeriveParams.from_buffer_copy(bytes(prepared._param)).hPrivateKey == 77


@pytest.mark.parametrize(
    ("maker", "mechanisms", "dialect"),
    [
        ("SafeNet", {0x80000E00, 0x80000E01, 0x1041}, Dialect.THALES),
        ("Thales", {0x80000E00, 0x80000E01}, Dialect.THALES),
        ("Thales", {0x80000E00}, None),
        ("IBM", {0x80070001}, Dialect.EP11),
        ("IBM", {0x80000E00, 0x80000E01}, None),
        ("Somebody else", {0x80000E00, 0x80000E01, 0x80070001}, None),
        ("SoftHSM project", {0x1041}, None),
        ("", set(), None),
    ],
)
def test_the_dialect_follows_from_capability_and_maker(
    maker: str, mechanisms: set[int], dialect: Dialect | None
) -> None:
    assert vendor.dialect_of(maker, frozenset(mechanisms)) is dialect


def tree(session: VendorSession, dialect: Dialect) -> trees.TokenTree:
    return trees.TokenTree(cast("TokenSession", session), "w", dialect)


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("chain", VALID, ids=lambda chain: f"vector {chain.name}")
def test_bip32_vectors_pass_through_a_vendor_s_calls(chain: Chain, dialect: Dialect) -> None:
    session = VendorSession(chain.seed)
    keys = tree(session, dialect)
    for link in chain.links:
        path = DerivationPath.parse(link.path)
        if dialect is Dialect.EP11 and len(path.levels) < 2:
            continue
        assert keys.xpub(path) == link.xpub
        digest = os.urandom(32)
        public = keys.public_key(KeyRef("w", path))
        ecdsa.finish(keys.sign_once(KeyRef("w", path), digest), digest, public)
        assert session.objects == {}, "nothing stays in the token"


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_leaf_that_is_kept_may_sign_and_nothing_else(dialect: Dialect) -> None:
    session = VendorSession(bytes(range(64)))
    ref = KeyRef("w", DerivationPath.account(44, 60, 0).leaf(0, 3))
    keys = tree(session, dialect)
    keys.put(ref)
    (held,) = session.objects.values()
    said = {kind: value in (True, b"\x01") for kind, value in held.attributes.items()}
    assert held.attributes[PyKCS11.CKA_LABEL] in (ref.label, ref.label.encode())
    assert held.attributes[PyKCS11.CKA_ID] == held.key.public_key == keys.public_key(ref)
    assert [said[kind] for kind in (PyKCS11.CKA_TOKEN, PyKCS11.CKA_SENSITIVE, PyKCS11.CKA_SIGN)] == [True] * 3
    assert [said[kind] for kind in (PyKCS11.CKA_EXTRACTABLE, PyKCS11.CKA_DERIVE)] == [False] * 2


def test_ed25519_is_not_asked_of_them() -> None:
    with pytest.raises(HsmInputError, match="sealed seeds only"):
        tree(VendorSession(bytes(64)), Dialect.THALES).public_key(KeyRef("w", DerivationPath(), Curve.ED25519))


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_wallet_inside_a_token_opens_there_only(dialect: Dialect) -> None:
    session = cast("TokenSession", VendorSession(bytes(64)))
    sealed = trees.new_seed(session, "w", dialect, 64)
    with trees.opened(session, sealed, "w", dialect) as found:
        assert isinstance(found, trees.TokenTree)
    other = next(one for one in (*Dialect, None) if one is not dialect)
    for wallet, of in (("x", dialect), ("w", other), ("w", None)):
        with pytest.raises(SealError), trees.opened(session, sealed, wallet, of):
            pass
    with pytest.raises(SealError), trees.opened(session, SealedSeed(b"PCT1junk"), "w", dialect):
        pass


def test_a_token_that_names_no_handle_is_not_believed() -> None:
    session = VendorSession(bytes(64))
    session.derive = lambda *_: (None, bytes(48))  # type: ignore[method-assign]  # it wrote nothing
    with pytest.raises(TokenOutcomeUnknownError, match="no handle"):
        tree(session, Dialect.THALES).public_key(KeyRef("w", DerivationPath.account(44, 60, 0)))
