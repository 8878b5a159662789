"""How many bytes of baselines an event changes, taken from the engine under the load of bench/intake.py.

Run from the repository: `python -m bench.intake_state`. Counted are the records of entities (account, actor, destination,
asset, device, network), each once a batch, as a group commit would write it. Not counted is what the whole population shares
(calibration, tables, budgets), which would be several times as much: what one writes first has none of it.
"""

import hashlib
from datetime import UTC, datetime
from typing import Final

from bench.intake_load import webhooks
from rules.baseline.layout import Kind
from rules.engine import Engine
from rules.loader import load_directory
from rules.observation import Observation
from rules.settings import EngineSettings
from service.api.plain import plain_request
from service.domain.activity import Received
from service.domain.ids import ActivityId, ConnectionId, new_id
from service.domain.observing import observe
from service.domain.wire import parse_wire, to_activity

EVENTS: Final = 4096
BATCH: Final = 32
"""Half of the load's connections: what arrives while the other half is written."""
ENTITIES: Final = frozenset({Kind.ACCOUNT, Kind.ACTOR, Kind.DESTINATION, Kind.ASSET, Kind.DEVICE, Kind.NETWORK})


def state_bytes() -> int:
    """Return the bytes of entities' records that a batch changes, for each of its events."""
    engine = Engine(EngineSettings(salt="bench"), load_directory())
    observations = [_observation(sent, str(at)) for at, sent in enumerate(webhooks(EVENTS))]
    changed = 0
    for at in range(0, EVENTS, BATCH):
        engine.process_all(observations[at : at + BATCH], [False] * BATCH)
        changed += sum(len(change.state) for change in engine.take_changes() if change.kind in ENTITIES)
    return changed // EVENTS


def _observation(sent: bytes, event_id: str) -> Observation:
    request = plain_request(sent)
    if request is None:
        raise RuntimeError("the load is no plain request")
    activity = to_activity(parse_wire(request.body), ConnectionId("std"), event_id)
    digest = hashlib.sha256(request.body).digest()
    received = Received(
        activity_id=ActivityId(new_id("act")),
        received_at=datetime.now(UTC),
        body_digest=digest,
        raw=request.body,
        activity=activity,
    )
    return observe(received, None, counts=True)


if __name__ == "__main__":
    print(state_bytes())
