"""Runs `portcullis up` whole, but for the five processes, which are stood for by fake_process.py."""

import dataclasses
from pathlib import Path

from service import cli
from service.runtime import up
from service.runtime.parts import ProcessPlan
from service.runtime.processes import ProcessKind

real_plan = up._plan


def plan_with_fake(prepared: up.Prepared, kind: ProcessKind) -> ProcessPlan:
    fake = Path(__file__).with_name("fake_process.py")
    return dataclasses.replace(real_plan(prepared, kind), arguments=(str(fake),))


up._plan = plan_with_fake
cli.main()
