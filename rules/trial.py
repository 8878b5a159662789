"""Measure one observation against an empty state: for examples in docstrings, detector cases and tests."""

import msgspec

from rules.baseline.state import State
from rules.features.catalogue import FEATURES
from rules.kernel import measure
from rules.observation import Observation
from rules.settings import EngineSettings


def trial(kind: str, **fields: object) -> dict[str, float]:
    """Feature values by name, of an observation with an account, measured by an engine that learned nothing."""
    told: dict[str, object] = {"event_id": "trial", "occurred_at_us": 0, "received_at_us": 0, "account": "trial/1"}
    observation = msgspec.convert({**told, "kind": kind, **fields}, Observation)
    frame = measure(State(EngineSettings()), observation)
    return {feature.name: frame.values[feature.index] for feature in FEATURES}
