"""The platform's JSON shapes: TransactionDetails, vault accounts, wallets.

Rule: amounts are decimal strings, and exact numbers where the shape wants numbers.
"""

from collections.abc import Mapping
from decimal import Decimal

from drills.emulator import evm
from drills.emulator.money import short_text, to_decimal, usd
from drills.emulator.records import (
    Account,
    Asset,
    ExternalWallet,
    InternalWallet,
    Transaction,
    TxStatus,
    WhitelistedAsset,
)
from drills.emulator.world import World

Json = dict[str, object]


def transaction_details(world: World, tx: Transaction) -> Json:
    """TransactionDetails / TransactionResponse of one transaction."""
    asset = world.ledger.asset(tx.asset_id)
    details: Json = {
        "id": tx.id,
        "status": tx.status.value,
        "subStatus": tx.sub_status,
        "operation": tx.operation,
        "assetId": tx.asset_id,
        "assetType": "BASE_ASSET" if asset.contract is None else "ERC20",
        "source": source(world, tx),
        "sourceAddress": evm.checksum_address(evm.from_caip10(tx.source_address)),
        "destination": destination(tx),
        "destinations": [],
        "destinationAddress": evm.checksum_address(evm.from_caip10(tx.peer.address)),
        "destinationAddressDescription": "",
        "destinationTag": "",
        "txHash": tx.tx_hash,
        "note": tx.note,
        "createdAt": tx.created_at_ms,
        "lastUpdated": tx.updated_at_ms,
        "createdBy": tx.created_by,
        "signedBy": tx.signed_by,
        "rejectedBy": tx.rejected_by,
        "addressType": tx.address_type,
        "numOfConfirmations": 1 if tx.status is TxStatus.COMPLETED else 0,
        "networkRecords": [],
        "signedMessages": [],
        "blockchainInfo": {"evmTransferType": "NATIVE" if asset.contract is None else "ERC20"},
    }
    details.update(_amounts(world, tx, asset))
    optional = {"externalTxId": tx.external_id, "replacedTxHash": tx.replaced_tx_hash}
    details.update({k: v for k, v in optional.items() if v})
    if tx.nonce is not None:
        details["nonce"] = str(tx.nonce)
    if tx.call.data:
        details["extraParameters"] = {"contractCallData": "0x" + tx.call.data.hex()}
    return details


def _amounts(world: World, tx: Transaction, asset: Asset) -> Json:
    native = world.ledger.asset(world.chain.native_asset_id)
    text = short_text(tx.amount, asset.decimals)
    value = usd(tx.amount, asset.decimals, asset.price_usd)
    number = _plain(to_decimal(tx.amount, asset.decimals))
    fee = short_text(tx.fee, native.decimals)
    return {
        "amountInfo": {"amount": text, "requestedAmount": text, "netAmount": text, "amountUSD": str(value)},
        "feeInfo": {"networkFee": fee},
        "feeCurrency": native.id,
        "amount": number,
        "requestedAmount": number,
        "netAmount": number,
        "amountUSD": value,
        "networkFee": _plain(to_decimal(tx.fee, native.decimals)),
    }


def _plain(value: Decimal) -> Decimal:
    return Decimal(f"{value.normalize():f}")


def source(world: World, tx: Transaction) -> Json:
    """The source as the platform names it; UNKNOWN for a deposit from outside."""
    if tx.account_id is None:
        return {"type": "UNKNOWN", "id": "", "name": "External", "subType": ""}
    account = world.ledger.account(tx.account_id)
    return {"type": "VAULT_ACCOUNT", "id": account.id, "name": account.name, "subType": ""}


def destination(tx: Transaction) -> Json:
    """The destination as the platform names it."""
    peer = tx.peer
    return {"type": peer.type, "id": peer.id, "name": peer.name, "subType": peer.sub_type}


def vault_asset(world: World, account: Account, asset_id: str) -> Json:
    """VaultAsset: total, available and what is reserved."""
    asset = world.ledger.asset(asset_id)
    total = world.ledger.account_balance(account.id, asset_id)
    reserved = min(total, world.ledger.reserved(account.id, asset_id))
    texts: Json = {
        "total": short_text(total, asset.decimals),
        "balance": short_text(total, asset.decimals),
        "available": short_text(total - reserved, asset.decimals),
        "lockedAmount": short_text(reserved, asset.decimals),
    }
    return {"id": asset_id, "pending": "0", "frozen": "0", "staked": "0", "blockHeight": str(world.chain.block)} | texts


def vault_account(world: World, account: Account) -> Json:
    """VaultAccount with all its assets."""
    return {
        "id": account.id,
        "name": account.name,
        "hiddenOnUI": account.hidden,
        "autoFuel": False,
        "assets": [vault_asset(world, account, a) for a in account.assets],
    }


def external_wallet(wallet: ExternalWallet) -> Json:
    """UnmanagedWallet."""
    address = "" if wallet.address is None else evm.checksum_address(evm.from_caip10(wallet.address))
    assets: list[Mapping[str, object]] = [
        {"id": asset_id, "status": wallet.status, "address": address, "tag": ""} for asset_id in wallet.asset_ids
    ]
    return {"id": wallet.id, "name": wallet.name, "assets": assets}


def wallet_asset(asset_id: str, told: WhitelistedAsset) -> Json:
    """WalletAsset."""
    address = evm.checksum_address(evm.from_caip10(told.address))
    return {"id": asset_id, "balance": "0", "status": told.status, "address": address, "tag": ""}


def internal_wallet(wallet: InternalWallet) -> Json:
    """UnmanagedWallet of the workspace's own."""
    assets = [wallet_asset(asset_id, told) for asset_id, told in wallet.assets.items()]
    return {"id": wallet.id, "name": wallet.name, "assets": assets}
