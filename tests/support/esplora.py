"""An Esplora server for tests, on a regtest chain that Bitcoin Core's consensus code judges: an outsider with a pool.

It lies, falls silent and goes back when told to; a transaction enters the pool only when its scripts hold and its fee beats
what it replaces (BIP-125 rules 3 and 4, as far as one transaction replaces others).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from embit.script import Script
from embit.transaction import Transaction, TransactionOutput

from service.domain.bitcoin.network import REGTEST, address_of
from tests.support.http_server import Answer, Asked, as_json, serving
from tests.support.regtest import Regtest, txid_of

PAGE = 25


@dataclass
class Esplora:
    """The server's state; `change` alters one answer on its way out."""

    chain: Regtest
    pool: dict[str, bytes] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=lambda: {"1": 5.0, "6": 2.0})
    change: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Path prefix → what becomes of the answer."""
    behind: int = 0
    """So many blocks are hidden."""
    swallow: int = 0
    """So many transactions are taken and not answered for."""
    deaf: int = 0
    """So many transactions are lost and not answered for."""
    touched: dict[str, frozenset[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def mine(self) -> None:
        """Put the pool into a block."""
        waiting = list(self.pool.values())
        assert self.chain.mine(*waiting)
        self.pool.clear()

    def raw(self, txid: str) -> bytes | None:
        if txid in self.pool:
            return self.pool[txid]
        found = self.chain.included.get(txid)
        return None if found is None else found[0]

    def output(self, txid: str, vout: int) -> TransactionOutput | None:
        raw = self.raw(txid)
        outputs = Transaction.parse(raw).vout if raw is not None else []
        return outputs[vout] if vout < len(outputs) else None

    def spender(self, txid: str, vout: int) -> str | None:
        for name, raw in self.pool.items():
            if any((v.txid.hex(), v.vout) == (txid, vout) for v in Transaction.parse(raw).vin):
                return name
        return self.chain.spent.get((txid, vout))

    def submit(self, raw: bytes) -> str | None:
        """Take a transaction into the pool, or say why not."""
        transaction = Transaction.parse(raw)
        name = txid_of(raw)
        if name in self.pool:
            return "txn-already-known"
        outputs = [self.output(v.txid.hex(), v.vout) for v in transaction.vin]
        if any((v.txid.hex(), v.vout) in self.chain.spent for v in transaction.vin) or None in outputs:
            return "bad-txns-inputs-missingorspent"
        if not self.chain.scripts_hold(raw, [o for o in outputs if o is not None]):
            return "mandatory-script-verify-flag-failed"
        replaced = {s for v in transaction.vin if (s := self.spender(v.txid.hex(), v.vout)) is not None}
        doomed = self._with_descendants(replaced)
        if replaced and self.fee(raw) < sum(self.fee(self.pool[d]) for d in doomed) + _vsize(raw):
            return "insufficient fee, rejecting replacement"
        for one in doomed:
            del self.pool[one]
        self.pool[name] = raw
        return None

    def fee(self, raw: bytes) -> int:
        transaction = Transaction.parse(raw)
        taken = sum(o.value for v in transaction.vin if (o := self.output(v.txid.hex(), v.vout)) is not None)
        return int(taken - sum(o.value for o in transaction.vout))

    def _with_descendants(self, names: set[str]) -> set[str]:
        found = set(names)
        while True:
            more = {n for n, raw in self.pool.items() if any(v.txid.hex() in found for v in Transaction.parse(raw).vin)}
            if more <= found:
                return found
            found |= more

    @property
    def height(self) -> int:
        return self.chain.height - self.behind

    def status(self, txid: str) -> dict[str, object]:
        found = self.chain.included.get(txid)
        if found is None or found[1] > self.height:
            return {"confirmed": False}
        height = found[1]
        times = {"block_time": 1_600_000_000 + height * 600}
        return {"confirmed": True, "block_height": height, "block_hash": self.chain.blocks[height].hex(), **times}

    def shown(self, txid: str) -> dict[str, object] | None:
        raw = self.raw(txid)
        if raw is None:
            return None
        transaction = Transaction.parse(raw)
        coinbase = transaction.vin[0].txid == bytes(32)
        inputs = [
            {
                "txid": v.txid.hex(),
                "vout": v.vout,
                "is_coinbase": coinbase,
                "prevout": None if coinbase else _output(self.output(v.txid.hex(), v.vout)),
            }
            for v in transaction.vin
        ]
        weight = 3 * len(_stripped(transaction)) + len(raw)
        fee = 0 if coinbase else self.fee(raw)
        outputs = [_output(o) for o in transaction.vout]
        return {"txid": txid, "vin": inputs, "vout": outputs, "fee": fee, "weight": weight, "status": self.status(txid)}

    def names_at(self, address: str) -> Iterator[str]:
        """Yield what touches an address, newest first, the pool before the blocks."""
        included = sorted(self.chain.included, key=lambda n: -self.chain.included[n][1])
        for name in (*self.pool, *(n for n in included if self.chain.included[n][1] <= self.height)):
            if self._touches(name, address):
                yield name

    def _touches(self, name: str, address: str) -> bool:
        if name not in self.touched:
            transaction = Transaction.parse(self.raw(name) or b"")
            sides = [*transaction.vout, *(self.output(v.txid.hex(), v.vout) for v in transaction.vin if any(v.txid))]
            found = (address_of(bytes(o.script_pubkey.data), REGTEST) for o in sides if o is not None)
            self.touched[name] = frozenset(a for a in found if a is not None)
        return address in self.touched[name]

    def unspent(self, address: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for name in self.names_at(address):
            for number, one in enumerate(Transaction.parse(self.raw(name) or b"").vout):
                mine = address_of(bytes(one.script_pubkey.data), REGTEST) == address
                if mine and self.spender(name, number) is None:
                    found.append({"txid": name, "vout": number, "value": one.value, "status": self.status(name)})
        return found

    def answer(self, path: str) -> object | None:  # noqa: C901, PLR0912  one line a route
        """Return what a GET answers: text, JSON, or None for 404."""
        match path.strip("/").split("/"):
            case ["blocks", "tip", "height"]:
                return str(self.height)
            case ["block-height", height] if int(height) <= self.height:
                return self.chain.blocks[int(height)].hex()
            case ["fee-estimates"]:
                return self.rates
            case ["address", address]:
                waiting, count = sum(self._touches(n, address) for n in self.pool), len(list(self.names_at(address)))
                return {"chain_stats": {"tx_count": count - waiting}, "mempool_stats": {"tx_count": waiting}}
            case ["address", address, "utxo"]:
                return self.unspent(address)
            case ["address", address, "txs"]:
                return [self.shown(n) for n, _ in zip(self.names_at(address), range(PAGE), strict=False)]
            case ["address", address, "txs", "chain", last]:
                names = [n for n in self.names_at(address) if n not in self.pool]
                return [self.shown(n) for n in names[names.index(last) + 1 :][:PAGE]]
            case ["tx", name]:
                return self.shown(name)
            case ["tx", name, "hex"]:
                raw = self.raw(name)
                return None if raw is None else raw.hex()
            case ["tx", name, "status"]:
                return self.status(name)
            case ["tx", name, "outspend", vout]:
                return self._outspend(name, int(vout))
            case ["tx", name, "outspends"] if (raw := self.raw(name)) is not None:
                return [self._outspend(name, vout) for vout in range(len(Transaction.parse(raw).vout))]
            case _:
                return None

    def _outspend(self, name: str, vout: int) -> dict[str, object]:
        spender = self.spender(name, vout)
        return {"spent": False} if spender is None else {"spent": True, "txid": spender, "status": self.status(spender)}


def _output(one: TransactionOutput | None) -> dict[str, object] | None:
    if one is None:
        return None
    address = address_of(bytes(one.script_pubkey.data), REGTEST)
    told = {"scriptpubkey": Script(one.script_pubkey.data).data.hex(), "value": one.value}
    return told if address is None else {**told, "scriptpubkey_address": address}


def _stripped(transaction: Transaction) -> bytes:
    plain = Transaction.parse(transaction.serialize())
    for one in plain.vin:
        one.witness.items = []
    return bytes(plain.serialize())


def _vsize(raw: bytes) -> int:
    return -(-(3 * len(_stripped(Transaction.parse(raw))) + len(raw)) // 4)


@contextmanager
def esplora(chain: Regtest) -> Iterator[tuple[Esplora, str]]:
    """Serve a chain on a free port; yields the state and the URL."""
    state = Esplora(chain)

    def looked_up(path: str) -> Answer:
        state.asked.append(path)
        found = state.answer(path)
        for prefix, change in state.change.items():
            if path.startswith(prefix):
                found = change(found)
        return _told(404 if found is None else 200, found)

    def sent(raw: bytes) -> Answer | None:
        if state.deaf:
            state.deaf -= 1
            return None
        refused = state.submit(raw)
        if state.swallow:
            state.swallow -= 1
            return None
        return _told(200 if refused is None else 400, txid_of(raw) if refused is None else refused)

    def answer(asked: Asked) -> Answer | None:
        return looked_up(asked.path) if asked.method == "GET" else sent(bytes.fromhex(asked.body.decode()))

    with serving(answer) as url:
        yield state, url


def _told(status: int, what: object) -> Answer:
    return Answer(status, what.encode()) if isinstance(what, str) else as_json(status, what)
