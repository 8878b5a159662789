"""An engine in history mode, and what it measured of each activity."""

from typing import NamedTuple

from rules.engine import Engine
from rules.features.catalogue import BY_NAME
from rules.settings import EngineSettings
from tests.support.detectors import shipped
from tests.unit.rules.scenario import observation


class Seen(NamedTuple):
    """The numbers of one feature."""

    value: float
    surprise: float
    low: float
    high: float


class Watch:
    """Feeds activities to one engine; ``now`` is the time of the next one in microseconds."""

    def __init__(self, now: int, **always: object) -> None:
        self.engine = Engine(EngineSettings(), shipped())
        self.now = now
        self.always = always

    def see(self, kind: str, after: int = 0, **fields: object) -> "Watch":
        """Process an activity ``after`` microseconds later; live rules never stop it."""
        self.now += after
        self.engine.process(observation(kind, self.now, **(self.always | fields)), history=True)
        return self

    def pay(self, usd: float | None, after: int = 0, **fields: object) -> "Watch":
        """A withdrawal of so many US dollars."""
        amount = {} if usd is None else {"amount_usd": usd}
        return self.see("withdrawal.requested", after, **({"account": "a"} | amount | fields))

    def __getitem__(self, name: str) -> Seen:
        """What was measured last of a feature."""
        frame, at = self.engine.frame, BY_NAME[name].index
        return Seen(*(float(numbers[at]) for numbers in (frame.values, frame.surprise, frame.low, frame.high)))
