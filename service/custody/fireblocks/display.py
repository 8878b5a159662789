"""What you see is what you sign: the bytes to be signed beside what the co-signer shows (design part 4).

Rules: the payload must be keccak-256 of the raw transaction; a native transfer must go to the shown address with the shown
amount and no calldata; a token transfer must be exactly `transfer(shown address, shown amount)` at the asset's contract; a
contract call must go to the shown address with the shown value. Anything else is a mismatch. What cannot be compared (an
EVM transaction that does not decode, an asset that nobody described, several EVM transactions behind one that is shown) is
a doubt: held, never waved through. Bitcoin's entries are compared by `bitcoin`; of assets described as another chain's
nothing is claimed.
"""

import hmac
from dataclasses import replace
from typing import Final

from eth_hash.auto import keccak

from service.custody.fireblocks.bitcoin import compare_bitcoin, is_bitcoin
from service.custody.fireblocks.seen import RawTx, Seen, Shown, base_units
from service.domain.assets import ASSETS_SETTING, Asset, Assets
from service.domain.decode.calldata import decode_call
from service.domain.decode.evm import EvmTransaction, decode_transaction, from_hex
from service.domain.decode.payment import Payment, pays
from service.domain.decode.signing import facts_of
from service.domain.errors import InputError
from service.domain.transactions import payload_digest

CONTRACT_CALL: Final = "CONTRACT_CALL"
TRANSFER: Final = "TRANSFER"
MAX_RAW: Final = 20


def compare(shown: Shown, raw: tuple[RawTx, ...], assets: Assets) -> Seen:
    """Compare every transaction to be signed with what is shown. Never raises."""
    asset = assets.table.get(shown.asset_id)
    if asset is not None and is_bitcoin(asset):
        return compare_bitcoin(shown, raw, asset)
    evm = asset is not None and asset.chain.startswith("eip155:")
    if not raw:
        return Seen(None, None, None, "the bytes to be signed were not sent" if evm or asset is None else None)
    if len(raw) > MAX_RAW:
        return Seen(None, None, None, f"more than {MAX_RAW} transactions are to be signed at once")
    found = [_compare_one(shown, entry, asset if evm else None) for entry in raw]
    worst = [seen for seen in found if seen.facts is not None and seen.facts.display_mismatch]
    doubts = [seen for seen in found if seen.doubt is not None]
    seen = (worst or doubts or found)[0]
    if seen.doubt is None and asset is None:
        return replace(seen, doubt=f"{ASSETS_SETTING} does not describe the asset: nothing can be compared")
    if seen.doubt is None and evm and len(raw) > 1:
        return replace(seen, doubt="several transactions are to be signed and one is shown")
    return seen


def _compare_one(shown: Shown, entry: RawTx, asset: Asset | None) -> Seen:
    try:
        raw, signed = from_hex(entry.raw_tx, field="rawTx.rawTx"), from_hex(entry.payload, field="rawTx.payload")
    except InputError:
        return Seen(None, None, None, "the bytes to be signed are not hex digits, or too many")
    try:
        transaction = decode_transaction(raw)
    except InputError:
        return Seen(None, None, None, None if asset is None else "the bytes to be signed cannot be decoded")
    digest = payload_digest(transaction)
    if not hmac.compare_digest(signed, keccak(raw)):
        return Seen(facts_of(transaction, display_mismatch=True), recipient(transaction, asset), digest, None)
    if asset is None:
        return Seen(facts_of(transaction), None, digest, "the asset is not known: what is shown cannot be compared")
    same = _as_shown(shown, transaction, asset)
    going_to = None if same else recipient(transaction, asset)
    return Seen(facts_of(transaction, display_mismatch=not same), going_to, digest, None)


def _as_shown(shown: Shown, transaction: EvmTransaction, asset: Asset) -> bool:
    if len(shown.destinations) != 1 or transaction.chain != asset.chain:
        return False
    place, amount = (
        shown.destinations[0].display_dst_address.lower(),
        base_units(shown.destinations[0].amount_native_str, asset),
    )
    if amount is None or not place:
        return False
    if shown.operation == CONTRACT_CALL:
        return transaction.to == place and transaction.value == (amount if asset.contract is None else 0)
    return pays(transaction, Payment(asset.chain, asset.contract, place, amount))


def recipient(transaction: EvmTransaction, asset: Asset | None) -> str | None:
    """Return who would really be paid: of a token transfer its recipient, of a Safe call the inner target."""
    call = decode_call(transaction.data)
    if call.name == "transfer" and (asset is None or transaction.to == asset.contract or asset.contract is None):
        return call.recipient
    return call.recipient if call.inner is not None else transaction.to
