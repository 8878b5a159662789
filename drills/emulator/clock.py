"""The emulator's clock: wall time, because deliveries and signatures are checked against it by the other side."""

import time


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def now_s() -> int:
    """Unix time in whole seconds."""
    return int(time.time())
