"""Faults on demand, for what the emulator answers and for what it sends.

drop: no effect and no answer, the connection breaks · delay: the effect and the answer come late · duplicate: the
same request arrives twice · error_after_effect: it happened, but the answer says 502 · error_before_effect: it did
not happen and the answer says 503.
"""

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """Kinds of fault."""

    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    ERROR_AFTER_EFFECT = "error_after_effect"
    ERROR_BEFORE_EFFECT = "error_before_effect"


@dataclass(slots=True)
class Fault:
    """One armed fault: it applies to the next `left` requests whose path starts with `path_prefix`.

    With a method, requests of other methods pass by.
    """

    path_prefix: str
    mode: Mode
    left: int
    delay_s: float
    method: str = ""


class Faults:
    """The armed faults, first armed first used."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        """Add a fault."""
        self._armed.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._armed.clear()

    def take(self, path: str, method: str = "POST") -> Fault | None:
        """The fault for a request to a path, using it up once."""
        for fault in self._armed:
            if path.startswith(fault.path_prefix) and fault.method in {"", method}:
                fault.left -= 1
                if fault.left <= 0:
                    self._armed.remove(fault)
                return fault
        return None
