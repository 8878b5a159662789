"""Wallets and coins of public keys alone, for tests that sign nothing."""

from embit import bip32
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from service.domain.bitcoin.coins import Coin, Outpoint, proven
from service.domain.bitcoin.descriptor import Cosigner, Descriptor, Kind
from service.domain.bitcoin.network import REGTEST, Network

PATH = "m/48h/1h/0h/2h"


def cosigner(number: int, network: Network = REGTEST) -> Cosigner:
    root = bip32.HDKey.from_seed(bytes([number]) * 32)
    return Cosigner.of(root.my_fingerprint.hex(), PATH, root.derive(PATH).to_public().to_base58(), network)


def wallet(kind: Kind = Kind.WSH, threshold: int = 2, keys: int = 3, network: Network = REGTEST) -> Descriptor:
    if kind.is_single:
        threshold = keys = 1
    return Descriptor.of(kind, threshold, tuple(cosigner(n + 1, network) for n in range(keys)), network)


def coin(of: Descriptor, amount: int, number: int = 0) -> Coin:
    place = of.place(0, 0)
    made = Transaction(
        2, [TransactionInput(number.to_bytes(32, "big"), 0)], [TransactionOutput(amount, Script(place.script_pubkey))]
    )
    return proven(Outpoint(made.txid().hex(), 0), made.serialize(), of, 0, 0)
