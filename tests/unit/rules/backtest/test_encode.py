"""A row made of columns is bit for bit the row that the live path makes of the same activity."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.backtest.blocks import Block, to_ipc
from rules.backtest.encode import encode
from rules.backtest.schema import TYPES
from rules.event import EVENT_WIDTH, write_row
from rules.observation import MAX_TIME_US, Observation

SALT = "pepper"
TEXT = st.one_of(
    st.none(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
)
EVENT = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(sorted(TYPES)),
        "at": st.integers(0, MAX_TIME_US),
        "account": TEXT,
        "actor": TEXT,
        "destination": st.one_of(TEXT, st.from_regex(r"eip155:1:0x[0-9a-f]{40}", fullmatch=True)),
        "asset": st.one_of(TEXT, st.just("eip155:1/slip44:60")),
        "country": st.one_of(TEXT, st.sampled_from(["SG", "de", "XX"])),
        "ip": st.one_of(TEXT, st.ip_addresses().map(str)),
        "asn": st.one_of(st.none(), st.integers(0, 2**32 - 1)),
        "device": TEXT,
        "session": TEXT,
        "amount_usd": st.one_of(st.none(), st.floats(0, 1e300)),
        "balance_usd": st.one_of(st.none(), st.floats(0, 1e300)),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=12))
def test_columns_give_the_rows_of_the_live_path(events: list[dict[str, object]]) -> None:
    events.sort(key=lambda event: int(str(event["at"])))
    expected = np.zeros((len(events), EVENT_WIDTH))
    for number, (row, event) in enumerate(zip(expected, events, strict=True)):
        told = {name: value for name, value in event.items() if name != "at"}
        observation = msgspec.convert(
            {**told, "event_id": str(number), "occurred_at_us": event["at"], "received_at_us": event["at"]}, Observation
        )
        write_row(row, observation, SALT)
    encoded = encode(_block(events), integer_ids=True, salt=SALT)
    assert encoded.rows.tobytes() == expected.tobytes()
    assert encoded.identities.to_pylist() == list(range(len(events)))


def _block(events: list[dict[str, object]]) -> Block:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    columns = {
        name: pa.array(
            [event[name] for event in events], None if name in {"amount_usd", "balance_usd"} else pa.string()
        )
        for name in events[0]
        if name not in {"at", "kind", "asn"}
    }
    columns["asn"] = pa.array([event["asn"] for event in events], pa.int64())
    columns["type"] = pa.array([event["kind"] for event in events], pa.string())
    columns["event_id"] = pa.array(range(len(events)))
    columns["occurred_at"] = pa.array(
        [epoch + timedelta(microseconds=int(str(event["at"]))) for event in events], pa.timestamp("us", "UTC")
    )
    columns["amount_usd"] = columns["amount_usd"].cast(pa.float64())
    columns["balance_usd"] = columns["balance_usd"].cast(pa.float64())
    return Block(0, 1, len(events), lines=False, payload=to_ipc(pa.record_batch(columns)))
