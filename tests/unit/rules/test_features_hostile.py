"""Whatever comes, in whatever order: finite numbers, surprises of zero or more, ranges the right way round."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.event import KINDS
from rules.features.catalogue import FEATURES
from rules.observation import MAX_TIME_US
from tests.unit.rules.scenario import DAY, NOW
from tests.unit.rules.watch import Watch

IDS = st.sampled_from([None, "a", "b", "0x" + "ab" * 20, "0x" + "ab" * 2 + "00" * 16 + "ab" * 2, "\0", "é" * 300])
AMOUNTS = st.none() | st.floats(0.0, 1e308) | st.sampled_from([0.0, 5e-324, 1.0, 1e18, 1.7e308])
FACTS = st.none() | st.booleans()
STEPS = st.integers(-40 * DAY, 40 * DAY) | st.sampled_from([0, 1, -1, MAX_TIME_US])
EVENTS = st.fixed_dictionaries(
    {"kind": st.sampled_from([*KINDS, "gossip"]), "step": STEPS},
    optional={
        "account": IDS, "actor": IDS, "destination": IDS, "asset": st.sampled_from([None, "eth", "eip155:1/a", "x:/"]),
        "device": IDS, "session": IDS, "ip": st.sampled_from([None, "203.0.113.7", "::1", "?"]),
        "asn": st.none() | st.integers(0, 2**32 - 1), "country": st.sampled_from([None, "SG", "us", "ZZ", ""]),
        "peer_group": IDS, "destination_kind": st.sampled_from([None, "internal", "whitelisted", "odd"]),
        "amount_usd": AMOUNTS, "amount_units": AMOUNTS, "balance_usd": AMOUNTS, "contract_age_s": AMOUNTS,
        "counts": st.booleans(), "delegatecall": FACTS, "unlimited_approval": FACTS, "governance_call": FACTS,
        "display_mismatch": FACTS,
    },
)  # fmt: skip


@pytest.mark.repeats
@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=25))
def test_any_sequence_gives_sane_numbers(events: list[dict[str, object]]) -> None:
    subject = Watch(NOW)
    for event in events:
        told = dict(event)
        kind, step = str(told.pop("kind")), int(str(told.pop("step")))
        subject.now = max(0, min(MAX_TIME_US, subject.now + step))
        subject.see(kind, 0, **told)
        for feature in FEATURES:
            seen = subject[feature.name]
            assert math.isfinite(seen.surprise), feature.name
            assert seen.surprise >= 0.0, feature.name
            assert not math.isinf(seen.value), feature.name
            assert math.isnan(seen.low) or math.isnan(seen.high) or seen.low <= seen.high < math.inf, feature.name
            assert feature.scored or seen.surprise == 0.0, feature.name
