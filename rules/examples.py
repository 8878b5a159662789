"""One example of every feature: what happens, and what is then measured.

Rules: an example is played from an empty engine on, so that it shows what the feature reads; the conformance suite plays
every one and holds each declared feature against this table. Steps before the last are learned in history mode, so that
no detector stops them; the last is measured and changes nothing. Time begins on a Monday at 00h UTC.

``verdict.true_positive`` and ``verdict.false_positive`` stand for what people say of the step before, from then on.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from rules.features.declared import duration, hour_of_week

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_DAY: Final = 86_400.0
_ETH: Final = "eip155:1/slip44:60"
_ADDRESS: Final = "eip155:1:0xabcd{:032x}9876"


class Step(NamedTuple):
    """One activity: its kind, seconds since the one before, fields of the observation, how often it happens so."""

    kind: str
    after_s: float
    times: int
    fields: Mapping[str, object]

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.fields.items())
        often = f"{self.times} times " if self.times > 1 else ""
        return f"{often}{self.kind}" + (f" ({told})" if told else "")


class Example(NamedTuple):
    """Steps, and the value that the feature has at the last of them, exact to a thousandth of itself."""

    value: float
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        first, *later = self.steps
        moment = f"{hour_of_week(first.after_s // _HOUR)}: " if first.after_s >= _HOUR and not later else ""
        return moment + "; ".join([str(first), *(f"{duration(step.after_s)} later {step}" for step in later)])


def _step(kind: str, after_s: float = _MINUTE, times: int = 1, **fields: object) -> Step:
    return Step(kind, after_s, times, MappingProxyType(fields))


def _pay(usd: float | None = 100.0, after_s: float = _MINUTE, times: int = 1, **fields: object) -> Step:
    amount = {} if usd is None else {"amount_usd": usd}
    return _step("withdrawal.requested", after_s, times, **({"account": "a"} | amount | fields))


def _login(after_s: float = _MINUTE, times: int = 1, **fields: object) -> Step:
    return _step("access.login_succeeded", after_s, times, **({"actor": "alice"} | fields))


def _failed(actor: str, after_s: float = _MINUTE, times: int = 1) -> Step:
    return _step("access.login_failed", after_s, times, actor=actor, asn=64_500)


def _of(value: float, *steps: Step) -> Example:
    return Example(value, steps)


def _windows(kind: str, value: float) -> dict[str, Example]:
    """Two payments of 100 USD, one time constant of the window apart: the first counts 1/e."""
    spans = {"1m": _MINUTE, "10m": 10 * _MINUTE, "1h": _HOUR, "24h": _DAY, "7d": 7 * _DAY, "30d": 30 * _DAY}
    return {f"{kind}_{name}": _of(value, _pay(), _pay(after_s=span_s)) for name, span_s in spans.items()}


def _judged(value: float, word: str, **fields: object) -> Example:
    """A payment, what people say of it a day later, and the same payment a day after that."""
    return _of(value, _pay(**fields), _step(f"verdict.{word}", _DAY), _pay(**{"after_s": _DAY} | fields))  # type: ignore[arg-type]  # fields


EXAMPLES: Final[Mapping[str, Example]] = {
    "account_learned": _of(1.0, _pay(), _pay()),
    "actor_learned": _of(2.0, _login(times=2), _login()),
    "credential_changes_24h": _of(1.0, _step("access.mfa_reset", actor="alice"), _pay(after_s=_HOUR, actor="alice")),
    "credential_change_age_s": _of(
        3600.0, _step("access.mfa_reset", actor="alice"), _pay(after_s=_HOUR, actor="alice")
    ),
    "new_access_24h": _of(1.0, _login(times=5, country="SG"), _login(country="RO"), _pay(actor="alice")),
    "new_country": _of(1.0, _login(country="SG"), _login(country="RO")),
    "new_network": _of(1.0, _login(asn=64_500), _login(ip="203.0.113.7")),
    "new_device": _of(0.0, _login(device="laptop"), _login(device="laptop")),
    "failed_logins_10m": _of(1.905, _failed("alice"), _failed("alice")),
    "actor_hour": _of(33.0, _login(after_s=_DAY + 9 * _HOUR)),
    "amount_usd": _of(100.0, _pay()),
    "amount_over_largest": _of(10.0, _pay(), _pay(1000.0)),
    "share_of_balance": _of(0.1, _pay(balance_usd=1000.0)),
    "unpriced": _of(1.0, _pay(None, amount_units=2.0)),
    "priced_from_asset": _of(
        1.0, _pay(700.0, times=5, asset=_ETH, amount_units=2.0), _pay(None, asset=_ETH, amount_units=1.0)
    ),
    "price_ratio_off": _of(
        10.0, _pay(700.0, times=5, asset=_ETH, amount_units=2.0), _pay(70.0, asset=_ETH, amount_units=2.0)
    ),
    "amount_population": _of(100.0, _pay()),
    "amount_drift": _of(3.062, _pay(times=60, after_s=_DAY), _pay(150.0, times=20, after_s=_DAY), _pay(150.0)),
    **_windows("count", 1.368),
    **_windows("value", 136.8),
    "assets_10m": _of(2.0, _pay(asset="usdc"), _pay(asset="usdt")),
    "seconds_since_last": _of(60.0, _pay(), _pay()),
    "dormant_days": _of(10.0, _pay(), _pay(after_s=10 * _DAY)),
    "hour_of_week": _of(33.0, _pay(after_s=_DAY + 9 * _HOUR)),
    "destination_new": _of(0.0, _pay(destination="d"), _pay(after_s=2 * _DAY, destination="d")),
    "destination_age_s": _of(3600.0, _pay(account="b", destination="d"), _pay(after_s=_HOUR, destination="d")),
    "fan_in_accounts": _of(2.0, _pay(account="b", destination="d"), _pay(destination="d")),
    "fan_out_1h": _of(1.368, _pay(destination="d"), _pay(after_s=_HOUR, destination="e")),
    "destination_value_1h": _of(136.8, _pay(account="b", destination="d"), _pay(after_s=_HOUR, destination="d")),
    "dust_ratio": _of(1000.0, _pay(5.0, destination="d"), _pay(5000.0, destination="d")),
    "lookalike_destination": _of(
        1.0, _pay(destination=_ADDRESS.format(1)), _pay(after_s=2 * _DAY, destination=_ADDRESS.format(2))
    ),
    "asset_new": _of(1.0, _pay(asset="usdc"), _pay(asset="usdt")),
    "chain_new": _of(0.0, _pay(asset=_ETH), _pay(asset="eip155:1/erc20:0xdac1")),
    "destination_trusted": _of(1.0, _pay(destination="d", destination_kind="internal")),
    "delegatecall": _of(1.0, _step("signing.requested", account="a", delegatecall=True)),
    "unlimited_approval": _of(1.0, _step("signing.requested", account="a", unlimited_approval=True)),
    "governance_call": _of(1.0, _step("signing.requested", account="a", governance_call=True)),
    "display_mismatch": _of(1.0, _step("signing.requested", account="a", display_mismatch=True)),
    "contract_age_s": _of(3600.0, _step("signing.requested", account="a", contract_age_s=3600.0)),
    "governance_rare_for_actor": _of(1.0, _login(times=5), _step("governance.policy_changed", actor="alice")),
    "governance_changes_24h": _of(
        1.368,
        _step("governance.policy_changed", actor="alice"),
        _step("governance.role_changed", _DAY, actor="alice"),
    ),
    "travel_speed_kmh": _of(4361.5, _login(country="SG"), _login(after_s=2 * _HOUR, country="DE")),
    "session_moved": _of(1.0, _login(session="s", asn=64_500), _login(session="s", asn=64_501)),
    "session_new": _of(1.0, _login(session="s"), _login(session="t")),
    "failed_actors_10m": _of(2.0, _failed("bob"), _failed("alice")),
    "device_accounts_30d": _of(2.0, _login(actor="bob", device="tablet"), _login(device="tablet")),
    "network_actors_24h": _of(2.0, _login(actor="bob", asn=64_500), _login(asn=64_500)),
    "whitelist_to_withdrawal_s": _of(
        600.0,
        _step("governance.destination_whitelisted", actor="alice", destination="d"),
        _pay(after_s=10 * _MINUTE, actor="alice", destination="d"),
    ),
    "mfa_reset_age_s": _of(3600.0, _step("access.mfa_reset", actor="alice"), _login(after_s=_HOUR)),
    "api_key_age_s": _of(3600.0, _step("access.api_key_created", actor="alice"), _login(after_s=_HOUR)),
    "recent_surprise": _of(15.14, _pay(times=60, after_s=_DAY), _pay(100_000.0), _pay(after_s=2 * _DAY)),
    "reputation_destination": _judged(0.05, "true_positive", destination="d"),
    "reputation_device": _judged(0.05, "true_positive", device="laptop"),
    "reputation_network": _judged(0.05, "true_positive", asn=64_500),
    "reputation_actor": _judged(0.0005793, "false_positive", actor="alice"),
    "reputation_account": _judged(0.0005806, "false_positive"),
    "destination_listed": _of(4.0, _pay(destination="d", destination_listed=4)),
}
"""An example by name of feature."""
