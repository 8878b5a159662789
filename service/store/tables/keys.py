"""Accounts and their vault keys: the API registers an account, the key worker provisions it."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Numeric, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.store.tables.base import metadata, when

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("connection_id", Text, ForeignKey("connections.id"), nullable=False),
    Column("ref", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("holder", Text, nullable=False),
    Column("addresses", ARRAY(Text), nullable=False, server_default="{}"),
    Column("assets", JSONB, nullable=False, server_default="[]"),  # CAIP-19 ids a sweep must carry
    Column("peer_group", Text, nullable=False, server_default="default"),
    Column("wallet_id", Text),
    Column("account_path", Text),
    Column("provisioning", Text, nullable=False, server_default="ready"),  # pending | ready | failed
    when("live_since"),
    when("created_at", nullable=False),
    UniqueConstraint("connection_id", "ref"),
)

vault_wallets = Table(
    "vault_wallets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sealed_seed", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),  # active | compromised | destroyed
    when("created_at", nullable=False),
)

vault_keys = Table(
    "vault_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("wallet_id", Text, ForeignKey("vault_wallets.id"), nullable=False),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("path", Text, nullable=False),  # BIP-32
    Column("chain", Text, nullable=False),  # CAIP-2
    Column("public_key", LargeBinary, nullable=False),  # SEC1 compressed
    Column("address", Text, nullable=False),
    Column("state", Text, nullable=False),  # active | restricted | retired | destroyed
    when("created_at", nullable=False),
    UniqueConstraint("wallet_id", "path"),
)

rotations = Table(
    "rotations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("incident_id", Text),
    Column("scope", Text, nullable=False),  # leaf | account_key | seed
    Column("state", Text, nullable=False),
    Column("old_wallet_id", Text, nullable=False),
    Column("new_wallet_id", Text),
    Column("new_path", Text),
    Column("facts", JSONB, nullable=False, server_default="{}"),
    when("created_at", nullable=False),
    when("updated_at", nullable=False),
)

safe_destinations = Table(
    "safe_destinations",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("chain", Text, primary_key=True),
    Column("descriptor", Text, nullable=False),
    when("active_from", nullable=False),
    Column("signature", LargeBinary),  # null until the key worker signed it
    Column("approval_id", Text),
    when("created_at", nullable=False),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Text, primary_key=True),
    Column("step_id", Text, nullable=False),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("chain", Text, nullable=False),
    Column("from_address", Text, nullable=False),
    Column("to_address", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount_base_units", Numeric(78, 0), nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("raw_transaction", LargeBinary),
    Column("transaction_hash", Text),
    Column("state", Text, nullable=False),  # prepared | signed | sent | final | failed | unknown
    when("created_at", nullable=False),
    UniqueConstraint("chain", "from_address", "nonce"),
    UniqueConstraint("transaction_hash"),
)
