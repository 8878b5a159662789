"""An approver's phone: real TOTP codes (RFC 6238: HMAC-SHA-1, 30 s, 6 digits), each shown for one purpose only.

Rule: the code that confirms an enrolment is used up like any other, so a phone is free again from the next code on.
"""

import math
import urllib.parse
from dataclasses import dataclass, field

import pyotp

from drills.runner.errors import DrillError

STEP_S = 30
LATE_S = 9.0
"""How long a call may be under way, on a machine that stands still for some seconds too."""


@dataclass(slots=True)
class Phone:
    """Holds one seed; the representation does not show it."""

    totp: pyotp.TOTP = field(repr=False)
    last_step: int = -1

    def is_free(self, now_s: float) -> bool:
        """Tell whether the code shown now was not used before."""
        return _step(now_s) > self.last_step

    def wait_s(self, now_s: float) -> float:
        """Return how long until a fresh code is shown; 0 when one is."""
        return 0.0 if self.is_free(now_s) else (self.last_step + 1) * STEP_S - now_s

    def code(self, now_s: float) -> str:
        """Return the code shown now and mark it as used; DrillError when it was used before."""
        if not self.is_free(now_s):
            raise DrillError(f"this phone's code was used; a fresh one comes in {self.wait_s(now_s):.0f} s")
        return self._show(_step(now_s))

    def code_shown_before(self, now_s: float) -> str:
        """Return the code of the time step before, typed late as RFC 6238 section 5.2 allows, and mark it as used.

        So the code shown now stays fresh. Close to the end of a step, where typing late is too late, it is that of now.
        """
        ending = now_s % STEP_S > STEP_S - LATE_S
        return self._show(_step(now_s) - (0 if ending else 1))

    def _show(self, step: int) -> str:
        self.last_step = step
        return self.totp.at(step * STEP_S)


def from_uri(uri: str) -> Phone:
    """Read an otpauth URI as a phone's camera would; DrillError for one that is not a 6-digit, 30 s TOTP."""
    try:
        found = pyotp.parse_uri(uri)
    except ValueError as error:
        kind = urllib.parse.urlparse(uri).scheme or "no scheme"
        raise DrillError(f"the enrolment link ({kind}) cannot be read: {error}") from None
    if not isinstance(found, pyotp.TOTP) or found.interval != STEP_S:
        raise DrillError("the enrolment link is no TOTP of 30 s; the phones of this drill know no other")
    return Phone(found)


def _step(now_s: float) -> int:
    return math.floor(now_s) // STEP_S
