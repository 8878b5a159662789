"""What an attacker must be taken to hold, judged from which accounts he moved (BIP-32).

Rules: one leaf key that signed for the attacker, together with its account's extended public key, gives the account key
of every non-hardened sibling (BIP-32, "Implications"), so all leaves under that account path count as lost. Two leaves
under one account path mean the account key; two account paths of one wallet mean the seed, because hardened derivation
keeps them apart otherwise. What is not known is taken to be as bad as what was seen, never better.

A transfer that one of our keys signed and our gate never approved was signed elsewhere, and nobody can tell what else lies
there: the proven scope stays what it is, but the whole wallet is taken to be within reach (docs/adr/0011).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from service.domain.account import Account, Holder
from service.domain.ids import AccountId


class Scope(StrEnum):
    """How deep the attacker sits; each includes the one before."""

    NONE = "none"
    LEAF = "leaf"
    ACCOUNT_KEY = "account_key"
    SEED = "seed"


_DEPTH = {scope: depth for depth, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class WalletLoss:
    """What is lost of one vault wallet. `account_paths` are the harmed ones; everything below them is lost with them."""

    wallet_id: str
    scope: Scope
    """What is proven."""
    account_paths: tuple[str, ...]
    why: str
    reach: Scope
    """What must be assumed while nobody can tell; never less than `scope`. Containment goes this far."""


def losses(harmed: Sequence[Account], past_gate: Collection[AccountId] = ()) -> tuple[WalletLoss, ...]:
    """Return what is lost of each vault wallet that a harmed account belongs to, by wallet id.

    `past_gate`: harmed accounts that signed a transfer without our gate's approval.
    """
    ours = [a for a in harmed if a.holder is Holder.VAULT_KEY and a.wallet_id is not None]
    wallets = sorted({str(a.wallet_id) for a in ours})
    return tuple(
        _assumed(_proven(wallet, [a for a in ours if a.wallet_id == wallet]), ours, past_gate) for wallet in wallets
    )


def deepest(found: Sequence[WalletLoss]) -> Scope:
    """Return the deepest proven scope of all, `none` when there is no loss."""
    return max((loss.scope for loss in found), key=_DEPTH.__getitem__, default=Scope.NONE)


def explained(found: Sequence[WalletLoss]) -> str:
    """Return one sentence for each wallet, or why nothing is taken to be lost."""
    return " ".join(loss.why for loss in found) or "No key of ours is taken to be in the attacker's hands."


def _assumed(loss: WalletLoss, harmed: Sequence[Account], past_gate: Collection[AccountId]) -> WalletLoss:
    names = ", ".join(sorted(a.at.ref for a in harmed if a.wallet_id == loss.wallet_id and a.id in past_gate))
    if not names or loss.scope is Scope.SEED:
        return loss
    why = (
        f"{loss.why} {names} signed a transfer past our gate, so nobody can tell whether the attacker holds more of "
        f"wallet {loss.wallet_id}: every account of it is included until that is known."
    )
    return replace(loss, why=why, reach=Scope.SEED)


def _proven(wallet: str, accounts: Sequence[Account]) -> WalletLoss:
    paths = tuple(sorted({str(a.account_path) for a in accounts}))
    names = ", ".join(sorted(a.at.ref for a in accounts))
    if len(paths) > 1:
        why = f"{names} lie under different account keys of wallet {wallet}: its seed counts as lost."
        return WalletLoss(wallet, Scope.SEED, paths, why, Scope.SEED)
    if len(accounts) > 1:
        why = f"{names} share the account key {paths[0]} of wallet {wallet}: it counts as lost."
        return WalletLoss(wallet, Scope.ACCOUNT_KEY, paths, why, Scope.ACCOUNT_KEY)
    why = (
        f"The key of {names} signed for the attacker: it and its non-hardened siblings under {paths[0]} count as lost."
    )
    return WalletLoss(wallet, Scope.LEAF, paths, why, Scope.LEAF)
