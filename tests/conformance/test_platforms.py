"""Every custody platform's outbound half, by walking the folder: each capability is there or its absence explained."""

import importlib
import pkgutil
from collections.abc import Mapping

import pytest

import service.custody
from service.ports.custody import Capability

PLATFORMS = sorted(info.name for info in pkgutil.iter_modules(service.custody.__path__) if info.ispkg)


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_capability_is_there_or_its_absence_is_explained(name: str) -> None:
    module = importlib.import_module(f"service.custody.{name}.calls")
    there: frozenset[Capability] = module.CAPABILITIES
    missing: Mapping[Capability, str] = module.MISSING
    assert there | set(missing) == set(Capability)
    assert not there & set(missing)
    for capability, sentence in missing.items():
        assert capability.value in sentence
        assert ":" in sentence, "says what to do by hand"


def test_there_are_platforms_to_walk() -> None:
    assert {"standard", "fireblocks", "bitcoin"} <= set(PLATFORMS)
