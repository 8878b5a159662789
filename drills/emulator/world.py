"""The whole state of one emulated platform: built from a seed, changed by its users, the chain and the thieves."""

import uuid
from dataclasses import dataclass, field
from decimal import Decimal

from drills.emulator import evm
from drills.emulator.chain import Chain
from drills.emulator.clock import now_ms
from drills.emulator.errors import SeedError
from drills.emulator.figures import Figures
from drills.emulator.ledger import Ledger
from drills.emulator.node_chain import NodeChain
from drills.emulator.records import (
    Account,
    Asset,
    AuditEntry,
    Destination,
    ExternalWallet,
    InternalWallet,
    Transaction,
    User,
)
from drills.emulator.settings import Seed
from drills.evm.node import Node


@dataclass(slots=True)
class World:
    """State of the platform and its chain."""

    seed: Seed
    ledger: Ledger
    figures: Figures
    chain: Chain
    webhook_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    users: dict[str, User] = field(default_factory=dict)
    wallets: dict[str, ExternalWallet] = field(default_factory=dict)
    internal_wallets: dict[str, InternalWallet] = field(default_factory=dict)
    transactions: dict[str, Transaction] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)
    locked_destinations: set[str] = field(default_factory=set)
    revoked_api_keys: set[str] = field(default_factory=set)
    ota_enabled: bool = True
    frozen: bool = False

    def log(self, user_id: str, subject: str, event: str, category: str = "Security") -> AuditEntry:
        """Write a line of the platform's audit log."""
        entry = AuditEntry(str(uuid.uuid4()), now_ms(), user_id, subject, event, category)
        self.audit.append(entry)
        return entry


def build(seed: Seed) -> World:
    """The world that a seed describes; SeedError names what does not fit together."""
    ledger = Ledger()
    _add_assets(ledger, seed)
    _add_accounts(ledger, seed)
    figures = Figures(ledger)
    chain = _chain(ledger, figures, seed)
    chain.block_time_s = seed.timings.block_time_s
    world = World(seed, ledger, figures, chain)
    for user in seed.users:
        world.users[user.id] = User(user.id, user.name, user.role)
    for destination in seed.destinations:
        add_destination(
            world, Destination(_lower(destination.address), destination.kind, destination.name, destination.wallet_id)
        )
    return world


def _chain(ledger: Ledger, figures: Figures, seed: Seed) -> Chain:
    native = next(a.id for a in ledger.assets.values() if a.contract is None)
    if seed.node_url is None:
        chain = Chain(ledger, figures, seed.chain_id)
        chain.native_asset_id = native
        return chain
    usurpers = [evm.from_caip10(d.address) for d in seed.destinations if d.usurper]
    return NodeChain.begun(ledger, figures, Node(seed.node_url), native, usurpers)


def _add_assets(ledger: Ledger, seed: Seed) -> None:
    for found in seed.assets:
        contract = None if found.contract is None else found.contract.lower()
        ledger.assets[found.id] = Asset(found.id, found.caip19, found.decimals, Decimal(found.price_usd), contract)
    native = [a.id for a in ledger.assets.values() if a.contract is None]
    if len(native) != 1:
        raise SeedError(f"assets: exactly one has no `contract` (the native coin); found {native or 'none'}")


def _add_accounts(ledger: Ledger, seed: Seed) -> None:
    for found in seed.accounts:
        addresses = [_lower(a) for a in found.addresses]
        taken = next((a for a in addresses if ledger.owner(a) is not None), None)
        if taken is not None or found.id in ledger.accounts:
            raise SeedError(f"accounts: {found.id!r} repeats an id or the address {taken}; give each account its own")
        unknown = sorted(set(found.balances) - set(ledger.assets))
        if unknown:
            raise SeedError(f"accounts: {found.id!r} holds unknown assets {unknown}; add them under `assets`")
        account = Account(found.id, found.name, found.platform, addresses, sorted(found.balances))
        account.at_risk, account.key_stolen = found.at_risk, found.key_stolen
        ledger.add_account(account)
        for asset_id, amount in found.balances.items():
            ledger.mint(addresses[0], asset_id, int(amount))


def _lower(caip10: str) -> str:
    chain = caip10.rsplit(":", 1)[0]
    return f"{chain}:{evm.from_caip10(caip10)}"


def add_destination(world: World, destination: Destination) -> None:
    """Register a destination, and its external wallet when it has one."""
    world.ledger.destinations[destination.address] = destination
    if destination.wallet_id is not None:
        assets = sorted(world.ledger.assets)
        wallet = ExternalWallet(destination.wallet_id, destination.name, destination.address, assets)
        world.wallets[wallet.id] = wallet
