"""Measure one observation against an empty state: for examples in docstrings, detector cases and tests."""

import msgspec

from rules.engine import Engine
from rules.features.names import NAMES
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.settings import EngineSettings


def trial(kind: str, **fields: object) -> dict[str, float]:
    """Feature values by name, of an observation with an account, measured by an engine that learned nothing."""
    told: dict[str, object] = {"event_id": "trial", "occurred_at_us": 0, "received_at_us": 0, "account": "trial/1"}
    observation = msgspec.convert({**told, "kind": kind, **fields}, Observation)
    engine = Engine(EngineSettings(max_accounts=1), DetectorSet((), "trial"))
    engine.assess(observation)
    return dict(zip(NAMES, engine.frame.values.tolist(), strict=True))
