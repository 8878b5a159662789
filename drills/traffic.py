"""Two weeks (or more) of normal life before an incident, as NDJSON lines of Portcullis's own wire schema.

Everything is drawn from one seeded generator in one order, so that the same scenario and end give the same bytes.
Amounts are integers; a drawn factor is only ever multiplied into them as a decimal and cut to whole units.
"""

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

import msgspec

from drills import addresses
from drills.scenario_form import Person, Recurring, Scenario, Stream

DAY = timedelta(days=1)
CENT = Decimal("0.01")
SECONDS_PER_HOUR = 3600
BURST_GAP_S = 20
Line = dict[str, object]


def history(scenario: Scenario, end: datetime, accounts: Mapping[str, str], run: str = "1") -> list[Line]:
    """Return all lines before `end` (in UTC) in order of time; `accounts`: CAIP-10 address by account id.

    `run` is part of every id, so that a second drill against the same installation does not repeat the ids of the first.
    """
    source = random.Random(scenario.random_seed)
    found: list[tuple[datetime, Line]] = []
    places = {**addresses.of_destinations(scenario), **accounts}
    for number, stream in enumerate(scenario.traffic.streams):
        found += _Withdrawals(scenario, stream, f"{run}-{number}", places, source).lines(end)
    for recurring in scenario.traffic.recurring:
        found += _recurring(scenario, recurring, end, places, run)
    for person in scenario.people:
        found += _logins(scenario, person, end, source)
    found.sort(key=lambda pair: (pair[0], str(pair[1]["type"])))
    return [
        {"id": f"hist-{scenario.name}-{run}-{n}", "type": line["type"], "timestamp": stamp(at), "data": line["data"]}
        for n, (at, line) in enumerate(found)
        if at < end
    ]


def ndjson(lines: list[Line]) -> Iterator[bytes]:
    """Yield the lines as NDJSON."""
    encoder = msgspec.json.Encoder()
    for line in lines:
        yield encoder.encode(line) + b"\n"


def stamp(at: datetime) -> str:
    """Return an RFC 3339 time with microseconds in UTC; `at` must be in UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(day: datetime, hours: tuple[int, int], source: random.Random) -> datetime:
    """Draw a time of day: nine times out of ten within the busy hours, which may pass midnight."""
    first, last = hours
    length = (last - first) % 24 or 24
    if source.random() < 0.9:  # noqa: PLR2004 - the share is in the docstring
        second = first * SECONDS_PER_HOUR + source.randrange(length * SECONDS_PER_HOUR)
    else:
        second = source.randrange(24 * SECONDS_PER_HOUR)
    return day + timedelta(seconds=second, microseconds=source.randrange(1_000_000))


def _days(scenario: Scenario, end: datetime) -> Iterator[datetime]:
    last = end.replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(scenario.traffic.days, -1, -1):
        yield last - back * DAY


class _Withdrawals:
    """Draws the withdrawals of one stream."""

    def __init__(
        self, scenario: Scenario, stream: Stream, label: str, places: Mapping[str, str], source: random.Random
    ) -> None:
        self._scenario = scenario
        self._stream = stream
        self._label = label
        self._number = label.rpartition("-")[2]
        self._places = places
        self._source = source
        self._made = 0

    def lines(self, end: datetime) -> list[tuple[datetime, Line]]:
        """Return (time, line) of each withdrawal, in the order drawn."""
        found = []
        for day in _days(self._scenario, end):
            left = self._stream.per_day
            while left > 0:
                at = _moment(day, self._stream.hours_utc, self._source)
                size = min(left, self._stream.burst)
                found += [(at + timedelta(seconds=n * BURST_GAP_S), self._line()) for n in range(size)]
                left -= self._stream.burst
        return found

    def _line(self) -> Line:
        stream, self._made = self._stream, self._made + 1
        factor = self._source.lognormvariate(0.0, stream.spread_percent / 100)
        value = (Decimal(stream.median_usd) * Decimal(repr(factor))).quantize(CENT, ROUND_DOWN)
        asset = self._scenario.asset(stream.asset)
        units = int((value / Decimal(asset.price_usd)).scaleb(asset.decimals))
        kind, destination = self._destination()
        transaction = f"hist-{self._scenario.name}-{self._label}-{self._made}"
        data = withdrawal(self._scenario, stream.account, stream.asset, max(units, 1), transaction)
        data |= {"actor": stream.actor, "destination": destination, "destination_kind": kind}
        return {"type": "withdrawal.requested", "data": data}

    def _destination(self) -> tuple[str, str]:
        stream = self._stream
        if stream.to:
            name = stream.to[self._source.randrange(len(stream.to))]
            return kind_of(self._scenario, name), self._places[name]
        name = f"stream/{self._number}/regular/{self._source.randrange(stream.regulars)}"
        if self._source.randrange(1000) < stream.new_per_mille:
            name = f"stream/{self._number}/new/{self._made}"
        address = addresses.derived(self._scenario.name, name)
        return "one_time", addresses.caip10(self._scenario.chain_id, address)


def kind_of(scenario: Scenario, name: str) -> str:
    """Return the wire schema's destination_kind of an account or destination."""
    if any(a.id == name for a in scenario.accounts):
        return "internal"
    found = next(d for d in scenario.destinations if d.id == name)
    return "whitelisted" if found.whitelisted else "one_time"


def withdrawal(scenario: Scenario, account_id: str, asset_id: str, units: int, transaction: str) -> dict[str, object]:
    """Return the data of a withdrawal but for its actor and destination; USD at the scenario's price, in whole cents."""
    asset = scenario.asset(asset_id)
    price = Decimal(asset.price_usd)
    value = (Decimal(units).scaleb(-asset.decimals) * price).quantize(CENT, ROUND_DOWN)
    held = sum((Decimal(b.amount) for b in scenario.account(account_id).balances if b.asset == asset_id), Decimal(0))
    return {
        "account": account_id,
        "transaction": transaction,
        "asset": asset.caip19,
        "amount_base_units": str(units),
        "amount_usd": str(value),
        "balance_usd": str((held * price).quantize(CENT, ROUND_DOWN)),
    }


def _recurring(
    scenario: Scenario, recurring: Recurring, end: datetime, places: Mapping[str, str], run: str
) -> list[tuple[datetime, Line]]:
    decimals = scenario.asset(recurring.asset).decimals
    units = int(Decimal(recurring.amount).scaleb(decimals))
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    for back in recurring.days_before:
        transaction = f"hist-{scenario.name}-{run}-{recurring.account}-{recurring.to}-{back}"
        data = withdrawal(scenario, recurring.account, recurring.asset, units, transaction)
        data |= {"actor": recurring.actor, "destination": places[recurring.to]}
        data["destination_kind"] = kind_of(scenario, recurring.to)
        line: Line = {"type": "withdrawal.requested", "data": data}
        found.append((midnight - back * DAY + timedelta(hours=recurring.hour_utc), line))
    return found


def _logins(scenario: Scenario, person: Person, end: datetime, source: random.Random) -> list[tuple[datetime, Line]]:
    found = []
    for day in _days(scenario, end):
        for _ in range(person.logins_per_day):
            at = _moment(day, person.hours_utc, source)
            failed = source.randrange(1000) < person.failed_per_mille
            kind = "access.login_failed" if failed else "access.login_succeeded"
            data: dict[str, object] = {
                "actor": person.id,
                "country": person.country,
                "asn": person.asn,
                "device": person.device,
            }
            line: Line = {"type": kind, "data": data}
            found.append((at, line))
    return found
