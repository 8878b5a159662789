"""What tightens is planned whatever is wrong with the key that votes are verified with."""

from types import SimpleNamespace
from typing import cast

import pytest

from service.domain.signed import Signed
from service.playbooks import scene
from service.ports.store.unit import UnitOfWork


@pytest.mark.parametrize("key", [b"", b"not a key"])
def test_without_a_usable_key_no_policy_is_in_force(key: bytes) -> None:
    rows = SimpleNamespace(registry=SimpleNamespace(policy=lambda: Signed("{}", b"")))
    assert scene._policy(cast("UnitOfWork", rows), key) is None
