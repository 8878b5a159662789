"""Turns the moves of a script into control calls of the emulator: when (in the drill's seconds), which path, which body."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drills import addresses
from drills.scenario_form import AccessEvent, ConfigChange, Move, PlatformTransfer, Scenario, SigningRequest, StolenKey
from drills.seeding import base_units

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class ControlCall:
    """One call to make `at_s` seconds after the first, and the move of the script that it plays."""

    at_s: float
    path: str
    body: Json
    number: int
    move: Move


def calls(scenario: Scenario, accounts: Mapping[str, str], compression: int | None = None) -> list[ControlCall]:
    """Return all calls in order; `accounts`: CAIP-10 address by account id. Gaps are divided by the compression."""
    factor = compression or scenario.compression
    found = [
        ControlCall(real_s / factor, path, body, number, move)
        for number, move in enumerate(scenario.script)
        for real_s, path, body in _Script(scenario, accounts).of(number, move)
    ]
    return sorted(found, key=lambda call: (call.at_s, call.number))


class _Script:
    def __init__(self, scenario: Scenario, accounts: Mapping[str, str]) -> None:
        self._scenario = scenario
        self._accounts = accounts
        self._destinations = addresses.of_destinations(scenario)

    def of(self, number: int, move: Move) -> Iterator[tuple[int, str, Json]]:
        """Yield (real offset in seconds, path, body) of each call of a move."""
        match move:
            case StolenKey():
                yield move.at_s, "/emulator/steal", self._theft(move)
            case PlatformTransfer():
                times = 1 if move.repeat is None else move.repeat.count
                gap_s = 0 if move.repeat is None else move.repeat.every_s
                for index in range(times):
                    yield move.at_s + index * gap_s, "/emulator/transfer", self._transfer(number, index, move)
            case SigningRequest():
                yield move.at_s, "/emulator/transfer", self._signing(move)
            case ConfigChange():
                yield move.at_s, "/emulator/config_change", self._config_change(move)
            case AccessEvent():
                body: Json = {"type": move.type, "actor": move.actor, "details": move.details}
                yield move.at_s, "/emulator/access", body

    def _theft(self, move: StolenKey) -> Json:
        body: Json = {
            "from_address": self._accounts[move.account],
            "to": self._destinations[move.to],
            "asset": move.asset,
        }
        if move.amount is not None:
            body["amount_base_units"] = str(base_units(self._scenario, move.asset, move.amount))
        return body

    def _order(self, move: PlatformTransfer | SigningRequest) -> Json:
        units = base_units(self._scenario, move.asset, move.amount)
        order = {"account": move.account, "asset": move.asset, "amount_base_units": str(units), "user": move.user}
        return {**order, **self._target(move.to)}

    def _target(self, to: str) -> Json:
        if to in self._accounts:
            return {"destination_type": "VAULT_ACCOUNT", "destination": to}
        if any(d.id == to and d.whitelisted for d in self._scenario.destinations):
            return {"destination_type": "EXTERNAL_WALLET", "destination": to}
        return {"destination_type": "ONE_TIME_ADDRESS", "destination": _plain(self._destinations[to])}

    def _transfer(self, number: int, index: int, move: PlatformTransfer) -> Json:
        if move.to != "new":
            return self._order(move)
        units = base_units(self._scenario, move.asset, move.amount)
        return {
            "account": move.account,
            "asset": move.asset,
            "amount_base_units": str(units),
            "user": move.user,
            "destination_type": "ONE_TIME_ADDRESS",
            "destination": _plain(addresses.fresh(self._scenario, number, index)),
        }

    def _signing(self, move: SigningRequest) -> Json:
        """Return the order without `raw_call`: what the Safe's owners sign depends on its nonce at that moment."""
        return {**self._order(move), "operation": "CONTRACT_CALL"}

    def _config_change(self, move: ConfigChange) -> Json:
        body: Json = {"type": move.type, "user": move.user}
        if move.wallet is not None:
            found = next(d for d in self._scenario.destinations if d.id == move.wallet)
            address = self._destinations[move.wallet]
            body["wallet"] = {"address": address, "kind": found.kind, "name": found.id, "wallet_id": found.id}
        return body


def _plain(caip10: str) -> str:
    return caip10.rsplit(":", 1)[1]
