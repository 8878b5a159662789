"""Everything that is known while one observation is measured.

Rules: a frame is made, measured, and then either dropped (a pure read) or committed. Measuring writes only to the frame;
``remember`` and ``learn`` write to records and read from the frame what was measured before.
"""

from math import nan
from typing import Final

from rules.baseline.layout import View
from rules.features.declared import DECLARED
from rules.observation import Observation

US: Final = 1_000_000.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0


class Frame:
    """One observation beside the records of its entities.

    ``now_us`` is the account's (or actor's) own monotone event time. ``prior`` is what the account is shrunk towards:
    its peer group's record, or the population's. ``values``, ``surprise`` and ``usual`` stand by feature index; NaN is
    "cannot tell". ``usd`` is the amount as priced. ``balance_usd`` is what the account held before, NaN when unknown;
    ``balance_told_us`` is when that was told, NaN when it came with this observation. ``measured`` holds (word, value,
    usual, spread) of each statistic to learn.
    """

    __slots__ = (
        "account",
        "account_key",
        "actor",
        "actor_key",
        "asset",
        "asset_key",
        "balance_told_us",
        "balance_usd",
        "country_key",
        "destination",
        "destination_key",
        "device_key",
        "late",
        "left",
        "look_key",
        "measured",
        "network_key",
        "now_us",
        "observation",
        "population",
        "prior",
        "salt",
        "surprise",
        "trusted",
        "usd",
        "usual",
        "values",
        "weight",
    )

    def __init__(self, observation: Observation, now_us: float, priors: tuple[View, View], salt: str) -> None:
        size = len(DECLARED)
        self.observation = observation
        self.now_us = now_us
        self.population, self.prior = priors
        self.salt = salt
        self.values: list[float] = [nan] * size
        self.surprise: list[float] = [0.0] * size
        self.usual: list[float] = [nan] * size
        self.measured: list[tuple[int, float, float, float]] = []
        self.usd = nan
        self.balance_usd = nan
        self.balance_told_us = nan
        self.trusted = False
        self.late = False
        self.left: list[float] = []
        self.weight = 1.0
        self.account_key = 0.0
        self.actor_key = 0.0
        self.asset_key = 0.0
        self.destination_key = 0.0
        self.look_key = 0.0
        self.country_key = 0.0
        self.network_key = 0.0
        self.device_key = 0.0
        self.account: View
        self.actor: View
        self.asset: View
        self.destination: View

    @property
    def hour(self) -> int:
        """Hour of the day, UTC, 0..23."""
        return int(self.now_us // 3_600_000_000) % 24

    @property
    def day(self) -> int:
        """Day of the week, UTC, 0 = Monday."""
        return (int(self.now_us // 86_400_000_000) + 3) % 7
