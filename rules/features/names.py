"""The order of all features, once and for all.

Rules: a feature's index is its place in this list, whichever module is imported first: compiled code holds indexes as
constants. ``declare`` refuses a name that is not here; the catalogue refuses to load while a name is undeclared.
"""

from typing import Final

NAMES: Final = (
    "account_learned",
    "actor_learned",
    "credential_changes_24h",
    "credential_change_age_s",
    "new_access_24h",
    "new_country",
    "new_network",
    "new_device",
    "failed_logins_10m",
    "actor_hour",
    "amount_usd",
    "amount_over_largest",
    "share_of_balance",
    "unpriced",
    "priced_from_asset",
    "price_ratio_off",
    "amount_population",
    "amount_drift",
    "count_1m",
    "count_10m",
    "count_1h",
    "count_24h",
    "count_7d",
    "count_30d",
    "value_1m",
    "value_10m",
    "value_1h",
    "value_24h",
    "value_7d",
    "value_30d",
    "assets_10m",
    "seconds_since_last",
    "dormant_days",
    "hour_of_week",
    "destination_new",
    "destination_age_s",
    "fan_in_accounts",
    "fan_out_1h",
    "destination_value_1h",
    "dust_ratio",
    "lookalike_destination",
    "asset_new",
    "chain_new",
    "destination_trusted",
    "delegatecall",
    "unlimited_approval",
    "governance_call",
    "display_mismatch",
    "contract_age_s",
    "governance_rare_for_actor",
    "governance_changes_24h",
    "travel_speed_kmh",
    "session_moved",
    "session_new",
    "failed_actors_10m",
    "device_accounts_30d",
    "network_actors_24h",
    "whitelist_to_withdrawal_s",
    "mfa_reset_age_s",
    "api_key_age_s",
    "recent_surprise",
    "reputation_destination",
    "reputation_device",
    "reputation_network",
    "reputation_actor",
    "reputation_account",
    "destination_listed",
)

INDEX: Final = {name: index for index, name in enumerate(NAMES)}
"""Every feature's index by name."""

COUNT: Final = len(NAMES)
"""How many features there are."""

TAILED: Final = INDEX["reputation_destination"]
"""How many of them may have a tail of the population's: what verdicts and lists set has none and stands last. They fit into
bits."""

_BITS: Final = 63
if TAILED > _BITS:
    raise ValueError(f"{TAILED} features may have a tail, more than the {_BITS} bits of a word")
