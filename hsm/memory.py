"""What a process that handles seeds can do against its memory leaving it: no swap, no core dump, no tracer.

Rules held here:
- Python copies values freely and cannot wipe the copies, so protection is for the whole process, not for one buffer:
  mlockall(2) keeps every page out of swap, RLIMIT_CORE = 0 and PR_SET_DUMPABLE = 0 (prctl(2)) keep core dumps and other
  processes of the same user (ptrace, /proc/PID/mem) away.
- A page is locked from the moment it is first used (MCL_ONFAULT): locking what is only reserved, such as the unused part
  of a thread's stack, would protect nothing and make it resident.
- Each measure may be denied by the system. What holds and what does not is returned, never assumed.
"""

import ctypes
import resource
import sys
from dataclasses import dataclass
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_MCL_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4


@dataclass(frozen=True, slots=True)
class MemoryProtection:
    """Which measures hold in this process."""

    locked: bool
    no_core: bool
    not_dumpable: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """What does not hold, each with what to do."""
        advice = (
            (self.locked, "pages may be swapped: raise LimitMEMLOCK (ulimit -l) to unlimited"),
            (self.no_core, "a crash may write a core dump: set LimitCORE=0"),
            (self.not_dumpable, "other processes of this user may read the memory: run under an own user"),
        )
        return tuple(text for holds, text in advice if not holds)


def protect_process() -> MemoryProtection:
    """Apply every measure that this system allows; call it once, before the token is opened.

    Locks are not inherited by a fork, so each child that opens a token calls it itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    no_core = resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    if not sys.platform.startswith("linux"):
        return MemoryProtection(locked=False, no_core=no_core, not_dumpable=False)
    libc = ctypes.CDLL(None, use_errno=True)
    return MemoryProtection(
        locked=_room_to_lock() and libc.mlockall(_MCL_CURRENT_FUTURE_ONFAULT) == 0,
        no_core=no_core,
        not_dumpable=libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0,
    )


def _room_to_lock() -> bool:
    """Whether locking all future pages is unlimited: with a limit, a later allocation would fail in mid-work."""
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
