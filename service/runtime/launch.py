"""Become the process another user runs: drop privileges, tie one's life to the supervisor's, then exec.

Rules enforced here: privileges are given up in the order groups, group, user, and a failure to give them up ends the
process; a child never outlives its supervisor (Linux `PR_SET_PDEATHSIG`, see prctl(2)), not even after `kill -9`; the
child sees only the environment it was given. Runs as a script under `python -I -S`, so it uses the standard library
only and starts in a few milliseconds.
"""

import ctypes
import json
import os
import sys
from typing import TypedDict

PR_SET_PDEATHSIG = 1


class Orders(TypedDict):
    """What the supervisor hands over on the command line, as JSON. `uid` is None to stay who we are."""

    parent: int
    uid: int | None
    gid: int
    groups: list[int]
    umask: int
    death_signal: int


def obey(orders: Orders) -> None:
    """Drop privileges and arm the death signal. Raises OSError when the kernel refuses; SystemExit for an orphan."""
    if orders["uid"] is not None:
        os.setgroups(orders["groups"])
        os.setgid(orders["gid"])
        os.setuid(orders["uid"])
    os.umask(orders["umask"])
    # After setuid, because changing credentials clears the death signal.
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(
        PR_SET_PDEATHSIG, orders["death_signal"], 0, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != orders["parent"]:
        raise SystemExit("the supervisor is gone")


def main(argv: list[str]) -> None:
    """Serve `launch.py ORDERS PROGRAM ARGUMENT...`."""
    obey(json.loads(argv[1]))
    os.execv(argv[2], argv[2:])  # noqa: S606  replacing ourselves without a shell is the purpose


if __name__ == "__main__":
    main(sys.argv)
