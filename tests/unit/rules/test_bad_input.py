"""What is no observation is refused by the field's name; whatever a clock says, an account's time goes forward, not far."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.baseline.layout import LAST_US
from rules.baseline.tables import ACCOUNTS, find
from rules.engine import Engine
from rules.errors import ObservationError
from rules.event import fingerprint
from rules.loader import DetectorSet
from rules.observation import MAX_TEXT, MAX_TIME_US, Observation
from rules.settings import EngineSettings
from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND, observation

GOOD = observation("withdrawal.requested", NOW, account="a", amount_usd=1.0)
NO_AMOUNT = st.floats(max_value=-5e-324) | st.sampled_from([math.nan, math.inf, -math.inf])
AHEAD = 300 * SECOND


@given(st.sampled_from(["amount_usd", "amount_units", "balance_usd", "contract_age_s"]), NO_AMOUNT)
def test_an_amount_that_is_none_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ObservationError, match=field):
        msgspec.structs.replace(GOOD, **{field: value}).__post_init__()
    with pytest.raises(ObservationError, match=field):
        Observation(**{**msgspec.structs.asdict(GOOD), field: value})


@given(
    st.sampled_from(["account", "actor", "destination", "asset", "device", "session", "event_id"]),
    st.integers(MAX_TEXT + 1, 2**20),
    st.sampled_from(["x", "\0", "é"]),
)
def test_a_text_without_bounds_is_refused_by_name(field: str, length: int, letter: str) -> None:
    with pytest.raises(ObservationError, match=field):
        Observation(**{**msgspec.structs.asdict(GOOD), field: letter * length})


@given(st.integers(max_value=-1) | st.integers(min_value=MAX_TIME_US + 1))
def test_a_time_out_of_range_is_refused(at_us: int) -> None:
    with pytest.raises(ObservationError, match="occurred_at_us"):
        Observation(**{**msgspec.structs.asdict(GOOD), "occurred_at_us": at_us})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, HOUR), st.integers(-30 * DAY, HOUR)), min_size=1, max_size=20))
def test_an_accounts_time_never_goes_back_nor_more_than_five_minutes_ahead_of_receipt(
    steps: list[tuple[int, int]],
) -> None:
    subject = Engine(EngineSettings(max_accounts=600), DetectorSet((), ""))
    received, last = NOW, 0.0
    for step, off in steps:
        received += step
        said, _ = subject.process(
            msgspec.structs.replace(GOOD, received_at_us=received, occurred_at_us=received + off, event_id=f"e{step}")
        )
        places = subject._state.places
        slot = find(places, ACCOUNTS, fingerprint("a", subject.settings.salt))
        now = float(subject._state.record(ACCOUNTS, slot)[LAST_US])
        assert last <= now <= received + AHEAD
        assert math.isfinite(said.score)
        last = now
