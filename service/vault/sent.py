"""What became of an own EVM wallet's sweep transactions, address by address, and sending again what is nowhere.

Rules: a transaction is settled once it is in a block, or another one took its nonce. While it is neither it is under way as
long as its chain knows it. What the chain does not know never arrived, was thrown out of the node's pool, or was in a block
that a reorganisation dropped: whatever our row says, the very same bytes are sent again while the nonce is free. That takes
no key, and pays once. What the chain then refuses has failed, and so has what our address signed for the nonces after it:
behind a gap nothing gets into a block, and those nonces are needed for what is signed anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.errors import RefusedByOtherSideError, UnknownOutcomeError
from service.domain.vault import SweepState, SweepTransaction
from service.vault.destinations import give_up
from service.vault.entries import move_sweep
from service.vault.parts import VaultParts


@dataclass(frozen=True, slots=True)
class Watched:
    """What of an address's transactions is not settled, each by nonce."""

    under_way: tuple[SweepTransaction, ...] = ()
    nowhere: tuple[SweepTransaction, ...] = ()

    @property
    def settled(self) -> bool:
        """Say whether nothing is left to wait for."""
        return not (self.under_way or self.nowhere)


def watch(parts: VaultParts, rows: Sequence[SweepTransaction]) -> Watched:
    """Ask the chain what became of the transactions of one address, by nonce; what is settled is noted.

    Raises what the chain raises.
    """
    waiting = [row for row in rows if row.state is not SweepState.FAILED]
    if not waiting:
        return Watched()
    chain = parts.chain(waiting[0].chain)
    used = chain.mined_nonce(waiting[0].from_address)
    under_way: list[SweepTransaction] = []
    nowhere: list[SweepTransaction] = []
    for row in waiting:
        if row.state is SweepState.FINAL and row.nonce < used:
            continue
        mined = chain.mined(row.transaction_hash)
        if mined is not None:
            if row.state is not SweepState.FINAL:
                move_sweep(parts, row, SweepState.FINAL if mined.succeeded else SweepState.FAILED, "it was reverted")
        elif row.nonce < used:
            move_sweep(parts, row, SweepState.FAILED, "another transaction took its nonce")
        else:
            (under_way if chain.knows(row.transaction_hash) else nowhere).append(row)
    return Watched(tuple(under_way), tuple(nowhere))


def send_again(parts: VaultParts, watched: Watched) -> str:
    """Send what is nowhere as it is; returns the chain's words where it refuses one, empty where it does not.

    Raises UnknownOutcomeError when an answer was lost, and what the chain raises.
    """
    refused, gap = "", False
    for row in sorted((*watched.under_way, *watched.nowhere), key=lambda one: one.nonce):
        if gap:
            move_sweep(parts, row, SweepState.FAILED, "one that goes before it was not sent")
        elif row in watched.nowhere:
            given_up = give_up(parts, row)
            why = None if given_up else send(parts, row)
            refused = refused or why or ""
            gap = given_up or (why is not None and _is_free(parts, row))
    return refused


def send(parts: VaultParts, row: SweepTransaction) -> str | None:
    """Send one signed transaction; the chain's words when it can never be mined and a new round must replace it.

    Raises UnknownOutcomeError when the answer was lost and the chain does not know it.
    """
    chain = parts.chain(row.chain)
    try:
        chain.send(row.raw_transaction)
    except RefusedByOtherSideError as refused:
        if not _is_known(parts, row):
            move_sweep(parts, row, SweepState.FAILED, str(refused))
            return str(refused)
    except UnknownOutcomeError:
        if not _is_known(parts, row):
            raise
    move_sweep(parts, row, SweepState.SENT)
    return None


def _is_known(parts: VaultParts, row: SweepTransaction) -> bool:
    chain = parts.chain(row.chain)
    return chain.mined(row.transaction_hash) is not None or chain.knows(row.transaction_hash)


def _is_free(parts: VaultParts, row: SweepTransaction) -> bool:
    return parts.chain(row.chain).mined_nonce(row.from_address) <= row.nonce
