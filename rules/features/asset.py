"""What is sent: assets and chains that the account never used, against how often it uses new ones."""

from typing import Final

from rules.baseline.layout import (
    KNOWN_ASSET_SLOTS,
    KNOWN_ASSETS,
    KNOWN_CHAIN_SLOTS,
    KNOWN_CHAINS,
    LEARNED,
    NEW_ASSET,
    NEW_CHAIN,
)
from rules.baseline.statistics import imprint, move_rate, recall
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_ASSET, E_CHAIN
from rules.features import rarity
from rules.features.declared import FACT, Group, declare
from rules.features.frame import Frame
from rules.features.weighing import tell_fact

_ASSET_RATE: Final = 0.3
_CHAIN_RATE: Final = 0.1
_ASSET: Final = Group("asset", 0.05)

ASSET_NEW = declare(
    "asset_new",
    unit="yes or no",
    reads=f"the account's last {KNOWN_ASSET_SLOTS} assets, against its rate of new ones",
    null_when="no account or no asset",
    group=_ASSET,
    show=FACT,
)
CHAIN_NEW = declare(
    "chain_new",
    unit="yes or no",
    reads="the chain named by the asset against the account's last few, against its rate of new ones",
    null_when="no account, or an asset that names no chain",
    group=_ASSET,
    show=FACT,
)


@compiled
def measure(f: Frame) -> None:
    """Weigh the asset and its chain.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", asset="eip155:1/slip44:60")["chain_new"]
    1.0
    """
    if f.event[E_ACCOUNT] == 0.0:
        return
    account = f.account
    if f.event[E_ASSET] != 0.0:
        new = not recall(account, KNOWN_ASSETS, KNOWN_ASSET_SLOTS, f.event[E_ASSET])
        tell_fact(f, ASSET_NEW, 1.0 if new else 0.0, account[NEW_ASSET])
        if new:
            rarity.note_rate(f, rarity.NEW_ASSET, account[LEARNED], account[NEW_ASSET], _ASSET_RATE)
    if f.event[E_CHAIN] != 0.0:
        new = not recall(account, KNOWN_CHAINS, KNOWN_CHAIN_SLOTS, f.event[E_CHAIN])
        tell_fact(f, CHAIN_NEW, 1.0 if new else 0.0, account[NEW_CHAIN])
        if new:
            rarity.note_rate(f, rarity.NEW_CHAIN, account[LEARNED], account[NEW_CHAIN], _CHAIN_RATE)


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn the asset and the chain of this account."""
    if f.event[E_ACCOUNT] == 0.0:
        return
    if f.event[E_ASSET] != 0.0:
        move_rate(f.account, NEW_ASSET, f.values[ASSET_NEW], rate)
        imprint(f.account, KNOWN_ASSETS, KNOWN_ASSET_SLOTS, f.event[E_ASSET])
    if f.event[E_CHAIN] != 0.0:
        move_rate(f.account, NEW_CHAIN, f.values[CHAIN_NEW], rate)
        imprint(f.account, KNOWN_CHAINS, KNOWN_CHAIN_SLOTS, f.event[E_CHAIN])
