"""BIP-340 signatures and BIP-86 keys: the BIPs' own vectors, and refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import HsmInputError
from hsm.schnorr import output_key, sign, sign_alone, verify

# BIP-340 test-vectors.csv, rows 0 and 1: secret key, public key (x), aux_rand, message, signature.
VECTORS = [
    (
        "0000000000000000000000000000000000000000000000000000000000000003",
        "F9308A019258C31049344F85F89D5229B531C845836F99B08601F113BCE036F9",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "E907831F80848D1069A5371B402410364BDF1C5F8307B0084C55F1CE2DCA821525F66A4A85EA8B71E482A74F382D2CE5EBEEE8FDB2172F477DF4900D310536C0",
    ),
    (
        "B7E151628AED2A6ABF7158809CF4F3C762E7160F38B4DA56A784D9045190CFEF",
        "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "0000000000000000000000000000000000000000000000000000000000000001",
        "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE33418906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A",
    ),
]


@pytest.mark.parametrize("vector", VECTORS)
def test_the_vectors_of_bip_340(vector: tuple[str, ...]) -> None:
    secret, public, aux, message, signature = map(bytes.fromhex, vector)
    assert sign(secret, message, aux) == signature
    assert verify(signature, message, b"\x02" + public)


# BIP-341 wallet-test-vectors.json, keyPathSpending, the input without a script tree: internalPrivkey, sigHash, and the
# signature in its witness without the type of hash; its output key is that of scriptPubKey[0].
KEY_PATH = (
    "6b973d88838f27366ed61c9ad6367663045cb456e28335c109e30717ae0c6baa",
    "2514a6272f85cfa0f45eb907fcb0d121b808ed37c6ea160a5a9046ed5526d555",
    "ed7c1647cb97379e76892be0cacff57ec4a7102aa24296ca39af7541246d8ff14d38958d4cc1e2e478e4d4a764bbfd835b16d4e314b72937b29833060b87276c",
)
INTERNAL = "d6889cb081036e0faefa3a35157ad71086b123b2b144b649798b494c300a961d"
OUTPUT = "53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343"
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


def test_the_vector_of_bip_341_without_a_script_tree() -> None:
    secret, digest, signature = map(bytes.fromhex, KEY_PATH)
    assert output_key(b"\x02" + bytes.fromhex(INTERNAL)).hex() == OUTPUT
    assert output_key(b"\x03" + bytes.fromhex(INTERNAL)).hex() == OUTPUT, "a taproot key has no sign"
    assert sign_alone(secret, digest, bytes(32)) == signature
    other_sign = (ORDER - int.from_bytes(secret, "big")).to_bytes(32, "big")
    assert sign_alone(other_sign, digest, bytes(32)) == signature


def test_the_vector_of_bip_86() -> None:
    internal = "cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115"
    assert output_key(b"\x02" + bytes.fromhex(internal)).hex() == (
        "a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"
    )


def test_an_output_s_signature_is_not_its_leaf_s() -> None:
    secret, digest, signature = map(bytes.fromhex, KEY_PATH)
    leaf, output = b"\x02" + bytes.fromhex(INTERNAL), b"\x02" + bytes.fromhex(OUTPUT)
    assert verify(signature, digest, output)
    assert not verify(signature, digest, leaf)
    assert not verify(sign(secret, digest, bytes(32)), digest, output)


def test_what_is_not_32_bytes_is_refused() -> None:
    secret = bytes.fromhex(VECTORS[0][0])
    with pytest.raises(HsmInputError, match="digest"):
        sign(secret, b"short", bytes(32))
    with pytest.raises(HsmInputError, match="randomness"):
        sign(secret, bytes(32), b"")


@given(st.integers(0, 511), st.binary(min_size=32, max_size=32))
def test_one_flipped_bit_does_not_verify(bit: int, digest: bytes) -> None:
    secret, public = bytes.fromhex(VECTORS[0][0]), b"\x02" + bytes.fromhex(VECTORS[0][1])
    good = sign(secret, digest, bytes(32))
    assert verify(good, digest, public)
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    assert not verify(bytes(bad), digest, public)
    assert not verify(good[:-1], digest, public)
