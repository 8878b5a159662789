import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import ObservationError
from rules.observation import MAX_TEXT, MAX_TIME_US, Observation, decode, encode

TIMES = st.integers(0, MAX_TIME_US)
AMOUNTS = st.none() | st.floats(min_value=0, allow_nan=False, allow_infinity=False)
TEXTS = st.none() | st.text(min_size=1, max_size=20)


@given(
    st.builds(
        Observation,
        event_id=st.text(min_size=1, max_size=20),
        kind=st.sampled_from(["withdrawal.requested", "access.mfa_reset"]),
        occurred_at_us=TIMES,
        received_at_us=TIMES,
        account=TEXTS,
        actor=TEXTS,
        destination=TEXTS,
        amount_usd=AMOUNTS,
        amount_units=AMOUNTS,
        counts=st.booleans(),
        delegatecall=st.none() | st.booleans(),
    )
)
def test_bytes_are_canonical_and_exact(observation: Observation) -> None:
    assert decode(encode(observation)) == observation
    assert encode(decode(encode(observation))) == encode(observation)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("occurred_at_us", -1),
        ("received_at_us", MAX_TIME_US + 1),
        ("amount_usd", -1.0),
        ("amount_usd", math.nan),
        ("balance_usd", math.inf),
        ("contract_age_s", -0.5),
        ("account", "x" * (MAX_TEXT + 1)),
        ("kind", ""),
        ("event_id", ""),
    ],
)
def test_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    told: dict[str, object] = {"event_id": "e", "kind": "k", "occurred_at_us": 0, "received_at_us": 0, field: value}
    with pytest.raises(ObservationError, match=field):
        Observation(**told)  # type: ignore[arg-type] # wrong on purpose


ID_FIELDS = (
    "event_id", "kind", "account", "actor", "destination", "destination_kind", "asset", "transaction", "country", "ip",
    "device", "session", "peer_group",
)  # fmt: skip


@pytest.mark.parametrize("field", ID_FIELDS)
def test_every_text_is_bounded_by_itself(field: str) -> None:
    told: dict[str, object] = {"occurred_at_us": 0, "received_at_us": 0, **dict.fromkeys(ID_FIELDS, "x" * MAX_TEXT)}
    assert getattr(Observation(**told), field) == "x" * MAX_TEXT  # type: ignore[arg-type] # a field's name
    with pytest.raises(ObservationError, match=f"^{field} must be at most"):
        Observation(**(told | {field: "x" * (MAX_TEXT + 1)}))  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("field", ["amount_usd", "amount_units", "balance_usd", "contract_age_s"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_every_amount_is_finite_and_not_negative(field: str, value: float) -> None:
    told: dict[str, object] = {"event_id": "e", "kind": "k", "occurred_at_us": 0, "received_at_us": 0, field: value}
    with pytest.raises(ObservationError, match=f"^{field} must be a finite number"):
        Observation(**told)  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"event_id":1}', b"\xff", b'{"unknown":1}', b"[" * 100_000])
def test_malformed_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(ObservationError):
        decode(payload)
