"""What an operator may set about the engine, and its digest.

Rules: settings are immutable, bounded, and part of the learning sequence: a row names the digest of the settings it
was made under, and a ``settings`` row carries them whole, so that replay needs no file.
"""

import hashlib
from typing import Annotated, Literal

import msgspec

Probability = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
Days = Annotated[float, msgspec.Meta(ge=0.01, le=36_500.0)]
Budget = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Levels, memory and limits of the engine.

    ``alerts_per_day``: how many alerts people want to look at, those of detectors counted in; ``None`` lets ``alert_p``
    stand. ``alerts_per_day_by_severity`` bounds besides what the score itself raises: ``medium`` are its alerts,
    ``high`` its holds.

    ``alert_p`` and ``hold_p``: p-values at or below which the score itself alerts or holds, once ``min_scores`` scores
    calibrate it. ``alert_floor`` and ``hold_floor``: raw surprise (sum of -log10) that must also be reached, so that a
    quiet stream's least quiet event is not an alarm. ``clip``: standard deviations to which a value is clipped before
    it is learned. ``memory_days``: time constant of what is usual. ``half_life_days``: of the calibration.
    ``enough_events``: learned events from which an entity's score is its own. ``max_accounts``: upper bound of
    accounts held. ``salt``: secret mixed into fingerprints, so that nobody can search for ids that collide with a
    known one; set it once, at installation.
    """

    alert_p: Probability = 1e-3
    hold_p: Probability = 1e-5
    alert_floor: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 3.0
    hold_floor: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 8.0
    min_scores: Annotated[int, msgspec.Meta(ge=100)] = 1000
    clip: Positive = 3.0
    memory_days: Days = 14.0
    half_life_days: Days = 7.0
    enough_events: Annotated[int, msgspec.Meta(ge=1)] = 20
    max_accounts: Annotated[int, msgspec.Meta(ge=1, le=5_000_000)] = 100_000
    alerts_per_day: Budget | None = None
    alerts_per_day_by_severity: dict[Literal["medium", "high"], Budget] = msgspec.field(default_factory=dict)
    salt: Annotated[str, msgspec.Meta(max_length=128)] = ""

    def digest(self) -> str:
        """SHA-256 of the canonical settings, lower-case hex."""
        return hashlib.sha256(b"portcullis/engine-settings/v1\0" + self.encode()).hexdigest()

    def encode(self) -> bytes:
        """Canonical JSON of all fields in declaration order, the payload of a ``settings`` row."""
        return msgspec.json.encode(self)

    def __repr__(self) -> str:
        return f"EngineSettings(alert_p={self.alert_p!r}, hold_p={self.hold_p!r}, digest={self.digest()[:12]!r})"
