"""Folders of a drill: each fresh installation gets a home of its own, and those of earlier drills are cleared away.

Rules: a home in which an installation still runs is left alone (its lock is held, flock(2)); folders can be passed
through by the service's own users, and only the owner may list them.
"""

import fcntl
import shutil
import time
from pathlib import Path

HOMES = "home-"
PASS_THROUGH = 0o711


def demo_folder(root: Path) -> Path:
    """Return the drill's folder below `root` (usually `.portcullis`), made if it is not there."""
    folder = root / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    for one in (root, folder):
        one.chmod(PASS_THROUGH)
    return folder.absolute()


def fresh_home(folder: Path) -> Path:
    """Return the path of a home that does not exist yet, after removing the homes of earlier drills."""
    for old in sorted(folder.glob(f"{HOMES}*")):
        if not is_running(old):
            shutil.rmtree(old, ignore_errors=True)
    return folder / f"{HOMES}{time.strftime('%H%M%S')}-{time.time_ns() % 1_000_000:06d}"


def is_running(home: Path) -> bool:
    """Tell whether an installation holds the lock of a home."""
    try:
        with (home / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
