"""Compile the kernel once and keep it, so that no service has to: run at installation as ``python -m rules.warm``.

Rules: what is compiled is exactly what a running engine calls. The folder is marked complete only when all of it is
there; from then on processes that may not write the folder load from it. Older versions beside it are removed.
"""

import shutil
import sys
from time import monotonic

import numpy as np

from rules import compiled
from rules.engine import Engine
from rules.learning import LearningRecord, RecordKind
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.outcome import OUT_WIDTH, VERDICT_WIDTH
from rules.settings import EngineSettings

_VERDICT = b'{"verdict":"true_positive","account":"a","occurred_at_us":1,"score":1.0}'


def exercise() -> None:
    """Call everything that is compiled, once."""
    engine = Engine(EngineSettings(max_accounts=2), DetectorSet((), "warm"))
    told = Observation(
        event_id="1", kind="withdrawal.requested", occurred_at_us=1, received_at_us=1, account="a", peer_group="g"
    )
    engine.process(told)
    engine.apply(LearningRecord(2, RecordKind.VERDICT, None, _VERDICT, "", ""))
    engine.apply(LearningRecord(3, RecordKind.PEER_GROUP, None, b'{"account":"a","peer_group":"g"}', "", ""))
    engine.process_rows(
        engine.frame.event.reshape(1, -1).copy(), np.zeros((1, OUT_WIDTH)), np.zeros((0, VERDICT_WIDTH))
    )
    copy = Engine(EngineSettings(max_accounts=2), DetectorSet((), "warm"))
    for change in engine.snapshot():
        copy.load(change.entity, change.kind, change.state)
    copy.apply(LearningRecord(4, RecordKind.SETTINGS, None, EngineSettings(half_life_days=6.0).encode(), "", ""))


def main() -> int:
    """Compile, keep, and say how long it took."""
    where = compiled.folder()
    if where is None:
        sys.stderr.write("engine: no folder to keep compiled code in: it is compiled at every start\n")
        return 1
    if (where / compiled.COMPLETE).exists():
        return 0
    sys.stderr.write(f"engine: compiling the kernel into {where}, about a minute\n")
    began = monotonic()
    exercise()
    (where / compiled.COMPLETE).touch()
    for other in where.parent.iterdir():
        if other != where and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
    sys.stderr.write(f"engine: compiled in {monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
