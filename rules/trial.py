"""Measure observations against an empty state: for examples of features, detector cases and tests."""

from typing import Final

import msgspec

from rules.engine import ENGINE_VERSION, Engine
from rules.examples import Example
from rules.features.names import NAMES
from rules.learning import LearningRecord, RecordKind, Verdict
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import Assessment

_MONDAY_US: Final = 1_704_067_200_000_000
"""2024-01-01T00:00:00Z, the moment from which an example's steps count."""

_VERDICT: Final = "verdict."


def trial(kind: str, **fields: object) -> dict[str, float]:
    """Feature values by name, of an observation with an account, measured by an engine that learned nothing."""
    told: dict[str, object] = {"event_id": "trial", "occurred_at_us": 0, "received_at_us": 0, "account": "trial/1"}
    observation = msgspec.convert({**told, "kind": kind, **fields}, Observation)
    engine = _empty()
    engine.assess(observation)
    return _values(engine)


def played(example: Example) -> dict[str, float]:
    """Feature values by name at the last step of an example, of an engine that learned the steps before it."""
    engine, now_us = _empty(), _MONDAY_US
    *before, last = (step for step in example.steps for _ in range(step.times))
    before_it: tuple[Observation, Assessment] | None = None
    for number, step in enumerate(before):
        now_us += int(step.after_s * 1e6)
        if step.kind.startswith(_VERDICT):
            _judge(engine, step.kind.removeprefix(_VERDICT), before_it, now_us)
        else:
            observation = _observed(step.kind, number, now_us, dict(step.fields))
            before_it = observation, engine.process(observation, history=True)[0]
    engine.assess(_observed(last.kind, len(before), now_us + int(last.after_s * 1e6), dict(last.fields)))
    return _values(engine)


def _empty() -> Engine:
    return Engine(EngineSettings(max_accounts=4), DetectorSet((), "trial"))


def _values(engine: Engine) -> dict[str, float]:
    return dict(zip(NAMES, engine.frame.values.tolist(), strict=True))


def _observed(kind: str, number: int, at_us: int, fields: dict[str, object]) -> Observation:
    told = {"event_id": f"{number}", "occurred_at_us": at_us, "received_at_us": at_us, "kind": kind}
    return msgspec.convert(told | fields, Observation)


def _judge(engine: Engine, word: str, judged: tuple[Observation, Assessment] | None, at_us: int) -> None:
    """Have people say of an activity what it was. Raises ValueError when there is none."""
    if judged is None:
        raise ValueError("a verdict is about the step before it, and there is none")
    one, said = judged
    verdict = Verdict(
        verdict=word,
        account=one.account,
        actor=one.actor,
        destination=one.destination,
        device=one.device,
        network=f"as{one.asn}" if one.asn is not None else None,
        occurred_at_us=one.occurred_at_us,
        known_at_us=at_us,
        score=said.score,
        judged=said.judged,
    )
    payload = msgspec.json.encode(verdict)
    engine.apply(LearningRecord(engine.sequence + 1, RecordKind.VERDICT, None, payload, ENGINE_VERSION, ""))
