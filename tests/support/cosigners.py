"""Keys of Bitcoin wallets in a custodian: made, described, and asked to sign."""

from dataclasses import dataclass, field

from hsm.custodian import KeyCustodian, KeyRef, SealedSeed
from hsm.derivation import ExtendedKey
from hsm.keypath import DerivationPath
from hsm.schnorr import TaprootSigner
from service.domain.bitcoin.descriptor import Cosigner, Descriptor, Kind
from service.domain.bitcoin.network import REGTEST
from service.domain.bitcoin.psbt import Signature, Unsigned

PATH = "m/48h/1h/0h/2h"


class Custodian(KeyCustodian, TaprootSigner):
    """Both at once, as the vault token is."""


@dataclass
class Cosigners:
    """Any number of wallets of one key each."""

    token: Custodian
    seeds: dict[str, SealedSeed] = field(default_factory=dict)
    wallet_of: dict[str, str] = field(default_factory=dict)

    def new(self, wallet: str) -> Cosigner:
        self.seeds[wallet] = self.token.create_wallet(wallet)
        master = self.token.open_account(self.seeds[wallet], wallet, DerivationPath())
        account = self.token.open_account(self.seeds[wallet], wallet, DerivationPath.parse(PATH))
        fingerprint = ExtendedKey.parse(master.xpub).fingerprint.hex()
        self.wallet_of[fingerprint] = wallet
        return Cosigner.of(fingerprint, PATH, account.xpub, REGTEST)

    def sign(self, unsigned: Unsigned, who: Cosigner) -> list[Signature]:
        """Return one key's signatures of every input."""
        made = []
        for number, coin in enumerate(unsigned.draft.coins):
            wallet = self.wallet_of[who.fingerprint]
            path = DerivationPath.parse(f"{who.path}/{coin.place.branch}/{coin.place.index}")
            self.token.leaf(self.seeds[wallet], wallet, path)
            point = next(key for key, owner in coin.place.keys.items() if owner == who)
            ref, digest = KeyRef(wallet, path), unsigned.digest(number)
            kind = unsigned.descriptor.kind
            if kind.is_taproot:
                value = self.token.sign_taproot(self.seeds[wallet], ref, digest, key_path=kind.is_single)
            else:
                value = self.token.sign(ref, digest).der()
            made.append(Signature(number, point, value))
        return made


def any_wallet(cosigners: Cosigners, kind: Kind, name: str) -> tuple[Descriptor, list[Cosigner]]:
    """Return a wallet of a kind, 2 of 3 or of one key, with its keys; the last ones are as many as must sign."""
    if not kind.is_single:
        return two_of_three(cosigners, kind, name)
    key = cosigners.new(f"{name}-{kind.value}")
    return Descriptor.of(kind, 1, (key,), REGTEST), [key]


def two_of_three(cosigners: Cosigners, kind: Kind, name: str) -> tuple[Descriptor, list[Cosigner]]:
    keys = [cosigners.new(f"{name}-{kind.value}-{letter}") for letter in "abc"]
    return Descriptor.of(kind, 2, tuple(keys), REGTEST), keys
