"""How much memory the installation takes, counted as proportional set size (PSS).

Rules enforced here: shared pages are counted once, split among their users (`/proc/PID/smaps_rollup`, proc(5));
children belong to the process that started them; what the kernel does not let us read is "cannot tell", never zero.
"""

from pathlib import Path
from typing import Final

import psutil

API_LIMIT_MB: Final = 220.0
TOTAL_LIMIT_MB: Final = 900.0


def pss_mb(pid: int) -> float | None:
    """Return the PSS of one process in MB (2**20 bytes), or None when it cannot be told."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return None


def tree_pss_mb(pid: int) -> float | None:
    """Return the PSS of a process and all below it in MB, or None when any living one cannot be told."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    total = 0.0
    for member in family:
        share = pss_mb(member.pid)
        if share is None:
            if member.is_running():
                return None
            continue
        total += share
    return total
