"""What a seed may set: strict structures, unknown fields refused, every list and text bounded.

Amounts are strings of integers in base units, prices decimal strings in USD; msgspec names the field that is wrong.
"""

from typing import Annotated

import msgspec

from drills.emulator.records import DestinationKind, Platform

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://", max_length=500)]
Pem = Annotated[str, msgspec.Meta(max_length=10_000)]
Caip10 = Annotated[str, msgspec.Meta(pattern=r"^eip155:[0-9]{1,20}:0x[0-9a-fA-F]{40}$")]
BaseUnits = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,78}$")]
Usd = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}(\.[0-9]{1,18})?$")]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class AssetSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One asset. `contract` is the 0x address of an ERC-20; None is the native coin, of which there is exactly one."""

    id: Text
    caip19: Text
    decimals: Annotated[int, msgspec.Meta(ge=0, le=36)]
    price_usd: Usd
    contract: Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")] | None = None


class AccountSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One account with its addresses; `balances` (asset id to base units) are put at the first address."""

    id: Text
    name: Text
    addresses: Annotated[list[Caip10], msgspec.Meta(min_length=1, max_length=100)]
    balances: dict[Text, BaseUnits]
    platform: Platform = "fireblocks"
    at_risk: bool = False
    key_stolen: bool = False


class DestinationSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place outside; with `wallet_id` it is a whitelisted external wallet."""

    address: Caip10
    kind: DestinationKind
    name: Text
    wallet_id: Text | None = None
    usurper: bool = False
    """On a node: a contract that usurps a Safe which delegatecalls it stands there."""


class UserSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A console or API user of the platform. `role` is the platform's own word, for example ADMIN or SIGNER."""

    id: Text
    name: Text
    role: Text = "SIGNER"


class ApiUserSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Credentials that may call the REST interface: the key id and the RSA public key."""

    api_key: Text
    public_key_pem: Pem


class WebhookTargets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where events go. `standard_secret` is a `whsec_` secret and signs the events of `standard` accounts."""

    v2_url: Url | None = None
    v1_url: Url | None = None
    standard_url: Url | None = None
    standard_secret: Annotated[str, msgspec.Meta(pattern=r"^whsec_[A-Za-z0-9+/=]{32,100}$")] | None = None
    gaps_s: list[Seconds] = msgspec.field(default_factory=lambda: [10, 30, 120, 300, 900, 1800, 3600, 7200, 14400])
    timeout_s: Seconds = 15.0


class CallbackSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The co-signer's callback handler; without one the platform signs unasked."""

    base_url: Url
    public_key_pem: Pem
    answer_timeout_s: Seconds = 30.0
    retry_interval_s: Seconds = 180.0
    retry_max: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 20


class Timings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long the platform's and the chain's own steps take."""

    block_time_s: Seconds = 0.0
    confirm_s: Seconds = 0.0


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole world for one drill."""

    workspace_id: Text
    tenant_id: Text
    assets: Annotated[list[AssetSeed], msgspec.Meta(min_length=1, max_length=500)]
    accounts: Annotated[list[AccountSeed], msgspec.Meta(min_length=1, max_length=5000)]
    workspace_name: Text = "drill"
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = 1
    node_url: Url | None = None
    """A node of the drill's own that is the chain; without one the chain is emulated, without contracts."""
    destinations: Annotated[list[DestinationSeed], msgspec.Meta(max_length=20_000)] = []
    users: Annotated[list[UserSeed], msgspec.Meta(max_length=1000)] = []
    api_users: Annotated[list[ApiUserSeed], msgspec.Meta(max_length=100)] = []
    webhooks: WebhookTargets = WebhookTargets()
    callback: CallbackSeed | None = None
    timings: Timings = Timings()
    standard_action_secret: Annotated[str, msgspec.Meta(pattern=r"^whsec_[A-Za-z0-9+/=]{32,100}$")] | None = None
