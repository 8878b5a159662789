"""The faults of bench/chaos.py: drawn from a seed, then done to the running processes and to the platform's answers.

A part is killed at most `MOST_KILLS` times a minute, because the supervisor stops an installation one of whose parts ends
more than five times a minute; the servers are given time to come back, or nothing but their outage would be measured.
"""

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from drills.runner.platform import Platform
from service.runtime.layout import Layout

KILLS: Final = {
    "api": 0.14,
    "containment": 0.12,
    "containment child": 0.12,
    "keys": 0.08,
    "valkey": 0.09,
    "postgres": 0.08,
    "authority": 0.08,
    "schedule": 0.05,
}
ANSWERS: Final = ("drop", "delay", "duplicate", "error_after_effect", "error_before_effect")
MOST_KILLS: Final = 3
APART_S: Final = {"postgres": 20.0, "valkey": 10.0}
MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, `at_s` after the faults begin. `kind`: a part to kill, or what happens to the platform's next answers."""

    at_s: float
    kind: str
    count: int = 1
    """How many requests at the platform it disturbs."""
    delay_s: float = 0.0


def plan(seed: int, count: int, seconds: float) -> tuple[Fault, ...]:
    """Draw `count` faults over so many seconds, of each kind one as far as they go; the same seed, the same faults."""
    chance = random.Random(seed)  # noqa: S311  repeatable on purpose
    drawn = [*KILLS, *ANSWERS] + [_kind(chance) for _ in range(count)]
    left = drawn[:count] if count > len(KILLS) + len(ANSWERS) else drawn[: len(KILLS) + len(ANSWERS)]
    chance.shuffle(left)
    made: list[Fault] = []
    for number in range(count):
        at = seconds * (number + chance.uniform(0.1, 0.9)) / count
        places = (n for n, kind in enumerate(left) if _allowed(Fault(at, kind), made))
        place = next(places, None)
        made.append(_fault(chance, at, chance.choice(ANSWERS) if place is None else left.pop(place)))
    return tuple(made)


def _kind(chance: random.Random) -> str:
    name = chance.choices([*KILLS, "answers"], [*KILLS.values(), 1 - sum(KILLS.values())])[0]
    return name if name in KILLS else chance.choice(ANSWERS)


def _fault(chance: random.Random, at: float, kind: str) -> Fault:
    if kind in KILLS:
        return Fault(at, kind)
    return Fault(at, kind, chance.randint(1, 4), chance.uniform(0.2, 3.0) if kind == "delay" else 0.0)


def _allowed(fault: Fault, before: list[Fault]) -> bool:
    part = fault.kind.partition(" ")[0]
    if fault.kind not in KILLS:
        return True
    same = [f.at_s for f in before if f.kind.partition(" ")[0] == part]
    lately = [at for at in same if fault.at_s - at < MINUTE_S]
    return len(lately) < MOST_KILLS and all(fault.at_s - at > APART_S.get(part, 0.0) for at in same)


@dataclass(frozen=True, slots=True)
class Hand:
    """Does the faults."""

    layout: Layout
    platform: Platform

    def do(self, fault: Fault) -> bool:
        """Do one; False when its victim was not there just now."""
        if fault.kind not in KILLS:
            self._disturb(fault)
            return True
        victim = self._victim(fault.kind)
        if victim is None:
            return False
        victim.kill()
        if fault.kind == "valkey":
            psutil.wait_procs([victim], timeout=10)
            self._forget()
        return True

    def _disturb(self, fault: Fault) -> None:
        # A network that doubles a request to a platform without ids doubles the effect, whoever sent it.
        paths = ("/standard/", "/v1/") if fault.kind == "duplicate" else ("/standard/", "/v1/", "/forgetful/action")
        for path in paths:
            told = {"path_prefix": path, "mode": fault.kind, "count": fault.count, "delay_s": fault.delay_s}
            self.platform.arm(told)

    def _victim(self, kind: str) -> psutil.Process | None:
        part = kind.partition(" ")[0]
        try:
            found = psutil.Process(pid_of(self.layout, part))
            if kind == part:
                return found
            children = [p for p in found.children() if p.status() != psutil.STATUS_ZOMBIE]
            return children[0] if children else None
        except (psutil.NoSuchProcess, KeyError):
            return None

    def _forget(self) -> None:
        """Redis comes back empty, as after the loss of its disk."""
        for path in _data(self.layout.servers / "valkey"):
            shutil.rmtree(path, ignore_errors=True)


def _data(folder: Path) -> Iterator[Path]:
    yield from folder.glob("**/appendonlydir")


def pid_of(layout: Layout, part: str) -> int:
    """Return what the supervisor last wrote of a part; KeyError when it is not running just now."""
    for one in json.loads(layout.state_file.read_text())["parts"]:
        if one["name"] == part and one["pid"] is not None:
            return int(one["pid"])
    raise KeyError(part)
