"""Reads Bitcoin transactions for tracing, by an Esplora-shaped API.

Rules: amounts of inputs are the endpoint's word, but they must add up: inputs less outputs is the fee that it tells. Pages,
inputs and outputs are bounded. An output without an address goes by its script.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from service.chain.bitcoin import EsploraChain, Status
from service.domain.bitcoin.network import MAX_SATS, Network
from service.domain.errors import UnavailableError
from service.domain.forensics.movement import MAX_PARTS, NO_BLOCK, Movement, Part

MAX_PAGES: Final = 40
"""Of 25 transactions each: what left an address is looked for in its newest thousand."""
_SCRIPT_SHOWN: Final = 40


class _Out(msgspec.Struct):
    scriptpubkey: str
    value: int
    scriptpubkey_address: str | None = None


class _In(msgspec.Struct):
    txid: str
    vout: int
    prevout: _Out | None = None


class _Transaction(msgspec.Struct):
    txid: str
    vin: list[_In]
    vout: list[_Out]
    fee: int
    status: Status


class BitcoinTracing:
    """Implements `ports.tracing.OutputSource` on one endpoint."""

    def __init__(self, endpoint: str, network: Network) -> None:
        self._chain = EsploraChain(endpoint, network)
        self._asset = network.asset

    def close(self) -> None:
        """Give the connections back."""
        self._chain.close()

    def departures(self, address: str, since: datetime) -> Sequence[Movement]:
        """See the port."""
        found = [
            self._movement(one)
            for one in self._history(address, int(since.timestamp()))
            if any(i.prevout is not None and i.prevout.scriptpubkey_address == address for i in one.vin)
        ]
        return found[::-1]

    def arrivals(self, address: str, since: datetime) -> Sequence[Movement]:
        """See the port."""
        found = []
        for one in self._history(address, int(since.timestamp())):
            whole = self._movement(one)
            paid = tuple(t for t in whole.targets if t.address == address)
            if paid and not any(s.address == address for s in whole.sources):
                found.append(msgspec.structs.replace(whole, targets=paid))
        return found[::-1]

    def spending(self, txid: str, vout: int) -> Movement | None:
        """See the port."""
        spender = self._chain.spender(txid, vout)
        if spender is None:
            return None
        found = self._chain.told(f"/tx/{spender.txid}", _Transaction)
        if found is None or not any((i.txid, i.vout) == (txid, vout) for i in found.vin):
            raise UnavailableError(f"the chain's endpoint names a spender of {txid}:{vout} that does not spend it")
        return self._movement(found)

    def _history(self, address: str, since_s: int) -> Iterator[_Transaction]:
        """Yield what touched an address, newest first, until older than `since_s`."""
        path = f"/address/{address}/txs"
        for _ in range(MAX_PAGES):
            page = self._chain.told(path, list[_Transaction]) or []
            for one in page:
                if one.status.confirmed and (one.status.block_time or 0) < since_s:
                    return
                yield one
            confirmed = [one.txid for one in page if one.status.confirmed]
            if not confirmed:
                return
            path = f"/address/{address}/txs/chain/{confirmed[-1]}"
        raise UnavailableError(f"{address} has more transactions than are read: {MAX_PAGES} pages")

    def _movement(self, one: _Transaction) -> Movement:
        if max(len(one.vin), len(one.vout)) > MAX_PARTS:
            raise UnavailableError(f"transaction {one.txid} has more inputs or outputs than a block holds")
        sources = [
            Part(f"{i.txid}:{i.vout}", _address(i.prevout), i.prevout.value) for i in one.vin if i.prevout is not None
        ]
        targets = [Part(f"{one.txid}:{n}", _address(o), o.value) for n, o in enumerate(one.vout) if o.value]
        taken, given = sum(s.amount for s in sources), sum(t.amount for t in targets)
        if any(not 0 <= p.amount <= MAX_SATS for p in (*sources, *targets)) or (sources and taken - given != one.fee):
            raise UnavailableError(f"the chain's endpoint tells amounts of {one.txid} that do not add up: it lies")
        height = one.status.block_height if one.status.confirmed else None
        return Movement(
            id=one.txid,
            transaction=one.txid,
            block=NO_BLOCK if height is None else height,
            position=0,
            at=(one.status.block_time or 0) if one.status.confirmed else 0,
            asset=self._asset,
            sources=tuple(sources),
            targets=tuple(targets),
        )


def _address(output: _Out) -> str:
    return output.scriptpubkey_address or f"script {output.scriptpubkey[:_SCRIPT_SHOWN]}"
