"""BIP-340 signatures: the BIP's own vectors, and refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import HsmInputError
from hsm.schnorr import sign, verify

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
