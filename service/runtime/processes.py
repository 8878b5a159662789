"""The process kinds of an installation: what each runs, which tokens it opens, whether it is told the broker, how it stops.

This is the one table that `up`, `status`, `doctor` and the documentation read (design D7).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ProcessKind:
    """One kind of process. `module` runs under `python -m`; the first of `powers` is the process's own token."""

    name: str
    module: tuple[str, ...]
    powers: tuple[str, ...]
    stop_timeout_s: float
    does: str
    broker: bool = False
    """Whether it publishes or consumes messages; only then is it told where the broker is."""

    @property
    def user(self) -> str:
        """Name of its operating-system user."""
        return f"portcullis-{self.name}"

    @property
    def role(self) -> str:
        """Name of its database role."""
        return f"portcullis_{self.name}"


AUTHORITY: Final = ProcessKind("authority", ("service.authority",), ("authority",), 10, "checks codes, signs votes")
CONTAINMENT: Final = ProcessKind(
    "containment", ("workers", "containment"), ("platform",), 70, "acts on platforms", broker=True
)
KEYS: Final = ProcessKind("keys", ("workers", "keys"), ("vault", "guardian"), 70, "signs with wallet keys", broker=True)
SCHEDULE: Final = ProcessKind("schedule", ("workers", "schedule"), (), 10, "finds what is late", broker=True)
API: Final = ProcessKind("api", ("service.serve",), ("gate",), 15, "webhooks, gate, analysts")

KINDS: Final = (AUTHORITY, CONTAINMENT, KEYS, SCHEDULE, API)
"""In starting order; the last stops first, so that intake closes and nothing new arrives while the others end together."""

POWERS: Final = tuple((power, kind) for kind in KINDS for power in kind.powers)
