"""Several key workers on one token and one database: killed for good at many points, and restricted all at once."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from hsm.custodian import KeyRef
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from service.domain.plan import Verdict
from tests.integration.drills.conftest import make_drill, other_side  # noqa: F401  fixtures
from tests.integration.vault.test_emulator import close_chain, prepare, world
from tests.support.vault import VaultHouse, vault_house
from tests.support.vault_process import Given, ask, given_by, start

KILLS = (6, 19, 35, 57, 80)
"""At these token calls, chain calls and commits of what is left; tests/integration/vault/test_lifecycle.py tries all."""


@pytest.fixture
def real(fresh_postgres_url: str, token: TokenCustodian) -> Iterator[VaultHouse]:
    found, close = vault_house(fresh_postgres_url, token, token.statements, {})
    yield found
    close()


def given(house: VaultHouse, token: TokenCustodian, account: str, **others: Any) -> Given:
    return given_by(
        token._token.config,
        database=house.url,
        authority_pem=house.authority.pem.decode(),
        account=account,
        **{"chain": "", **others},
    )


def test_a_key_worker_killed_again_and_again_ends_with_one_rotation(
    make_drill: Any,  # noqa: F811  the fixture
    real: VaultHouse,
    token: TokenCustodian,
) -> None:
    """Kill -9, so that neither Python nor SoftHSM nor the database driver can tidy up."""
    (account,) = prepare(real, 1)
    (old,) = real.parts.keys_of(account)
    drill = world(make_drill, real, [account])
    url = f"{drill.server.url}/chain/rpc"
    for point in KILLS:
        dying = start(given(real, token, account, chain=url, kill_at=point))
        _, said = dying.communicate(timeout=240)
        assert dying.returncode == -signal.SIGKILL, said
    living = start(given(real, token, account, chain=url))
    out, said = living.communicate(timeout=240)
    assert living.returncode == 0, said
    assert json.loads(out)["passed"] > max(KILLS), "the last kill came after the end"
    assert [state for _, _, state in real.keys(account)] == ["destroyed", "active"]
    assert not token.exists(KeyRef(old.wallet_id, DerivationPath.parse(old.path)))
    assert real.vault.rotation_prepared(account) is Verdict.HOLDS
    assert sorted(s.state for s in real.sweeps(account)) == ["final", "final"]
    figures = drill.get("/figures")
    assert (figures["conserved"], figures["value_lost_usd"]) == (True, "0.00")
    assert float(figures["value_swept_usd"]) > 3_500 * 0.99
    close_chain(real)


def test_a_restriction_holds_at_once_in_every_process(real: VaultHouse, token: TokenCustodian) -> None:
    (account,) = prepare(real, 1)
    with ExitStack() as stack:
        others = [stack.enter_context(start(given(real, token, account, serve=True))) for _ in range(2)]
        assert all(other.stdout is not None and other.stdout.readline().strip() == "ready" for other in others)
        for other in others:
            assert ask(other, "sign") == "done"
        real.vault.restrict(account, key="r")
        for other in others:
            assert "restricted key signs only a sweep" in ask(other, "sign")
        assert ask(others[0], "lift_restriction") == "done"
        assert ask(others[1], "sign") == "done"
        assert ask(others[1], "restrict") == "done"
        assert "restricted key signs only a sweep" in ask(others[0], "sign")
        (key,) = real.parts.keys_of(account)
        token.disable(KeyRef(key.wallet_id, DerivationPath.parse(key.path)))
        assert ask(others[0], "lift_restriction") == "done"
        for other in others:
            assert "the token forbids this use" in ask(other, "sign"), "what the token forbids, no row allows"
        for other in others:
            assert other.stdin is not None
            other.stdin.close()
