"""Events a second of the behavioural engine, all features on, beside River's HalfSpaceTrees in the same run.

Run from the repository: `python -m bench.engine [--entities N ...] [--json]`. One process, one thread. Both score each
event and then learn it. Entities are accounts, destinations, actors, devices and networks, drawn evenly, which is the
worst case for memory. River gets four numbers of each event and no entity at all. Time is the processor's, and River is
measured before and after each line, so that what else the machine does weighs on both. Ratios travel between machines,
figures do not.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from math import nan
from typing import Any, Final

import numpy as np

from rules.arrays import F8
from rules.baseline.tables import M_USED, M_WIDTH
from rules.engine import Engine
from rules.event import (
    E_ACCOUNT,
    E_ACTOR,
    E_AMOUNT_UNITS,
    E_AMOUNT_USD,
    E_ASSET,
    E_AT_US,
    E_BALANCE_USD,
    E_BLOCK,
    E_CHAIN,
    E_CONTRACT_AGE_S,
    E_COUNTRY,
    E_COUNTRY_AT,
    E_COUNTS,
    E_DELEGATECALL,
    E_DESTINATION,
    E_DEVICE,
    E_GOVERNANCE_CALL,
    E_MISMATCH,
    E_NETWORK,
    E_RECEIVED_US,
    E_SESSION,
    E_UNLIMITED,
    EVENT_WIDTH,
)
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.outcome import OUT_WIDTH, VERDICT_WIDTH
from rules.settings import EngineSettings

SEED: Final = 20
CHUNK: Final = 50_000
RIVER_EVENTS: Final = 4000
SHARES: Final = {E_ACCOUNT: 0.6, E_DESTINATION: 0.2, E_ACTOR: 0.1, E_DEVICE: 0.08, E_NETWORK: 0.02}
"""What share of the entities is of each sort."""

_EVENTS_A_DAY: Final = 1_000_000
_START_US: Final = 1_600_041_600e6
_NOT_TOLD: Final = (E_AMOUNT_UNITS, E_DELEGATECALL, E_UNLIMITED, E_GOVERNANCE_CALL, E_MISMATCH, E_CONTRACT_AGE_S)
_SMALL: Final = {E_ASSET: 40, E_CHAIN: 8, E_COUNTRY: 60}


@dataclass
class Measured:
    """What was measured at one number of entities."""

    entities: int
    us_per_event: float
    events_per_s: float
    bytes_per_entity: float
    river_us: float
    times_river: float


def keys(chance: np.random.Generator, word: int, count: int, most: int) -> F8:
    """Fingerprints of ``count`` draws among ``most`` entities of one sort, spread as real ones are."""
    drawn = chance.integers(0, max(1, most), count).astype(np.uint64)
    mixed = (drawn + np.uint64(word + 1) * np.uint64(0x1_0000_0000)) * np.uint64(0x9E37_79B9_7F4A_7C15)
    return ((mixed >> np.uint64(12)) | np.uint64(1)).astype(np.float64)


def rows(chance: np.random.Generator, entities: int, count: int, first: int) -> F8:
    """Payments with everything told: each of ``SHARES``, an asset, a place, a session, a balance."""
    made = np.zeros((count, EVENT_WIDTH))
    made[:, E_AT_US] = _START_US + (first + np.arange(count)) * (86_400e6 / _EVENTS_A_DAY)
    made[:, E_RECEIVED_US] = made[:, E_AT_US]
    for word, share in SHARES.items():
        made[:, word] = keys(chance, word, count, int(share * entities))
    for word, most in _SMALL.items():
        made[:, word] = keys(chance, word, count, most)
    made[:, E_COUNTRY_AT] = chance.integers(0, 60, count)
    made[:, E_BLOCK] = made[:, E_NETWORK]
    made[:, E_SESSION] = made[:, E_ACTOR]
    made[:, E_AMOUNT_USD] = chance.lognormal(5.0, 1.2, count)
    made[:, E_BALANCE_USD] = 1e5
    made[:, _NOT_TOLD] = nan
    made[:, E_COUNTS] = 1.0
    return made


def bytes_per_entity(engine: Engine) -> float:
    """Mean bytes of the records of the entities that were seen."""
    meta = engine.pools()
    return float((meta[:, M_USED] * meta[:, M_WIDTH]).sum() * 8 / meta[:, M_USED].sum())


def engine_of(entities: int) -> Engine:
    """An engine with room for them and no detector: detectors run in Python, behind their guards."""
    settings = EngineSettings(max_accounts=int(SHARES[E_ACCOUNT] * entities) + 1, alerts_per_day=100.0)
    return Engine(settings, DetectorSet((), "bench"))


def measure(entities: int, events: int) -> tuple[float, float]:
    """Microseconds an event and bytes an entity, after every entity was seen several times."""
    chance, engine = np.random.default_rng(SEED), engine_of(entities)
    out, none = np.zeros((CHUNK, OUT_WIDTH)), np.zeros((0, VERDICT_WIDTH))
    first, warm = 0, max(2 * entities, CHUNK)
    spent = 0.0
    while first < warm + events:
        made = rows(chance, entities, CHUNK, first)
        began = time.thread_time()
        engine.process_rows(made, out, none)
        spent += time.thread_time() - began if first >= warm else 0.0
        first += CHUNK
    return spent / (first - -(-warm // CHUNK) * CHUNK) * 1e6, bytes_per_entity(engine)


def river_us() -> float:
    """Microseconds an event of River's HalfSpaceTrees, 10 trees of height 8: score, then learn."""
    from river.anomaly import HalfSpaceTrees  # noqa: PLC0415  only this measurement needs it

    chance = np.random.default_rng(SEED)
    model: Any = HalfSpaceTrees(n_trees=10, height=8, seed=SEED)
    table = chance.random((RIVER_EVENTS, 4)).tolist()
    events = [dict(zip(("amount", "hour", "gap", "count"), row, strict=True)) for row in table]
    for event in events[:1000]:
        model.learn_one(event)
    began = time.thread_time()
    for event in events:
        model.score_one(event)
        model.learn_one(event)
    return (time.thread_time() - began) / RIVER_EVENTS * 1e6


def live_us(events: int = 20_000) -> float:
    """Microseconds of one ``Engine.process`` call, 10,000 accounts, everything told."""
    chance, engine = np.random.default_rng(SEED), engine_of(20_000)
    told = [
        Observation(
            event_id=str(n), kind="withdrawal.requested", occurred_at_us=int(_START_US) + n * 86_400,
            received_at_us=int(_START_US) + n * 86_400, account=f"main/{account}", actor=f"main/{actor}",
            destination=f"eip155:1:0x{destination:040x}", destination_kind="one_time", asset="eip155:1/slip44:60",
            country="SG", ip="203.0.113.7", asn=64500, device=f"main/d{actor}", session=f"main/s{actor}",
            amount_usd=float(usd), amount_units=float(usd) / 350.0, balance_usd=1e6,
        )
        for n, (account, actor, destination, usd) in enumerate(
            zip(
                chance.integers(0, 10_000, events), chance.integers(0, 500, events),
                chance.integers(0, 4000, events), chance.lognormal(5.0, 1.0, events), strict=True,
            )
        )
    ]  # fmt: skip
    for one in told[: events // 2]:
        engine.process(one)
    began = time.thread_time()
    for one in told[events // 2 :]:
        engine.process(one)
    return (time.thread_time() - began) / (events - events // 2) * 1e6


def main() -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--events", type=int, default=500_000, help="measured events for each number of entities")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    told = parser.parse_args()
    live = live_us()
    found, before = [], river_us()
    for entities in told.entities:
        us, held = measure(entities, told.events)
        after = river_us()
        river, before = (before + after) / 2.0, after
        found.append(Measured(entities, us, 1e6 / us, held, river, river / us))
    if told.json:
        sys.stdout.write(json.dumps({"seed": SEED, "process_us": live, "rows": [asdict(r) for r in found]}) + "\n")
        return 0
    lines = [f"seed {SEED}; River HalfSpaceTrees 10 x 8, score and learn, before and after each line"]
    lines.append(f"Engine.process, one observation at a time: {live:.1f} us")
    lines.append(
        f"{'entities':>10} {'us/event':>9} {'events/s':>10} {'bytes/entity':>13} {'River us':>9} {'x River':>8}"
    )
    lines += [
        f"{r.entities:>10,} {r.us_per_event:>9.2f} {r.events_per_s:>10,.0f} {r.bytes_per_entity:>13,.0f}"
        f" {r.river_us:>9.1f} {r.times_river:>8.1f}"
        for r in found
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
