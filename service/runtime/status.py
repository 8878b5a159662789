"""What runs now and how much memory it takes (PSS, see service.runtime.memory).

Rules enforced here: the lock, not a pid file, says whether an installation runs; what cannot be told is None, and a
total with an unknown part is a lower bound that says so.
"""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from typing import Final

from service.domain.errors import ForbiddenError
from service.runtime.errors import DidNotStopError, NotRunningError
from service.runtime.layout import Layout, holder
from service.runtime.memory import API_LIMIT_MB, TOTAL_LIMIT_MB, pss_mb, tree_pss_mb
from service.runtime.processes import API

DOWN_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One process or server. `pss_mb` counts it and its children; None when it cannot be told."""

    name: str
    pid: int | None
    state: str
    address: str
    restarts: int
    pss_mb: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """One installation at one moment."""

    home: str
    supervisor: int
    starting: bool
    parts: tuple[PartStatus, ...]

    @property
    def total_pss_mb(self) -> float:
        """Sum over what could be told."""
        return sum(part.pss_mb or 0.0 for part in self.parts)

    @property
    def complete(self) -> bool:
        """Whether every part's memory could be told."""
        return all(part.pss_mb is not None for part in self.parts)

    @property
    def over_limit(self) -> tuple[str, ...]:
        """Sentences about limits that are exceeded."""
        api = next((part.pss_mb for part in self.parts if part.name == API.name), None)
        found = []
        if api is not None and api > API_LIMIT_MB:
            found.append(f"the API takes {api:.0f} MB, more than {API_LIMIT_MB:.0f}")
        if self.total_pss_mb > TOTAL_LIMIT_MB:
            found.append(f"the installation takes {self.total_pss_mb:.0f} MB, more than {TOTAL_LIMIT_MB:.0f}")
        return tuple(found)

    def as_document(self) -> dict[str, object]:
        """Return the machine-readable form."""
        return {
            "home": self.home,
            "supervisor": self.supervisor,
            "starting": self.starting,
            "parts": [asdict(part) for part in self.parts],
            "total_pss_mb": round(self.total_pss_mb, 1),
            "complete": self.complete,
            "limits_mb": {"api": API_LIMIT_MB, "total": TOTAL_LIMIT_MB},
            "over_limit": self.over_limit,
        }


def read_status(layout: Layout) -> Status:
    """Return what runs in this home. Raises NotRunningError when nothing does."""
    pid = holder(layout)
    if pid is None:
        raise NotRunningError(f"nothing runs in {layout.home}: start it with `portcullis up`")
    supervisor = PartStatus("supervisor", pid, "ready", "", 0, _rounded(pss_mb(pid)))
    try:
        state = json.loads(layout.state_file.read_text())
    except FileNotFoundError:
        return Status(str(layout.home), pid, starting=True, parts=(supervisor,))
    except PermissionError as error:
        raise ForbiddenError(f"{layout.state_file} is not yours to read: run as the user who started it") from error
    parts = tuple(
        PartStatus(
            part["name"],
            part["pid"],
            part["state"],
            part["address"],
            part["restarts"],
            _rounded(tree_pss_mb(part["pid"])) if part["pid"] else None,
        )
        for part in state["parts"]
    )
    return Status(str(layout.home), pid, starting=False, parts=(*parts, supervisor))


def take_down(layout: Layout) -> None:
    """Ask the running `up` to stop and wait until it has. Raises NotRunningError, ForbiddenError or DidNotStopError."""
    pid = holder(layout)
    if pid is None:
        raise NotRunningError(f"nothing runs in {layout.home}")
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise ForbiddenError(
            f"pid {pid} is another user's: run `portcullis down` as the user who started it"
        ) from error
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while time.monotonic() < deadline:
        if holder(layout) is None:
            return
        time.sleep(0.1)
    raise DidNotStopError(f"pid {pid} still runs after {DOWN_TIMEOUT_S:.0f} s: see the logs in {layout.logs}")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
