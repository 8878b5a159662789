"""Tokens of vendors in memory: they read the C structures where Cryptoki would and derive by BIP-32 (embit, our yardstick).

No hardware was at hand: this holds our side to the published layouts and order of calls, not the vendors to theirs.
"""

import ctypes
from dataclasses import dataclass, field
from typing import Any

import PyKCS11 as P
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from hsm import ecdsa
from hsm.derivation import ExtendedKey
from hsm.keypath import HARDENED_OFFSET, DerivationPath, PathLevel
from hsm.pkcs11 import vendor

SEED_HANDLE = 1


@dataclass
class Held:
    """One object of the token."""

    key: ExtendedKey
    attributes: dict[int, Any]
    private: bool


def chain_code_of(key: ExtendedKey) -> bytes:
    return bytes(key._key.chain_code)


def level_of(wire: int) -> PathLevel:
    return PathLevel(wire % HARDENED_OFFSET, wire >= HARDENED_OFFSET)


def read_template(address: int, count: int) -> dict[int, bytes]:
    array = (vendor.Attribute * count).from_address(address)
    return {entry.type: ctypes.string_at(entry.pValue, entry.ulValueLen) for entry in array}


@dataclass
class VendorSession:
    """What the derivers ask of a session."""

    seed: bytes
    objects: dict[int, Held] = field(default_factory=dict)
    last: int = SEED_HANDLE

    def hold(self, key: ExtendedKey, attributes: dict[int, Any], *, private: bool) -> int:
        self.last += 1
        self.objects[self.last] = Held(key, attributes, private)
        return self.last

    def one(self, label: str, _: int) -> int:
        assert label == "wallet-seed:w"
        return SEED_HANDLE

    def find(self, label: str, object_class: int) -> list[int]:
        return [SEED_HANDLE] if object_class == P.CKO_SECRET_KEY and label == "wallet-seed:w" else []

    def read(self, handle: Any, attribute: int) -> bytes | None:
        held = self.objects[number(handle)]
        if attribute == vendor.CKA_BIP32_CHAIN_CODE:
            return None if held.private else chain_code_of(held.key)
        assert attribute == P.CKA_EC_POINT
        point = ecdsa.uncompressed(held.key.public_key)
        return b"\x04\x41" + point

    def write(self, handle: Any, template: list[tuple[int, Any]]) -> None:
        self.objects[number(handle)].attributes.update(dict(template))

    def destroy(self, handle: Any) -> None:
        del self.objects[number(handle)]

    def sign(self, handle: Any, mechanism: int, digest: bytes) -> bytes:
        held = self.objects[number(handle)]
        assert held.private
        assert mechanism == P.CKM_ECDSA
        return sign_raw(held.key, digest)

    def derive(self, base: Any, mechanism: int, parameter: bytes, template: list[tuple[int, Any]]) -> tuple[Any, bytes]:
        if mechanism == vendor.CKM_IBM_BTC_DERIVE:
            return self._ep11(number(base), parameter, dict(template))
        return None, self._thales(number(base), mechanism, parameter, template)

    def _thales(self, base: int, mechanism: int, parameter: bytes, template: list[tuple[int, Any]]) -> bytes:
        assert template == []
        params: Any
        if mechanism == vendor.CKM_BIP32_MASTER_DERIVE:
            assert base == SEED_HANDLE
            params = vendor.MasterDeriveParams.from_buffer_copy(parameter)
            key = ExtendedKey.from_seed(self.seed)
        else:
            assert mechanism == vendor.CKM_BIP32_CHILD_DERIVE
            params = vendor.ChildDeriveParams.from_buffer_copy(parameter)
            levels = (ctypes.c_ulong * params.ulPathLen).from_address(params.pulPath)
            key = self.objects[base].key.derive(DerivationPath(tuple(map(level_of, levels))))
        public = read_template(params.pPublicKeyTemplate, params.ulPublicKeyAttributeCount)
        private = read_template(params.pPrivateKeyTemplate, params.ulPrivateKeyAttributeCount)
        for part in (public, private):
            assert part[P.CKA_KEY_TYPE] == vendor.CKK_BIP32.to_bytes(8, "little")
        params.hPublicKey = self.hold(key, dict(public), private=False)
        params.hPrivateKey = self.hold(key, dict(private), private=True)
        return bytes(params)

    def _ep11(self, base: int, parameter: bytes, template: dict[int, Any]) -> tuple[int, bytes]:
        params = vendor.BtcDeriveParams.from_buffer_copy(parameter)
        assert params.version == vendor.IBM_VERSION
        assert template[vendor.CKA_IBM_USE_AS_DATA] == b"\x01"
        if params.type == vendor.IBM_MASTERK:
            assert (base, params.ulChainCodeLen) == (SEED_HANDLE, 0)
            key = ExtendedKey.from_seed(self.seed)
        else:
            parent = self.objects[base].key
            assert ctypes.string_at(params.pChainCode, params.ulChainCodeLen) == chain_code_of(parent)
            key = parent.derive(DerivationPath((level_of(params.childKeyIndex),)))
        ctypes.memmove(params.pChainCode, chain_code_of(key), vendor.CHAIN_CODE_BYTES)
        private = params.type != vendor.IBM_PRV2PUB
        assert template[P.CKA_CLASS] == (P.CKO_PRIVATE_KEY if private else P.CKO_PUBLIC_KEY)
        return self.hold(key, template, private=private), bytes(params)


def sign_raw(key: ExtendedKey, digest: bytes) -> bytes:
    """Sign as a token does: r and s, of either parity."""
    private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
    r, s = decode_dss_signature(private.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def number(handle: Any) -> int:
    """Return a handle's number, whichever of PyKCS11's or ours it is."""
    return handle if isinstance(handle, int) else int(handle.value())
