"""Bitcoin's networks by CAIP-2 id, and addresses as output scripts.

Rules: a network is named `bip122:` and the first 32 digits of its genesis block's hash (CAIP-2, BIP-122). An address is read
strictly: base58check of version and 20 bytes (P2PKH, P2SH), bech32 for witness version 0 (BIP-173), bech32m for 1 to 16
(BIP-350), and always of the network that was asked for. A witness version that nobody can spend yet is an address, but
none that we send to: `payable` refuses it.
"""

from dataclasses import dataclass
from typing import Any, Final, cast

from embit import base58, bech32
from embit.networks import NETWORKS

from service.domain.errors import InputError

MAX_SATS: Final = 21_000_000 * 100_000_000
"""All coins there can be, in satoshis."""
MAX_ADDRESS: Final = 90
_HASH_BYTES: Final = 20
_TAPROOT_BYTES: Final = 32
_OP_1: Final = 0x51
_OP_16: Final = 0x60
_TO_KEY_HASH: Final = 25
_TO_SCRIPT_HASH: Final = 23
_WITNESS_V0: Final = (b"\x00\x14", b"\x00\x20")
"""How a program of version 0 begins: a hash of 20 bytes, or of 32."""


@dataclass(frozen=True, slots=True)
class Network:
    """One Bitcoin network."""

    chain: str
    """CAIP-2."""
    name: str
    """main | test | signet | regtest, as the library of scripts calls it."""
    coin: int
    """The coin type of BIP-44: 0, or 1 for every network whose coins are worth nothing."""

    @property
    def asset(self) -> str:
        """The coin as CAIP-19."""
        return f"{self.chain}/slip44:{self.coin}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The prefixes of addresses and keys."""
        return cast("dict[str, Any]", NETWORKS[self.name])

    @property
    def xpub_version(self) -> bytes:
        """The version bytes of its extended public keys (BIP-32)."""
        return bytes(self.parameters["xpub"])


MAIN: Final = Network("bip122:000000000019d6689c085ae165831e93", "main", 0)
TEST: Final = Network("bip122:000000000933ea01ad0ee984209779ba", "test", 1)
SIGNET: Final = Network("bip122:00000008819873e925422c1ff0f99f7c", "signet", 1)
REGTEST: Final = Network("bip122:0f9188f13cb7b2c71f2a335e3a4fc328", "regtest", 1)
NETWORK_OF: Final = {network.chain: network for network in (MAIN, TEST, SIGNET, REGTEST)}


def network_of(chain: str) -> Network:
    """Return a network by its CAIP-2 id. Raises InputError."""
    found = NETWORK_OF.get(chain)
    if found is None:
        raise InputError(f"{chain[:60]!r} is no Bitcoin network: one of {', '.join(NETWORK_OF)}", field="chain")
    return found


def script_of(address: str, network: Network) -> bytes:
    """Return the output script of an address. Raises InputError that says what is wrong with it."""
    if not 0 < len(address) <= MAX_ADDRESS or not address.isascii() or not address.isprintable():
        raise InputError(f"a Bitcoin address has 1 to {MAX_ADDRESS} printable characters", field="address")
    if address.lower().startswith(f"{network.parameters['bech32']}1"):
        return _witness(address, network)
    return _legacy(address, network)


def payable(address: str, network: Network) -> bytes:
    """Return the output script of an address that somebody can spend today. Raises InputError."""
    script = script_of(address, network)
    if _is_future_witness(script) and not (script[0] == _OP_1 and script[1] == _TAPROOT_BYTES):
        raise InputError(f"{address} is of a kind that has no rules yet: nothing is sent there", field="address")
    return script


def address_of(script: bytes, network: Network) -> str | None:
    """Return the address of an output script; None for one that has none (bare multisig, data, anything else; BIP-141)."""
    if len(script) == _TO_KEY_HASH and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return str(base58.encode_check(network.parameters["p2pkh"] + script[3:23]))
    if len(script) == _TO_SCRIPT_HASH and script[:2] == b"\xa9\x14" and script[22:] == b"\x87":
        return str(base58.encode_check(network.parameters["p2sh"] + script[2:22]))
    if script[:2] in _WITNESS_V0 and len(script) == script[1] + 2:
        return str(bech32.encode(network.parameters["bech32"], 0, script[2:]))
    if _is_future_witness(script):
        return str(bech32.encode(network.parameters["bech32"], script[0] - _OP_1 + 1, script[2:]))
    return None


def _is_future_witness(script: bytes) -> bool:
    """Say whether it is a witness program of version 1 to 16 (BIP-141)."""
    return len(script) in range(4, 43) and script[0] in range(_OP_1, _OP_16 + 1) and script[1] == len(script) - 2


def _witness(address: str, network: Network) -> bytes:
    version, program = bech32.decode(network.parameters["bech32"], address)
    if version is None or program is None:
        raise InputError(
            f"{address} is no bech32 address: its checksum or form is wrong (BIP-173, BIP-350)", field="address"
        )
    return bytes([version and version + _OP_1 - 1, len(program), *program])


def _legacy(address: str, network: Network) -> bytes:
    try:
        data = bytes(base58.decode_check(address))
    except (ValueError, IndexError):
        raise InputError(
            f"{address} is no address of {network.name}: neither base58check nor bech32 with its prefix",
            field="address",
        ) from None
    prefix, body = data[:1], data[1:]
    if len(body) == _HASH_BYTES and prefix == network.parameters["p2pkh"]:
        return b"\x76\xa9\x14" + body + b"\x88\xac"
    if len(body) == _HASH_BYTES and prefix == network.parameters["p2sh"]:
        return b"\xa9\x14" + body + b"\x87"
    raise InputError(f"{address} is an address of another network or of a kind that nobody knows", field="address")
