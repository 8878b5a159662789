"""Bitcoin accounts: their wallets' descriptors, and the unsigned sweep that is kept ready for each."""

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB

from service.store.tables.base import metadata, when

bitcoin_wallets = Table(
    "bitcoin_wallets",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("chain", Text, nullable=False),  # CAIP-2
    Column("descriptor", Text, nullable=False),  # BIP-380, public keys only
    Column("signers", JSONB, nullable=False),  # master fingerprint → vault wallet
    Column("use", Text, nullable=False),  # prepared | current | replaced
    Column("step_key", Text, nullable=False),
    Column("receive", Integer, nullable=False, server_default="0"),  # leaves below this index may be in the token
    Column("change", Integer, nullable=False, server_default="0"),
    when("created_at", nullable=False),
    PrimaryKeyConstraint("account_id", "number"),
    UniqueConstraint("account_id", "step_key"),
)

prepared_sweeps = Table(
    "prepared_sweeps",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("wallet", Integer, nullable=False),
    Column("destination", Text, nullable=False),
    Column("rate", BigInteger, nullable=False),  # satoshis per 1,000 virtual bytes
    Column("tip", BigInteger, nullable=False),
    Column("coins", JSONB, nullable=False),
    Column("made_by", JSONB, nullable=False),  # txid → hexadecimal
    Column("psbts", JSONB, nullable=False),  # base64
    when("made_at", nullable=False),
)
