"""What you see is what you sign, for Bitcoin: the entries that a co-signer gives its key beside what is shown.

Rules: each payload must be double SHA-256 of its entry, or what is signed is not what is told. Where the payments are told
(an entry of the legacy form), one that lacks a shown payment is another transaction. Where only their hash is (BIP-143),
they are put together from what is shown: the payments, and what is left after the told fee as change; a hash that none of
these gives is a doubt and not a lie, because the change may go to an address that we do not know. A payment may be less
than shown by exactly the told fee, which is how a gross amount is sent. Change is what goes back to the one key that every
input spends, or to an address that the setting `change_addresses` names; any other payment besides is a doubt. The fee is
what is spent less what is paid: seen where every amount is told, then compared with the told one. Never raises.
"""

import hmac
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from service.custody.fireblocks.seen import RawTx, Seen, Shown, base_units
from service.domain.activity import SigningFacts
from service.domain.assets import Asset
from service.domain.bitcoin.network import MAX_SATS, NETWORK_OF, Network, address_of, script_of
from service.domain.decode.bitcoin import Output
from service.domain.decode.evm import from_hex
from service.domain.decode.payment import fee_doubt
from service.domain.decode.preimage import MAX_INPUTS, Preimage, Spend, hash_of, one_spend, read_preimage
from service.domain.errors import InputError

CHANGE_SETTING: Final = "change_addresses"
_MOST_ACCOUNTS: Final = 5_000
_MOST_ADDRESSES: Final = 20
_FIELD: Final = "rawTx.rawTx"
_SHOWN: Final = 10
_DIGEST: Final = 32


@dataclass(frozen=True, slots=True)
class _Told:
    """What is shown, in scripts and satoshis."""

    payments: tuple[Output, ...]
    fee_sats: int | None
    change: tuple[bytes, ...]

    def variants(self) -> Iterator[tuple[Output, ...]]:
        """Yield the payments as shown, and a single one less the fee."""
        yield self.payments
        if len(self.payments) == 1 and self.fee_sats and self.payments[0].amount_sats > self.fee_sats:
            yield (Output(self.payments[0].amount_sats - self.fee_sats, self.payments[0].script),)


def read_change(settings: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses that each vault account's change goes to. Raises InputError naming the setting."""
    try:
        found = msgspec.json.decode(settings.get(CHANGE_SETTING, "").encode() or b"{}", type=dict[str, tuple[str, ...]])
    except msgspec.MsgspecError as error:
        raise InputError(f"{CHANGE_SETTING}: {error}", field=CHANGE_SETTING) from error
    if len(found) > _MOST_ACCOUNTS or any(len(addresses) > _MOST_ADDRESSES for addresses in found.values()):
        most = f"at most {_MOST_ACCOUNTS} vault accounts and {_MOST_ADDRESSES} addresses of each"
        raise InputError(f"{CHANGE_SETTING} names {most}", field=CHANGE_SETTING)
    for address in (one for addresses in found.values() for one in addresses):
        if not any(_script(address, network) for network in NETWORK_OF.values()):
            raise InputError(f"{CHANGE_SETTING}: {address[:100]!r} is no Bitcoin address", field=CHANGE_SETTING)
    return found


def is_bitcoin(asset: Asset) -> bool:
    """Say whether an asset is the coin of a Bitcoin network that we know."""
    return asset.chain in NETWORK_OF and asset.caip19.partition("/")[2].startswith("slip44:")


def compare_bitcoin(shown: Shown, raw: Sequence[RawTx], asset: Asset) -> Seen:
    """Compare all entries with what is shown; `asset` is one of which `is_bitcoin` says so."""
    network = NETWORK_OF[asset.chain]
    if not raw:
        return Seen(None, None, None, "the bytes to be signed were not sent")
    if len(raw) > MAX_INPUTS:
        return Seen(None, None, None, f"more than {MAX_INPUTS} inputs are to be signed at once")
    read = [found for entry in raw if (found := _read(entry)) is not None]
    told = _told(shown, asset, network)
    for entry, payload in read:
        if not hmac.compare_digest(entry.digest, payload):
            return Seen(_facts(entry.outputs, None, network, mismatch=True), None, None, None)
        if told is not None and entry.outputs is not None and _lacks(told, entry.outputs):
            facts = _facts(entry.outputs, None, network, mismatch=True)
            return Seen(facts, _instead(told, entry, network), None, None)
    if len(read) < len(raw):
        return Seen(None, None, None, "the bytes to be signed cannot be decoded")
    try:
        spend = one_spend([entry for entry, _ in read], _FIELD)
    except InputError as error:
        return Seen(None, None, None, f"the bytes to be signed cannot be compared, {error}")
    return _compare(told, spend, network)


def _read(entry: RawTx) -> tuple[Preimage, bytes] | None:
    try:
        preimage = read_preimage(from_hex(entry.raw_tx, field=_FIELD), _FIELD)
        return preimage, from_hex(entry.payload, field="rawTx.payload", max_bytes=_DIGEST)
    except InputError:
        return None


def _compare(told: _Told | None, spend: Spend, network: Network) -> Seen:
    if told is None:
        why = "what the request tells is no payment that Bitcoin's bytes could be held against"
        return Seen(_facts(spend.outputs, None, network), None, spend.digest, why)
    outputs = spend.outputs or _put_together(told, spend)
    if outputs is None:
        why = "its payments, of which the hash is signed, are not those that are shown with change to a known address"
        return Seen(_facts(None, None, network), None, spend.digest, why)
    fee = None if spend.total_sats is None else spend.total_sats - sum(one.amount_sats for one in outputs)
    paid = next(paid for paid in told.variants() if not _counted(paid) - _counted(outputs))
    facts = _facts(outputs, fee, network, mismatch=False)
    return Seen(facts, None, spend.digest, _doubt(told, spend, _counted(outputs) - _counted(paid), fee))


def _doubt(told: _Told, spend: Spend, besides: "Counter[tuple[bytes, int]]", fee: int | None) -> str | None:
    if {script for script, _ in besides} - set(_own(told, spend.key_hash)):
        return "it pays others besides those that are shown, which may be change or not"
    if fee is None:
        return None
    if fee != told.fee_sats:
        return "its fee is not the one that is told"
    return fee_doubt(fee, sum(one.amount_sats for one in told.payments))


def _put_together(told: _Told, spend: Spend) -> tuple[Output, ...] | None:
    """Return the payments that give the hash that is signed, if what is shown can be put together so."""
    for paid in told.variants():
        if hash_of(paid) == spend.committed.outputs:
            return paid
        left = (spend.total_sats or 0) - sum(one.amount_sats for one in paid) - (told.fee_sats or 0)
        if left <= 0 or told.fee_sats is None:
            continue
        for script in _own(told, spend.key_hash):
            change = Output(left, script)
            for outputs in ((*paid, change), (change, *paid)):
                if hash_of(outputs) == spend.committed.outputs:
                    return outputs
    return None


def _own(told: _Told, key_hash: bytes | None) -> tuple[bytes, ...]:
    """Return the scripts that are the source's own: of the one key that all inputs spend, and those that are named."""
    if key_hash is None:
        return told.change
    return (b"\x00\x14" + key_hash, b"\x76\xa9\x14" + key_hash + b"\x88\xac", *told.change)


def _told(shown: Shown, asset: Asset, network: Network) -> _Told | None:
    payments = []
    for one in shown.destinations:
        script, amount = _script(one.display_dst_address, network), base_units(one.amount_native_str, asset)
        if script is None or amount is None or amount > MAX_SATS:
            return None
        payments.append(Output(amount, script))
    change = tuple(script for one in shown.change if (script := _script(one, network)) is not None)
    return _Told(tuple(payments), base_units(shown.fee, asset), change) if payments else None


def _script(address: str, network: Network) -> bytes | None:
    try:
        return script_of(address, network)
    except InputError:
        return None


def _lacks(told: _Told, outputs: Sequence[Output]) -> bool:
    return all(_counted(paid) - _counted(outputs) for paid in told.variants())


def _instead(told: _Told, entry: Preimage, network: Network) -> str | None:
    """Return who gets most of what was not shown; change and who was shown only where there is nobody else."""
    besides = _counted(entry.outputs or ()) - _counted(told.payments)
    known = {*_own(told, entry.key_hash), *(one.script for one in told.payments)}
    script = max(besides, key=lambda one: (one[0] not in known, one[1]), default=(b"", 0))[0]
    return address_of(script, network)


def _counted(outputs: Sequence[Output]) -> "Counter[tuple[bytes, int]]":
    return Counter((one.script, one.amount_sats) for one in outputs)


def _facts(
    outputs: Sequence[Output] | None, fee: int | None, network: Network, *, mismatch: bool | None = None
) -> SigningFacts:
    """Return what the bytes say; Bitcoin has no allowances and no owners to change."""
    names = [(one, address_of(one.script, network) or f"script {one.script.hex()[:80]}") for one in outputs or ()]
    shown = [f"{one.amount_sats} sat to {name}" for one, name in names]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    paid = f"pays {', '.join(shown[:_SHOWN])}{more}" if shown else "pays what only a hash tells"
    return SigningFacts(
        delegatecall=False,
        unlimited_approval=False,
        governance_call=False,
        display_mismatch=mismatch,
        summary=f"{paid}, fee {'unknown' if fee is None else f'{fee} sat'}",
        parties=tuple(dict.fromkeys(name for _, name in names if not name.startswith("script "))),
    )
