"""The form of a scenario file: a recorded incident, or a quiet day, as data.

Every amount and price says whether it is a `fact` of the incident or `invented` to fit a known total. Offsets are
those of the real timeline; `compression` says by how much a drill may shorten the gaps. Numbers are strings, so that
no digit is lost.
"""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

Basis = Literal["fact", "invented"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
AssetId = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_]{1,40}$")]
Sentence = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Number = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,30}(\.[0-9]{1,18})?$")]
Contract = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
Permille = Annotated[int, msgspec.Meta(ge=0, le=1000)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=10**7)]
Hour = Annotated[int, msgspec.Meta(ge=0, le=24)]
Role = Literal["viewer", "analyst", "responder", "approver", "treasury", "admin"]


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that happened, when (with zone) and who says so."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    what: Sentence
    source: Sentence


class Reality(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How it went in reality; times in seconds from the first harmful move, None where it never happened or is not known."""

    summary: Sentence
    facts: Annotated[list[Fact], msgspec.Meta(min_length=1)]
    detected_after_s: Offset | None
    first_action_after_s: Offset | None
    contained_after_s: Offset | None
    value_lost_usd: Number | None
    not_replayed: Sentence | None = None


class ScenarioAsset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An asset and its price on that day. Without `contract` it is the native coin."""

    id: AssetId
    caip19: Annotated[str, msgspec.Meta(pattern=r"^eip155:[0-9]+/(slip44:[0-9]+|erc20:0x[0-9a-fA-F]{40})$")]
    decimals: Annotated[int, msgspec.Meta(ge=0, le=36)]
    price_usd: Number
    basis: Basis
    contract: Contract | None = None


class Balance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an account holds at the start, in whole units of the asset."""

    asset: AssetId
    amount: Number
    basis: Basis
    note: Sentence | None = None


class SafeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A real Safe. Owners are people, who sign with wallets of their own, and accounts, whose keys sign."""

    owners: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=20)]
    threshold: Annotated[int, msgspec.Meta(ge=1, le=20)]


class ScenarioAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A custody account. holder: whose key signs; `address` None: the drill asks Portcullis, else makes one.

    With `safe` it is a real Safe on a chain of the drill's own.
    """

    id: Name
    holder: Literal["platform", "vault key", "multisig"]
    balances: Annotated[list[Balance], msgspec.Meta(min_length=1)]
    key_stolen: bool = False
    at_risk: bool = False
    peer_group: Name = "hot"
    address: Contract | None = None
    safe_destination: Name | None = None
    safe: SafeForm | None = None


class ScenarioDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place outside. `whitelisted`: a wallet that the platform knows by name; address None: derived from the name.

    `usurper`: the contract that takes a Safe over which delegatecalls it.
    """

    id: Name
    kind: Literal["attacker", "safe", "customer", "internal"]
    whitelisted: bool = False
    usurper: bool = False
    address: Contract | None = None


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Someone who works here: roles at Portcullis, and how they usually sign in at the platform."""

    id: Name
    name: Sentence
    roles: list[Role]
    platform_role: Literal["ADMIN", "SIGNER", "VIEWER", "APPROVER"]
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$")]
    asn: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    device: Name
    logins_per_day: Annotated[int, msgspec.Meta(ge=0, le=50)]
    hours_utc: tuple[Hour, Hour]
    failed_per_mille: Permille = 20


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of normal withdrawals: log-normal amounts around a median, to returning, new or named destinations."""

    account: Name
    asset: AssetId
    actor: Name
    per_day: Count
    median_usd: Number
    spread_percent: Annotated[int, msgspec.Meta(ge=0, le=300)]
    hours_utc: tuple[Hour, Hour]
    regulars: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 1
    new_per_mille: Permille = 0
    to: list[Name] = []
    burst: Annotated[int, msgspec.Meta(ge=1, le=500)] = 1


class Recurring(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rare routine transfer and how many days before the drill it was last done."""

    account: Name
    asset: AssetId
    actor: Name
    amount: Number
    to: Name
    days_before: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=400)]], msgspec.Meta(min_length=1)]
    hour_utc: Hour


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The history that comes before the incident; all of it is invented, as the file says once here."""

    basis: Literal["invented"]
    days: Annotated[int, msgspec.Meta(ge=1, le=90)]
    streams: Annotated[list[Stream], msgspec.Meta(min_length=1)]
    recurring: list[Recurring] = []


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same move several times, at equal gaps of the real timeline."""

    count: Annotated[int, msgspec.Meta(ge=2, le=1000)]
    every_s: Offset


class StolenKey(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="via", tag="stolen_key"
):
    """Funds moved on chain by someone who holds the key; amount None: all that is there."""

    at_s: Offset
    account: Name
    asset: AssetId
    amount: Number | None
    to: Name
    basis: Basis
    note: Sentence
    harmful: bool


class PlatformTransfer(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="via", tag="platform_transfer"
):
    """A user's order at the platform; `to` names a destination, an account, or is `new` for an address never seen."""

    at_s: Offset
    account: Name
    asset: AssetId
    amount: Number
    to: Name
    user: Name
    basis: Basis
    note: Sentence
    harmful: bool
    repeat: Repeat | None = None


class SafeCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is really signed: a delegatecall of which Safe (an account) into which contract (a destination).

    `signers` are the owners, people, who have signed before; the account that is asked signs and sends it.
    """

    safe: Name
    target: Name
    signers: list[Name]


class SigningRequest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="via", tag="signing_request"
):
    """A request to sign whose display may differ from what is signed: asset, amount and `to` are the display."""

    at_s: Offset
    account: Name
    asset: AssetId
    amount: Number
    to: Name
    user: Name
    signs: SafeCall
    basis: Basis
    note: Sentence
    harmful: bool


class ConfigChange(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="via", tag="config_change"
):
    """A change of the platform's configuration; `wallet` names the destination to be whitelisted."""

    at_s: Offset
    type: Annotated[str, msgspec.Meta(pattern=r"^[A-Z_]{3,60}$")]
    user: Name
    note: Sentence
    harmful: bool
    wallet: Name | None = None


class AccessEvent(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="via", tag="access_event"
):
    """Something a person or key did: an `access.*` or `governance.*` activity."""

    at_s: Offset
    type: Annotated[str, msgspec.Meta(pattern=r"^(access|governance)\.[a-z_]{1,60}$")]
    actor: Name
    note: Sentence
    harmful: bool
    details: dict[str, str | int] = {}


Move = StolenKey | PlatformTransfer | SigningRequest | ConfigChange | AccessEvent


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the drill must end. contained: swept before all was lost; refused: nothing signed; no_hold: nothing stopped.

    locked_in_time: what was signed unasked is lost, and every other Safe was locked before its turn came.
    """

    outcome: Literal["contained", "refused_before_signing", "locked_in_time", "no_hold"]
    holds: bool
    lost_at_most_usd: Number
    note: Sentence


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One scenario file."""

    name: Name
    title: Sentence
    reality: Reality
    random_seed: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    compression: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    assets: Annotated[list[ScenarioAsset], msgspec.Meta(min_length=1)]
    accounts: Annotated[list[ScenarioAccount], msgspec.Meta(min_length=1)]
    destinations: list[ScenarioDestination]
    people: Annotated[list[Person], msgspec.Meta(min_length=1)]
    traffic: Traffic
    script: Annotated[list[Move], msgspec.Meta(min_length=1)]
    expected: Expected
    without_gate: Expected | None = None
    """How it must end when the platform asks no gate before it signs; None: not played so."""

    @property
    def asks_gate(self) -> bool:
        """Whether the platform asks the gate before it signs."""
        return self.expected.outcome != "locked_in_time"

    @property
    def safes(self) -> list[ScenarioAccount]:
        """The accounts that are real Safes; with any, the chain is a real one."""
        return [a for a in self.accounts if a.safe is not None]

    def asset(self, asset_id: str) -> ScenarioAsset:
        """Return an asset by id."""
        return next(a for a in self.assets if a.id == asset_id)

    def account(self, account_id: str) -> ScenarioAccount:
        """Return an account by id."""
        return next(a for a in self.accounts if a.id == account_id)

    def value_at_risk_usd(self) -> Decimal:
        """Return what the compromised keys could reach at the start, in USD rounded down to cents."""
        return self.value_usd([a.id for a in self.accounts if a.key_stolen or a.at_risk])

    def value_usd(self, account_ids: Collection[str]) -> Decimal:
        """Return what some accounts hold at the start, in USD rounded down to cents."""
        reach = [b for a in self.accounts if a.id in account_ids for b in a.balances]
        total = sum((Decimal(b.amount) * Decimal(self.asset(b.asset).price_usd) for b in reach), Decimal(0))
        return total.quantize(Decimal("0.01"), rounding="ROUND_DOWN")
