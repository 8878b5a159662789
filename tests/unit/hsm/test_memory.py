"""Memory protection is applied for real, in a process of its own: it cannot be taken back."""

import json
import subprocess
import sys
from pathlib import Path

from hsm.memory import MemoryProtection

PROGRAM = """
import json, resource
from hsm.memory import protect_process
found = protect_process()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "locked": found.locked, "no_core": found.no_core, "not_dumpable": found.not_dumpable, "missing": found.missing,
    "kib_locked": int(status["VmLck"].split()[0]), "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
}))
"""


def test_what_is_said_to_hold_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    found = json.loads(done.stdout)
    assert found["no_core"]
    assert found["core"] == 0
    assert found["not_dumpable"]
    assert found["locked"] is (found["kib_locked"] > 0)
    assert len(found["missing"]) == (0 if found["locked"] else 1)


def test_what_is_missing_comes_with_advice() -> None:
    missing = MemoryProtection(locked=False, no_core=False, not_dumpable=False).missing
    assert [word in text for word, text in zip(("LimitMEMLOCK", "LimitCORE", "own user"), missing, strict=True)] == [
        True
    ] * 3
