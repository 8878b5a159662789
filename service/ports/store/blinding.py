"""What limits what the engine sees: suppressions, its settings, and the sets of detectors that were in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from rules.settings import EngineSettings
from service.domain.approval import ActionDocument
from service.domain.blinding import Suppression
from service.domain.ids import ApprovalId

MOST_WAITING: Final = 100
"""Requests on one target that are looked through."""

MOST_ALERTS: Final = 1000
"""Alerts that are looked through for a network."""


@dataclass(frozen=True, slots=True)
class StandingSuppression:
    """A suppression as it stands."""

    told: Suppression
    approval_id: ApprovalId
    created_at: datetime
    lifted_at: datetime | None
    lifted_by: str | None

    def state(self, now: datetime) -> str:
        """Return active, expired or lifted."""
        if self.lifted_at is not None:
            return "lifted"
        return "active" if now < self.told.expires_at else "expired"


class BlindingStore(Protocol):
    """Reads lock nothing; whoever changes takes a lock by name first."""

    def add(self, suppression: Suppression, approval_id: ApprovalId) -> bool:
        """Store an approved suppression; False when it was there already."""
        ...

    def suppression(self, suppression_id: str) -> StandingSuppression:
        """Raises NotFoundError."""
        ...

    def known(self, entity: str) -> bool:
        """Say whether an entity is a registered account, or one that an alert was ever about.

        Of a network, whether one of the newest `MOST_ALERTS` alerts came from it.
        """
        ...

    def active(self, entity: str, detector: str | None) -> StandingSuppression | None:
        """Return the one in force for exactly this, the longest of several."""
        ...

    def suppressions(self, *, active: bool, after: str | None, limit: int) -> Sequence[StandingSuppression]:
        """Suppressions by id, newest first, below the id `after`; `active`: only those in force."""
        ...

    def lift(self, suppression_id: str, by: str) -> bool:
        """Note who lifted it; False when somebody had."""
        ...

    def differences(self) -> Sequence[str]:
        """Return one sentence for each suppression that the engine goes by and nobody approved, or the other way."""
        ...

    def settings(self) -> EngineSettings | None:
        """Return the engine's settings as requests will have left them, None before its first start."""
        ...

    def waiting(self, action: str, target: str) -> Sequence[ActionDocument]:
        """Return requests of this action on this target that may still come to pass, newest first, `MOST_WAITING`."""
        ...

    def waiting_of(self, requester: str) -> int:
        """Return how many requests of a person to blind may still come to pass."""
        ...

    def newest(self, action: str, target: str) -> ApprovalId | None:
        """Return the newest request of this action on this target, whatever became of it."""
        ...

    def rules_in_force(self) -> str | None:
        """Return the digest of the newest set of detectors in the sequence."""
        ...

    def files_of(self, digest: str) -> Mapping[str, str] | None:
        """Return the files of a set of detectors by name, None when they were never kept."""
        ...

    def keep_files(self, digest: str, files: Mapping[str, str]) -> None:
        """Keep the files of a set; a set that is kept stays as it is."""
        ...

    def adopted(self, digest: str, approval_id: ApprovalId | None) -> None:
        """Note that a set is in force from now on, and by which approval; a repeat of the newest note adds none."""
        ...

    def superseded(self, approval_id: ApprovalId) -> bool:
        """Say whether the set that an approval put in force was followed by another one."""
        ...
