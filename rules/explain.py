"""Words for what was measured: reasons with what was observed and what is usual, and what each feature means.

Rules: pure functions of numbers and of the catalogue; a range that is not known is "no history", never a guess. A range
that is the peer group's says so, and so does a share of a remembered balance.
"""

from typing import Final

import msgspec

from rules.features.amount import SHARE_OF_BALANCE
from rules.features.catalogue import FEATURES
from rules.features.declared import Feature, dollars, duration
from rules.features.frame import N_BALANCE_TOLD_US, N_BALANCE_USD, N_BY_GROUP, N_NOW_US, US, Frame
from rules.features.names import INDEX
from rules.features.peers import by_group
from rules.signal import Reason

NO_HISTORY: Final = "no history"

MEANINGS: Final[dict[str, str]] = {
    "account_learned": "How often the account was learned from: how much its own history is worth.",
    "actor_learned": "How often the actor was learned from.",
    "credential_changes_24h": "Credentials, whitelist, policy or roles were changed shortly before.",
    "credential_change_age_s": "How long ago the latest such change was.",
    "new_access_24h": "The actor came from a country or device never seen of him within a day.",
    "new_country": "The actor never came from this country.",
    "new_network": "The actor never came from this network.",
    "new_device": "The actor never used this device.",
    "failed_logins_10m": "Logins of this actor are failing in a burst.",
    "actor_hour": "The actor is usually not active at this hour.",
    "amount_usd": "The amount against what this account usually pays.",
    "amount_over_largest": "How many times the largest payment ever learned of the account this is.",
    "share_of_balance": "How much of what the account holds leaves at once.",
    "unpriced": "Nobody can tell what this is worth.",
    "priced_from_asset": "The worth is worked out from the asset's recent price, because none was told.",
    "price_ratio_off": "The told worth does not fit the asset's recent price.",
    "amount_population": "The amount against what its peer group's accounts pay, or any account without a group.",
    "amount_drift": "The account's payments have been growing: its last thirty or so against its long mean.",
    "assets_10m": "Many different assets leave within ten minutes.",
    "seconds_since_last": "How long the account had not paid.",
    "dormant_days": "How long nothing at all happened on the account.",
    "hour_of_week": "The account usually does not pay at this hour.",
    "destination_new": "The account never paid this destination, or nobody did before today.",
    "destination_age_s": "How long ago anybody first paid this destination.",
    "fan_in_accounts": "Several accounts pay the same young destination within an hour.",
    "fan_out_1h": "The account pays many destinations that it did not know within an hour.",
    "destination_value_1h": "How much all accounts paid this destination within an hour.",
    "dust_ratio": "A large payment follows a tiny one to the same destination: the tiny one was a test.",
    "lookalike_destination": "The address starts and ends like one the account pays, but is another.",
    "asset_new": "The account never sent this asset.",
    "chain_new": "The account never sent anything on this chain.",
    "destination_trusted": "The platform vouches for the destination, and nothing that guards it was changed lately.",
    "delegatecall": "The payload hands control of the wallet to other code.",
    "unlimited_approval": "The payload lets somebody take any amount, any time.",
    "governance_call": "The payload changes who decides over the wallet, or has it pay a gas refund.",
    "display_mismatch": "What is signed is not what is shown.",
    "contract_age_s": "The called contract was deployed only days ago.",
    "governance_rare_for_actor": "The actor never or hardly ever changes rules.",
    "governance_changes_24h": "How many rules the actor changed within a day.",
    "travel_speed_kmh": "The actor would have had to fly faster than any aircraft since his last access.",
    "session_moved": "A running session suddenly comes from another network or country.",
    "session_new": "The session was never seen of this actor.",
    "failed_actors_10m": "Logins of several actors fail from one network: somebody tries names or stolen passwords.",
    "device_accounts_30d": "Several users share one device, and this one is new on it.",
    "network_actors_24h": "More users than usual come from this network.",
    "whitelist_to_withdrawal_s": "How long ago this destination was whitelisted by the one who pays it.",
    "mfa_reset_age_s": "How long ago the actor's second factor was reset.",
    "api_key_age_s": "How long ago the actor's newest API key was made.",
    "recent_surprise": "Something odd happened here lately.",
    "reputation_destination": "People judged earlier payments to this destination as bad.",
    "reputation_device": "People judged earlier activities from this device as bad.",
    "reputation_network": "People judged earlier activities from this network as bad.",
    "reputation_actor": "People judged earlier activities of this actor as bad.",
    "reputation_account": "People judged earlier activities of this account as bad.",
    "destination_listed": "An imported list names the destination.",
}
_WINDOWS: Final = {
    "1m": "a minute",
    "10m": "ten minutes",
    "1h": "an hour",
    "24h": "a day",
    "7d": "a week",
    "30d": "a month",
}
for _name, _window in _WINDOWS.items():
    MEANINGS[f"count_{_name}"] = f"How many transfers the account made in about {_window}."
    MEANINGS[f"value_{_name}"] = f"How much left the account in about {_window}."


def meaning(feature: Feature) -> str:
    """One sentence for people."""
    return MEANINGS[feature.name]


def reason_for(index: int, value: float, low: float, high: float, share: float, detector: str | None) -> Reason:
    """A feature's observed value and usual range in words, in the value's own unit."""
    feature = FEATURES[index]
    return Reason(
        feature=feature.name,
        observed=feature.show(value),
        usual=feature.show_usual(low, high) if low <= high else NO_HISTORY,
        share=share,
        detector=detector,
    )


def among_peers(reason: Reason, told: float) -> Reason:
    """The reason as it is told where its usual range is the peer group's; ``told`` is ``now[N_BY_GROUP]``."""
    if reason.usual == NO_HISTORY or not by_group(INDEX[reason.feature], told):
        return reason
    return msgspec.structs.replace(reason, usual=f"{reason.usual} in its group")


def reason_of(frame: Frame, index: int, share: float, detector: str | None) -> Reason:
    """As ``reason_for``, of a measured frame whose ranges were told."""
    numbers = float(frame.values[index]), float(frame.low[index]), float(frame.high[index])
    found = among_peers(reason_for(index, *numbers, share, detector), float(frame.now[N_BY_GROUP]))
    note = ""
    if index == SHARE_OF_BALANCE:
        note = balance_note(*(float(frame.now[word]) for word in (N_NOW_US, N_BALANCE_TOLD_US, N_BALANCE_USD)))
    return Reason(found.feature, found.observed + note, found.usual, share, detector) if note else found


def balance_note(now_us: float, told_us: float, balance_usd: float) -> str:
    """What a share is a share of, when that balance was not told with the activity but remembered; else nothing."""
    if not told_us >= 0.0:
        return ""
    ago = duration(max(0.0, now_us - told_us) / US)
    return f" of about {dollars(balance_usd)}, as last told {ago} before and moved since"
