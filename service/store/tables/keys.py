"""Accounts and their vault keys: the API registers an account, the key worker provisions it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)
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
    Column("restored", Boolean, nullable=False, server_default="false"),  # by a ceremony, from a backup
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
    when("destroy_from"),
    Column("destroy_by", Text, nullable=False, server_default=""),  # idempotency key of the step that decided it
    UniqueConstraint("wallet_id", "path"),
    Index("ix_vault_keys_destroy", "destroy_from", postgresql_where=text("state = 'retired'")),
)

rotations = Table(
    "rotations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("step_key", Text, nullable=False),  # idempotency key of the step that began it
    Column("scope", Text, nullable=False),  # leaf | account_key | seed
    Column("state", Text, nullable=False),
    Column("old_wallet_id", Text, nullable=False),
    Column("old_path", Text, nullable=False),
    Column("new_wallet_id", Text, nullable=False),
    Column("new_path", Text, nullable=False),
    Column("events", JSONB, nullable=False),
    when("created_at", nullable=False),
    when("updated_at", nullable=False),
)

safe_destinations = Table(
    "safe_destinations",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("chain", Text, primary_key=True),
    Column("active_from", DateTime(timezone=True), primary_key=True),  # a later one replaces, from then on
    Column("descriptor", Text, nullable=False),
    Column("statement", Text, nullable=False),  # RFC 8785, what the authority signed (domain/setup.py)
    Column("statement_signature", LargeBinary, nullable=False),
    Column("signature", LargeBinary),  # the vault token's; null until the key worker checked the statement
    Column("approval_id", Text),
    when("created_at", nullable=False),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Text, primary_key=True),
    Column("step_key", Text, nullable=False),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("chain", Text, nullable=False),
    Column("from_address", Text, nullable=False),
    Column("to_address", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount_base_units", Numeric(78, 0), nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("raw_transaction", LargeBinary, nullable=False),
    Column("transaction_hash", Text, nullable=False),
    Column("state", Text, nullable=False),  # signed | sent | final | failed
    when("created_at", nullable=False),
    Index("ix_sweeps_nonce", "chain", "from_address", "nonce", unique=True, postgresql_where=text("state <> 'failed'")),
    UniqueConstraint("transaction_hash"),
)

sweep_steps = Table(
    # Which keys a step began to empty: the only ones that it empties when it is repeated.
    "sweep_steps",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("step_key", Text, primary_key=True),
    Column("keys_of", Text, nullable=False),  # wallet and account path; number of a Bitcoin wallet
    when("begun_at", nullable=False),
)

guardian_gas = Table(
    # What each transaction of the guardian may have used, by its nonce.
    "guardian_gas",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("nonce", BigInteger, primary_key=True, autoincrement=False),
    Column("gas", BigInteger, nullable=False),
    when("at", nullable=False),
)
